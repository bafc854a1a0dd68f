"""Tests of ``zkservice.web.inspection``: the requests in service."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.web.support import Client, FrontEnd, StartResponse, hello
from zkservice.web import HTTPFactory, Workers, running_requests


def get(target: bytes) -> bytes:
    """A request."""
    return b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n"


class ImmediateReactor(Clock):
    """A clock that takes calls from threads; they are of no interest here."""

    def callFromThread(self, function: Any, *args: Any) -> None:  # noqa: N802 - the reactor's name
        """Forget it."""


class DeadlockTests(SynchronousTestCase):
    """Real threads that are stuck in an application."""

    @override
    def setUp(self) -> None:
        self.release, self.entered = threading.Event(), threading.Semaphore(0)
        self.reactor = ImmediateReactor()
        self.workers = Workers(self.reactor, threads=2)
        factory = HTTPFactory(self.application, self.workers, reactor=self.reactor)
        self.server = factory.server
        self.factory = factory
        self.workers.start()
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """End the threads."""
        self.release.set()
        crew = [worker.thread for worker in self.workers.all_workers()]
        self.workers.stop(0)
        for thread in crew:
            assert thread is not None
            thread.join(5)

    def application(self, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        """Hang."""
        self.entered.release()
        self.release.wait(5)  # stuck here
        start("200 OK", [])
        return []

    def test_stuck_and_queued(self) -> None:
        """Each request is listed with its thread and line, also those that wait for a thread."""
        clients = [Client(self.factory) for _ in range(3)]
        for number, client in enumerate(clients):
            client.send(get(b"/%d?secret=1" % number))
            self.reactor.advance(0)
            if number < 2:
                self.workers._queue.wake_enough()
                self.assertTrue(self.entered.acquire(timeout=60))
        found, more = running_requests(self.server)
        self.assertEqual(more, 0)
        self.assertEqual([each.path for each in found], ["/0", "/1", "/2"])
        self.assertEqual([each.phase for each in found], ["running", "running", "queued"])
        self.assertEqual(found[2].waits_for, "a thread")
        for each in found[:2]:
            self.assertIn("test_inspection.py", each.waits_for)
            self.assertIn("in application", each.waits_for)
            self.assertTrue(each.thread.startswith("application-"))
            self.assertGreaterEqual(each.age, each.ran or 0.0)
        self.assertNotIn("secret", repr(found))

    def test_the_number_of_threads_shown_is_bounded(self) -> None:
        """The oldest are shown, and the number of the others."""
        for number in range(3):
            Client(self.factory).send(get(b"/%d" % number))
        found, more = running_requests(self.server, 2)
        self.assertEqual(([each.path for each in found], more), (["/0", "/1"], 1))

    def test_client_that_has_left(self) -> None:
        """A thread that works for a client which has left is still shown."""
        client = Client(self.factory)
        client.send(get(b"/left"))
        self.reactor.advance(0)
        self.assertTrue(self.entered.acquire(timeout=60))
        client.leave()
        (found,), _ = running_requests(self.server)
        self.assertEqual((found.path, found.phase), ("/left", "running"))


class PhaseTests(SynchronousTestCase):
    """What a request without a thread waits for."""

    def test_idle_connections_have_none(self) -> None:
        """An idle keep-alive connection is not listed as a request."""
        end = FrontEnd(hello)
        end.get()
        self.assertEqual(running_requests(end.factory.server), ([], 0))

    def test_an_unsent_response_waits_for_its_client(self) -> None:
        """A response that has not all gone waits for its client."""
        end = FrontEnd(lambda environ, start: (start("200 OK", []), [b"x" * 1_000_000])[1])
        end.workers.holding = True
        client = end.connect()
        client.send(get(b"/big"))
        client.transport.set_flowing(False)
        end.workers.run()
        (found,), _ = running_requests(end.factory.server)
        self.assertEqual((found.phase, found.waits_for), ("sending", "the client to read"))

    def test_a_long_path_is_cut(self) -> None:
        """A path does not fill the terminal."""
        end = FrontEnd(hello)
        end.workers.holding = True
        end.connect().send(get(b"/" + b"x" * 500))
        (found,), _ = running_requests(end.factory.server)
        self.assertEqual(len(found.path), 303)
