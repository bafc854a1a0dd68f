"""Tests for `zkservice.service.views.readiness`."""

from __future__ import annotations

from typing import Any

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.web.support import GET, FrontEnd, split
from zkservice.registry import RegistrationState
from zkservice.service.options.serve_options import Options
from zkservice.service.state.availability import HEALTH, OPERATOR, Availability
from zkservice.service.views.readiness import (
    READY,
    ready_view,
    reason_not_registered,
    reason_not_serving,
)
from zkservice.web import Limits

ASK = f"GET {READY} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


class FakeRegistration:
    """A registration in the state that a test gives it."""

    def __init__(self) -> None:
        self.state, self.reason = RegistrationState.REGISTERED, ""

    def suspend(self, reason: str, state: object = None) -> None:
        """Nothing happens: ZooKeeper has not replied yet."""

    def resume(self) -> None:
        """The same."""


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """An application."""
    start_response("200 OK", [("Content-Length", "0")])
    return []


class ReadyTests(SynchronousTestCase):
    """200 while the process should get requests, else 503 with the reason."""

    @override
    def setUp(self) -> None:
        registration: Any = FakeRegistration()
        self.registration, self.availability = registration, Availability()
        self.availability.attach(registration)

        def why_not() -> str:
            registered = reason_not_registered(self.registration, self.availability)
            return reason_not_serving(self.end.factory) or registered

        views = {READY: ready_view(why_not)}
        self.end = FrontEnd(hello, views=views, limits=Limits(queue=2))

    def ask(self) -> tuple[bytes, bytes]:
        """The status and the text."""
        status, _, body = split(self.end.get(ASK))
        return status.split(b" ")[1], body

    def test_ready_while_registered(self) -> None:
        """A registered process that can serve is ready, although all its threads are busy."""
        self.assertEqual(self.ask(), (b"200", b"ready\n"))
        self.end.workers.holding = True
        self.end.connect().send(GET)
        self.assertEqual(self.ask(), (b"200", b"ready\n"))

    def test_not_ready_in_every_other_state(self) -> None:
        """Each state but REGISTERED is a reason, with its own reason behind it."""
        for state in RegistrationState:
            self.registration.state = state
            expected = b"200" if state is RegistrationState.REGISTERED else b"503"
            self.assertEqual(self.ask()[0], expected, state)
        self.registration.state = RegistrationState.FAILING
        self.registration.reason = "NoAuth"
        self.assertEqual(self.ask(), (b"503", b"not registered: refused by ZooKeeper (NoAuth)\n"))

    def test_objections_count_at_once(self) -> None:
        """Out and a failed health check make it unready before ZooKeeper has replied."""
        self.availability.block(OPERATOR, "new disk")
        self.assertEqual(self.ask(), (b"503", b"new disk\n"))
        self.availability.block(HEALTH, "health: status 503")
        self.assertEqual(self.ask(), (b"503", b"new disk; health: status 503\n"))
        self.availability.unblock(OPERATOR)
        self.availability.unblock(HEALTH)
        self.assertEqual(self.ask()[0], b"200")

    def test_a_full_queue_is_not_ready(self) -> None:
        """A process that refuses requests is not able to serve."""
        self.end.workers.holding = True
        for _ in range(2):
            self.end.connect().send(GET)
        self.assertEqual(self.ask(), (b"503", b"overloaded: 2 requests wait for a thread\n"))

    def test_a_draining_process_is_not_ready(self) -> None:
        """A request on a connection that is still open gets "draining"."""
        client = self.end.connect()
        self.end.factory.drain(10)
        self.assertIn(b"\r\n\r\ndraining\n", client.send(ASK))

    def test_health_cannot_wait_for_readiness(self) -> None:
        """Readiness waits for the health check, so the check must ask something else."""
        for path in (READY, f"{READY}?x"):
            words = ["--path", "/p", "--health", path, "app:app"]
            error = self.assertRaises(UsageError, Options().parseOptions, words)
            self.assertIn("depends on the health check", str(error))
