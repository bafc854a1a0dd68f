"""The monitor of a real process whose threads are all deadlocked."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import threading

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.functional.processes import TIMEOUT, Twistd, fetch, told, wait_for
from zkservice.service.commands.monitor_commands import COMMANDS

APPLICATION = """\
import threading, time
first, second = threading.Lock(), threading.Lock()
both = threading.Barrier(2)

def hold_the_reactor():
    time.sleep(8)

def app(environ, start):
    if environ["PATH_INFO"] == "/hold":
        from twisted.internet import reactor
        reactor.callFromThread(hold_the_reactor)
    if environ["PATH_INFO"] == "/quick":
        start("200 OK", [])
        return [b""]
    outer, inner = (first, second) if environ["PATH_INFO"] == "/a" else (second, first)
    with outer:
        both.wait()  # in worker processes perhaps for ever
        inner.acquire()  # the deadlock
    start("200 OK", [])
    return [b""]
"""


class DeadlockedServiceTests(SynchronousTestCase):
    """One process, and two, with two threads each."""

    @override
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(self.folder)
        with open(os.path.join(self.folder, "stuck.py"), "w") as file:
            file.write(APPLICATION)

    def serve(self, *words: str) -> None:
        """Start the service."""
        process = Twistd(
            self.folder,
            "zkserve",
            *("--path", "/svc", "--host", "127.0.0.1", "--monitor", "127.0.0.1:0"),
            *("--threads", "2", *words, "stuck:app"),
        )
        self.addCleanup(process.end)
        self.address = process.wait_for_log(r"Serving on (127\.0\.0\.1:\d+)")[1]
        self.monitor = process.wait_for_log(r"The monitor listens at 127\.0\.0\.1:(\d+)")[1]

    def request(self, path: str) -> None:
        """Send a request without waiting for its response."""

        def send() -> None:
            with contextlib.suppress(OSError):
                fetch(self.address, path, timeout=TIMEOUT)

        threading.Thread(target=send, daemon=True).start()

    def ask(self, line: str) -> str:
        """What the monitor replies."""
        return told(f"127.0.0.1:{self.monitor}", line)

    def hang(self, threads: int, code: str) -> None:
        """Have so many threads hang at a line."""

        for path in ("/a", "/b"):
            self.request(f"{path}?token=secret")
        wait_for("they hang", lambda: self.ask("requests").count(code) >= threads)

    def test_every_command_replies(self) -> None:
        """And the line of the deadlock is named; nothing that may be secret is shown."""
        self.serve()
        self.hang(2, "# the deadlock")
        arguments = {"profile": " 0.1", "drain": " 0", "loglevel": " root"}
        for name in sorted(COMMANDS, key=lambda name: name in ("drain", "out")):
            reply = self.ask(name + arguments.get(name, ""))
            self.assertNotIn("secret", reply)
            if name not in ("drain", "tracelog"):  # requests are left; there is no trace log
                self.assertFalse(reply.startswith("error:"), f"{name}: {reply}")
        for command in ("threads", "profile 0.1", "requests"):
            self.assertIn("in app" if command == "requests" else "app", self.ask(command))
        self.assertIn("inner.acquire()  # the deadlock", self.ask("threads"))

    def test_worker_processes(self) -> None:
        """The parent asks all of them; each is shown by its name."""
        self.serve("--processes", "2")
        wait_for("both serve", lambda: self.ask("workers").count("serving") == 2)
        self.hang(2, "stuck.py:")

        def both_reply() -> bool:
            """A worker that the machine has stopped for a second is shown with an error."""
            found = json.loads(self.ask("requests --json"))
            return [each["error"] for each in found] == ["", ""]

        wait_for("both reply", both_reply)
        running = "the reactor, running this command"
        wait_for("both reactors", lambda: self.ask("threads").count(running) == 2)
        wait_for("a profile", lambda: "worker 1;" in self.ask("profile 0.1"))
        self.assertEqual(self.ask("loglevel some.logger DEBUG"), "some.logger: DEBUG\n")

    def test_drain_counts_for_later_workers(self) -> None:
        """A worker that is added while the service drains ends its connections as well."""
        self.serve("--processes", "2")
        self.assertIn("drained", self.ask("drain 5"))
        self.ask("workers add")
        wait_for("both serve", lambda: self.ask("workers").count("serving") == 3)
        self.assertEqual(self.ends(), [True] * 4)
        self.assertEqual(self.ask("in"), "in\n")
        self.assertEqual(self.ends(), [False] * 4)

    def ends(self) -> list[bool]:
        """Whether each of four responses is the last of its connection."""
        found = []
        for _ in range(4):
            connection = http.client.HTTPConnection(self.address, timeout=TIMEOUT)
            self.addCleanup(connection.close)
            connection.request("GET", "/quick")
            found.append(connection.getresponse().headers["Connection"] == "close")
        return found

    def test_a_stuck_process_shows_its_stacks(self) -> None:
        """Its reactor does not turn; it is not ended, and serves on afterwards."""
        self.serve("--processes", "2")
        wait_for("both serve", lambda: self.ask("workers").count("serving") == 2)
        self.request("/hold")
        wait_for("it is stuck", lambda: "hold_the_reactor" in self.ask("threads"))
        wait_for("it goes on", lambda: "stuck: no reply" not in self.ask("threads"))
        self.assertEqual(self.ask("workers").count("serving"), 2)
