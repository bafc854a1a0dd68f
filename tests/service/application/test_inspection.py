"""Tests of ``zkservice.service.application.inspection``: what a process tells about itself."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.web.support import FrontEnd, hello
from zkservice.errors import ConfigurationError
from zkservice.service.application.inspection import Inspector


class ThreadReactor(Clock):
    """Runs the calls of other threads when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.handed_over = threading.Semaphore(0)
        self.posted: list[Callable[[], object]] = []

    def callFromThread(self, function: Any, *args: Any) -> None:  # noqa: N802 - the reactor's name
        """Keep a call."""
        self.posted.append(lambda: function(*args))
        self.handed_over.release()


class InspectorTests(SynchronousTestCase):
    """A process with a front end, without threads of its own."""

    @override
    def setUp(self) -> None:
        self.end = FrontEnd(hello)
        self.reactor = ThreadReactor()
        self.logs = SimpleNamespace(trace=None)
        server: Any = SimpleNamespace(
            factory=self.end.factory, workers=self.end.workers, logs=self.logs
        )
        self.inspector = Inspector(server, self.reactor)

    def ask(self, what: str, *arguments: Any) -> Any:
        """The reply to a request, in values that JSON can express."""
        self.assertTrue(self.inspector.knows(what))
        return json.loads(json.dumps(self.inspector.answer(what, list(arguments))))

    def test_requests(self) -> None:
        """A request in service, as JSON has it."""
        self.end.workers.holding = True
        self.end.connect().send(b"GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n")
        found = self.ask("requests")
        self.assertEqual(found["more"], 0)
        self.assertEqual(found["requests"][0]["path"], "/a")
        self.assertEqual(found["requests"][0]["waits_for"], "a thread")

    def test_stacks(self) -> None:
        """All threads; the one that runs the request is marked as such."""
        found = self.ask("stacks")["threads"]
        (here,) = [each for each in found if each["here"]]
        self.assertEqual(here["name"], threading.current_thread().name)
        self.assertEqual(here["stack"][-1]["function"], "frames_by_thread")

    def test_profile(self) -> None:
        """One at a time; another can begin when it has ended."""
        done = self.inspector.answer("profile", [0.01])
        self.assertRaises(ConfigurationError, self.inspector.answer, "profile", [0.01])
        self.assertTrue(self.reactor.handed_over.acquire(timeout=60))
        self.reactor.posted.pop()()
        self.assertIn(";", self.successResultOf(done))
        again = self.inspector.answer("profile", [60])
        again.cancel()  # the user has left
        self.failureResultOf(again)
        self.assertTrue(self.reactor.handed_over.acquire(timeout=60))
        self.reactor.posted.pop()()
        self.assertRaises(ConfigurationError, self.inspector.answer, "profile", [61])

    def test_garbage(self) -> None:
        """The state of the collector; collecting and counting types only on request."""
        self.assertNotIn("types", self.ask("garbage"))
        found = self.ask("garbage", True, True)
        self.assertGreaterEqual(found["collected"], 0)
        self.assertIn("dict", dict(found["types"]))

    def test_trace_log(self) -> None:
        """None if there is no trace log."""
        self.assertIsNone(self.ask("trace log", True))

    def test_drain(self) -> None:
        """Responses close their connections until the drain is undone."""
        self.ask("drain connections", True)
        client = self.end.connect()
        get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        self.assertIn(b"Connection: close", client.send(get))
        self.ask("drain connections", False)
        self.assertNotIn(b"Connection: close", self.end.connect().send(get))

    def test_a_process_that_ends_goes_on_draining(self) -> None:
        """The command 'in' does not stop the drain that a signal has started."""
        self.end.factory.server.handler.draining = True
        self.ask("drain connections", False)
        self.ask("drain connections", True)
        self.ask("drain connections", False)
        self.assertTrue(self.end.factory.server.draining)

    def test_connections(self) -> None:
        """They are counted; idle ones are closed if that is asked for."""
        client = self.end.connect()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(self.ask("connections"), {"connections": 1, "in_service": 0})
        self.ask("connections", True)
        self.assertTrue(client.closed)
