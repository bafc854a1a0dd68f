"""Tests for `zkservice.service.registration.health`."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from zkservice.errors import UnhealthyError
from zkservice.service.config import HealthSettings
from zkservice.service.registration.health import (
    LINGER,
    MAX_RESPONSE,
    HealthCheck,
    HealthTracker,
    check_http,
    check_tcp,
)


class TrackerTests(SynchronousTestCase):
    """How results of checks become a state."""

    def states(self, answers: str, rise: int = 2, fall: int = 3) -> str:
        """The state after each result: + healthy, - ill, ? unknown."""
        verdict = HealthTracker(rise, fall)
        signs = {None: "?", True: "+", False: "-"}
        said = ""
        for answer in answers:
            verdict.record(answer == "+")
            said += signs[verdict.healthy]
        return said

    def test_first_success_is_enough(self) -> None:
        """A start does not wait for a second answer."""
        self.assertEqual(self.states("-+"), "?+")

    def test_failures_and_successes_in_a_row_change_the_state(self) -> None:
        """Three failures in a row, then two successes in a row."""
        self.assertEqual(self.states("+--+---+-++"), "++++++----+")

    def test_failures_from_the_start_are_unhealthy(self) -> None:
        """A service that never was healthy is unhealthy after ``fall`` failures."""
        self.assertEqual(self.states("---"), "??-")

    @given(st.text("+-", max_size=40), st.integers(1, 4), st.integers(1, 4))
    def test_changes_only_after_a_row(self, answers: str, rise: int, fall: int) -> None:
        """The state changes only after so many equal results in a row."""
        states = self.states(answers, rise, fall)
        for at in range(1, len(states)):
            before, now = states[at - 1], states[at]
            if before != now and before != "?":
                length = rise if now == "+" else fall
                self.assertEqual(answers[at + 1 - length : at + 1], now * length)


class HealthCheckTests(SynchronousTestCase):
    """Checks at intervals."""

    def setUp(self) -> None:
        """A check whose answers the test gives."""
        self.clock = Clock()
        self.asked: list[Deferred[Any]] = []
        self.said: list[tuple[bool, str]] = []
        self.check = HealthCheck(
            HealthSettings("/", interval=2.0, timeout=1.0, rise=2, fall=2),
            self.ask,
            lambda good, reason: self.said.append((good, reason)),
            self.clock,
        )

    def ask(self) -> Deferred[Any]:
        """One question."""
        self.asked.append(Deferred())
        return self.asked[-1]

    def test_only_changes_are_reported(self) -> None:
        """Only a change of the state is reported, with its reason."""
        self.check.start()
        self.asked[-1].callback(None)
        for _ in range(3):
            self.clock.advance(2.0)
            self.asked[-1].errback(UnhealthyError("status 500"))
        self.assertEqual(self.said, [(True, ""), (False, "status 500")])
        self.check.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_response_in_time_is_a_failure(self) -> None:
        """A check without a response in time has failed, and is cancelled."""
        self.check.start()
        self.clock.pump([1.0, 1.0, 1.0])
        self.assertEqual(self.said, [(False, "no response within 1.0 s")])
        self.check.stop()

    def test_stopped_while_asking(self) -> None:
        """A check that runs when checking stops reports nothing."""
        self.check.start()
        self.check.stop()
        self.assertEqual(self.said, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])


@implementer(IStreamClientEndpoint)
class Endpoint:
    """Connects to nothing: the test is the server."""

    def __init__(self) -> None:
        self.transport = StringTransport()
        self.protocol: Any = None

    def connect(self, protocolFactory: Any) -> Any:  # noqa: N803 - Twisted's name
        """A connection."""
        self.protocol = protocolFactory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)
        return succeed(self.protocol)


class AskTests(SynchronousTestCase):
    """One check of a program that may log connections which are reset."""

    def setUp(self) -> None:
        """A server and a clock."""
        self.clock = Clock()
        self.endpoint = Endpoint()

    def ask(self) -> Deferred[None]:
        """A check by HTTP whose request has been sent."""
        asked = check_http(self.endpoint, "/ok", "h:1", self.clock)
        self.assertTrue(
            self.endpoint.transport.value().startswith(b"GET /ok HTTP/1.0\r\nHost: h:1")
        )
        return asked

    def test_the_rest_of_the_response_is_read(self) -> None:
        """The status is the result; the server closes the connection, and no timer is left."""
        asked = self.ask()
        self.endpoint.protocol.dataReceived(b"HTTP/1.0 204 No Content\r\nServer: x\r\n")
        self.assertIsNone(self.successResultOf(asked))
        self.endpoint.protocol.dataReceived(b"\r\n")
        self.assertFalse(self.endpoint.transport.disconnecting)
        self.endpoint.protocol.connectionLost()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_response_that_does_not_end_is_cut_off(self) -> None:
        """After a while, or when it is long."""
        self.ask()
        self.endpoint.protocol.dataReceived(b"HTTP/1.1 200 OK\r\n")
        self.clock.advance(LINGER)
        self.assertTrue(self.endpoint.transport.disconnected)
        self.endpoint = Endpoint()
        self.ask()
        self.endpoint.protocol.dataReceived(b"HTTP/1.1 200 OK\r\n")
        self.endpoint.protocol.dataReceived(b"x" * MAX_RESPONSE)
        self.assertFalse(self.endpoint.transport.disconnected)
        self.endpoint.protocol.dataReceived(b"x")
        self.assertTrue(self.endpoint.transport.disconnected)

    def test_another_status_is_the_reason(self) -> None:
        """It fails with the status; what is no HTTP is shown."""
        for line, reason in ((b"HTTP/1.0 503 Busy", "status 503"), (b"SSH-2.0", "SSH-2.0")):
            self.endpoint = Endpoint()
            asked = self.ask()
            self.endpoint.protocol.dataReceived(line + b"\r\n")
            self.assertIn(reason, str(self.failureResultOf(asked, UnhealthyError).value))

    def test_a_check_that_is_cancelled_drops_the_connection(self) -> None:
        """A server that has not responded in time sees the connection end."""
        asked = self.ask()
        asked.cancel()
        self.failureResultOf(asked)
        self.assertTrue(self.endpoint.transport.disconnected)

    def test_connections_by_tcp_are_closed_in_good_order(self) -> None:
        """They are not reset."""
        self.successResultOf(check_tcp(self.endpoint))
        self.assertTrue(self.endpoint.transport.disconnecting)
        self.assertFalse(self.endpoint.transport.disconnected)
