"""Tests of ``zkservice.client.silence``: when the server last heard the client for certain."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.client.silence import MOST_PINGS, Silence


class PingTests(SynchronousTestCase):
    """Pings, which are answered in the order in which they were sent."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.silence = Silence(self.clock.seconds, 0.0)

    def ping(self, times: int) -> None:
        """Send pings, one in each second."""
        for _ in range(times):
            self.clock.advance(1)
            self.silence.ping_sent()

    def test_a_reply_proves_when_its_own_ping_was_sent(self) -> None:
        """Not when a later one was."""
        self.ping(2)
        self.silence.ping_reply_received()
        self.assertEqual(self.silence.seconds(), 1)
        self.silence.ping_reply_received()
        self.assertEqual(self.silence.seconds(), 0)

    def test_a_reply_without_a_ping_proves_nothing(self) -> None:
        """A broken server may send one."""
        self.clock.advance(5)
        self.silence.ping_reply_received()
        self.assertEqual(self.silence.seconds(), 5)

    def test_pings_without_replies_are_kept_up_to_a_number(self) -> None:
        """A server that sends only other things owes ever more replies."""
        self.ping(MOST_PINGS + 3)
        for sent in range(1, MOST_PINGS + 1):
            self.silence.ping_reply_received()
            self.assertEqual(self.silence.seconds(), MOST_PINGS + 3 - sent)
        self.ping(1)  # it is not kept, since the reply that comes next is not its own
        for _ in range(4):
            self.silence.ping_reply_received()
            self.assertEqual(self.silence.seconds(), 4)
        self.ping(1)
        self.silence.ping_reply_received()
        self.assertEqual(self.silence.seconds(), 0)
