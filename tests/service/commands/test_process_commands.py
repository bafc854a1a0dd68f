"""Tests of the monitor's commands about processes: one process, several, one that is stuck."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.client import ZooKeeperClient
from zkservice.monitor import MonitorFactory, TwoForms
from zkservice.monitor.protocol import BUILT_IN
from zkservice.service.commands.monitor_commands import COMMANDS, commands
from zkservice.service.commands.operated import Operated
from zkservice.service.state.availability import Availability
from zkservice.service.state.process_report import ProcessReport

REQUEST = {
    **{"age": 3.25, "method": "GET", "path": "/a", "client": "192.0.2.1", "phase": "running"},
    **{"thread": "application-0", "stuck": False, "waits_for": "app.py:3 in f: lock.acquire()"},
}
LINE = {"file": "/srv/app.py", "line": 3, "function": "f", "code": "lock.acquire()\x1b"}
THREAD = {
    **{"name": "application-0", "idle": False, "here": False, "stuck": True},
    **{"job": "GET /a from 192.0.2.1", "seconds": 3.25, "stack": [LINE]},
}
REACTOR = {**THREAD, "name": "MainThread", "here": True}
IDLE = {**THREAD, "name": "application-1", "idle": True}
STUCK = ProcessReport("worker 2", 12, error="no reply for 1.0 s", stuck=True)


class FakeFront:
    """Processes whose replies the test sets."""

    def __init__(self) -> None:
        self.size = 0
        self.reports: list[ProcessReport] = []
        self.asked: list[tuple[object, ...]] = []

    def processes(self) -> list[dict[str, Any]]:
        """One process."""
        return [
            {
                **{"name": "worker 1", "pid": 11, "state": "serving", "age": 75.0},
                **{"connections": 2, "requests": 5, "in_service": 1, "rss": 3 << 20},
            }
        ]

    def resize(self, size: int) -> None:
        """As the pool does it."""
        self.size = max(1, size)

    def inspect(
        self, what: str, *arguments: Any, timeout: float = 1.0
    ) -> Deferred[list[ProcessReport]]:
        """What the test wants."""
        self.asked.append((what, *arguments))
        return succeed(self.reports)


class ProcessCommandsTests(SynchronousTestCase):
    """What an operator sees."""

    @override
    def setUp(self) -> None:
        self.front = FakeFront()
        self.status: dict[str, Any] = {}
        self.commands = commands(
            Operated(
                list,
                lambda: self.status,
                Availability(),
                Clock(),
                ZooKeeperClient("127.0.0.1:1", reactor=Clock()),
                self.front,
            )
        )

    def say(self, line: str, *reports: ProcessReport) -> Any:
        """The reply to a command when the processes reply this."""
        self.front.reports = list(reports)
        name, *words = line.split()
        return self.successResultOf(maybeDeferred(self.commands[name], words))

    def test_requests(self) -> None:
        """A line for each, with the line of code that it waits at."""
        text = self.say("requests", ProcessReport("", 1, {"requests": [REQUEST], "more": 7}))
        self.assertEqual(
            text.splitlines(),
            [
                "AGE    REQUEST  CLIENT     THREAD         WAITS FOR",
                "3.2 s  GET /a   192.0.2.1  application-0  app.py:3 in f: lock.acquire()",
                "... and 7 more",
            ],
        )
        nothing = {"requests": [], "more": 0}
        self.assertEqual(
            self.say("requests", ProcessReport("", 1, nothing)), "no request is in service"
        )

    def test_many_requests(self) -> None:
        """A terminal gets a hundred lines, and a number; programs get all."""
        report = ProcessReport("", 1, {"requests": [REQUEST] * 150, "more": 7})
        self.assertEqual(self.say("requests", report).splitlines()[101:], ["... and 57 more"])
        (told,) = json.loads(self.say("requests --json", report))
        self.assertEqual(len(told["value"]["requests"]), 150)

    def test_stuck_process(self) -> None:
        """It is called stuck, and the other processes are shown."""
        well = ProcessReport("worker 1", 11, {"requests": [], "more": 0})
        self.assertEqual(
            self.say("requests", well, STUCK),
            "worker 1 (11):\nno request is in service\n\n"
            "worker 2 (12) is stuck: no reply for 1.0 s",
        )
        told = json.loads(self.say("requests --json", well, STUCK))
        self.assertEqual((told[1]["pid"], told[1]["error"]), (12, "no reply for 1.0 s"))
        self.assertEqual(self.say("requests"), "no process is serving")

    def test_stacks_of_a_stuck_process(self) -> None:
        """They follow the line that says that it is stuck."""
        stuck = replace(STUCK, stack="Thread 0x1:\n  File a, line 3 in f")
        self.assertEqual(
            self.say("threads", stuck),
            "worker 2 (12) is stuck: no reply for 1.0 s\nThread 0x1:\n  File a, line 3 in f",
        )
        (told,) = json.loads(self.say("threads --json", stuck))
        self.assertEqual(told["stack"], stuck.stack)

    def test_threads(self) -> None:
        """Stacks of busy threads; idle ones share a line; ESC is not sent to the terminal."""
        report = ProcessReport("", 1, {"threads": [REACTOR, THREAD, IDLE], "more": 0})
        self.assertEqual(
            self.say("threads", report).splitlines(),
            [
                "application-0 (stuck): GET /a from 192.0.2.1 for 3.2 s",
                "  /srv/app.py:3 in f",
                "    lock.acquire()\\x1b",
                "MainThread: the reactor, running this command",
                "idle: application-1",
            ],
        )

    def test_profile(self) -> None:
        """Stacks of several processes in one profile, each under its process."""
        told = ProcessReport("worker 1", 11, "application-0;f (a.py:1) 3\nMainThread;idle 2")
        self.assertEqual(
            self.say("profile 0.5", told, STUCK).splitlines(),
            [
                "worker 1;application-0;f (a.py:1) 3",
                "worker 1;MainThread;idle 2",
                "worker 2;(no reply for 1.0 s) 1",
            ],
        )
        self.assertEqual(self.front.asked, [("profile", 0.5)])
        self.assertEqual(self.say("profile 1", ProcessReport("", 1, "a 1")), "a 1")
        for mistake in (
            "profile",
            "profile x",
            "profile 0",
            "profile 61",
            "profile nan",
            "profile 1 2",
        ):
            self.assertEqual(self.say(mistake), "error: write profile SECONDS, at most 60")

    def test_collector(self) -> None:
        """What the collector has, and the types if they are asked for."""
        found = {
            **{"enabled": True, "counts": [1, 2, 3], "thresholds": [700, 10, 10]},
            **{"collections": [4, 5, 6], "uncollectable": 0, "types": [["dict", 9]]},
            **{"collected": 7, "seconds": 0.002},
        }
        text = self.say("gc types collect", ProcessReport("", 1, found))
        self.assertEqual(self.front.asked, [("garbage", True, True)])
        self.assertIn("collected      7 objects in 2 ms", text)
        self.assertIn("dict           9", text)
        self.assertEqual(self.say("gc everything"), "error: write gc [collect] [types]")

    def test_log_level(self) -> None:
        """One line if all processes reply the same; the logger of the parent changes, too."""
        self.addCleanup(logging.getLogger("tests.level").setLevel, logging.NOTSET)
        self.front.size = 2
        told = [ProcessReport(f"worker {number}", number, "DEBUG") for number in (1, 2)]
        self.assertEqual(self.say("loglevel tests.level DEBUG", *told), "tests.level: DEBUG")
        self.assertEqual(logging.getLogger("tests.level").level, logging.DEBUG)
        text = self.say("loglevel tests.level", told[0], STUCK)
        self.assertEqual(
            text, "worker 1 (1):\ntests.level: DEBUG\n\nworker 2 (12) is stuck: no reply for 1.0 s"
        )
        self.assertEqual(self.say("loglevel"), "error: write loglevel NAME [LEVEL]")

    def test_trace_log(self) -> None:
        """It can be switched where there is one."""
        self.assertEqual(self.say("tracelog off", ProcessReport("", 1, False)), "off")
        self.assertEqual(self.front.asked, [("trace log", False)])
        self.assertEqual(self.say("tracelog", ProcessReport("", 1, True)), "on")
        self.assertIn("--trace-log FILE", self.say("tracelog on", ProcessReport("", 1, None)))
        self.assertEqual(self.say("tracelog maybe"), "error: write tracelog [on|off]")

    def test_stats(self) -> None:
        """Numbers by dotted names; text and lists are no figures."""
        self.status = {"pid": 1, "http": {"requests": 5, "draining": False}, "path": "/p", "a": [1]}
        self.assertEqual(self.say("stats"), "http.draining 0\nhttp.requests 5\npid 1")
        self.assertEqual(json.loads(self.say("stats --json"))["http.requests"], 5)

    def test_workers(self) -> None:
        """A table; and their number can be changed, if there are some."""
        self.assertEqual(self.say("workers").splitlines()[1].split("  ")[0:2], ["worker 1", "11"])
        self.assertIn("--processes N", self.say("workers add"))
        self.front.size = 2
        self.assertEqual(self.say("workers").splitlines()[0], "2 wanted")
        self.assertEqual(self.say("workers add 2"), "4 wanted")
        self.assertEqual(self.say("workers remove"), "3 wanted")
        for mistake in ("workers x", "workers add -1", "workers add 1 2", "workers add 9999999999"):
            self.assertIn("error: write workers", self.say(mistake))
        self.assertEqual(json.loads(self.say("workers --json"))[0]["rss"], 3 << 20)

    def test_status(self) -> None:
        """JSON as programs have it; words where a user asks."""
        self.status = {"pid": 1, "registration": "out", "reason": "disk", "path": "/p"}
        both = self.say("status")
        assert isinstance(both, TwoForms)
        self.assertEqual(json.loads(both.json), self.status)
        self.assertEqual(self.say("status --json"), both.json)
        self.assertEqual(self.say("status --text"), both.text)
        self.assertIn("registration:  suspended (disk)", both.text)

    def test_every_command_has_help(self) -> None:
        """The first line of each says what it does, and how to write it."""
        for name, command in COMMANDS.items():
            first = (command.__doc__ or "").partition("\n")[0]
            self.assertTrue(first.endswith("."), name)
            self.assertLess(len(first), 100, name)


class FuzzTests(SynchronousTestCase):
    """Whatever is typed at a monitor with all commands."""

    @given(
        st.lists(
            st.binary(max_size=60)
            | st.builds(
                lambda name, rest: name.encode() + b" " + rest,
                st.sampled_from(sorted({*COMMANDS, *BUILT_IN})),
                st.binary(max_size=30)
                | st.sampled_from([b"--json", b"1", b"-1", b"nan", b"0", b"on", b"types", b"/a\0"]),
            ),
            max_size=6,
        )
    )
    def test_leaves_nothing_behind(self, lines: list[bytes]) -> None:
        """No traceback is logged; when the connection has ended, no timer and no slot is in use."""
        clock, transport = Clock(), StringTransport()
        operated = Operated(
            list, dict, Availability(), clock, ZooKeeperClient("h:1", reactor=Clock()), Refusing()
        )
        factory = MonitorFactory(commands(operated), clock=clock)
        monitor = factory.buildProtocol(None)
        monitor.makeConnection(transport)
        monitor.dataReceived(b"interactive\n")
        for line in lines:
            monitor.dataReceived(line + b"\n")
        clock.advance(1)
        monitor.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(clock.getDelayedCalls(), [])
        self.assertEqual(len(factory.slots.connections), 0)


class Refusing(FakeFront):
    """Its process is stuck."""

    def __init__(self) -> None:
        super().__init__()
        self.reports = [STUCK]
