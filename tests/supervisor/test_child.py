"""Tests of ``zkservice.supervisor.child``: what a worker tells its parent, without a parent."""

from __future__ import annotations

import struct
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests import effort
from zkservice.supervisor.child import WorkerSide
from zkservice.supervisor.messages import Beat, LogLine, Message, decode


class FakeServed:
    """Something that is served, and has served so many requests."""

    factories = ()
    requests = 0

    def __init__(self) -> None:
        self.drained: Deferred[None] = Deferred()

    def figures(self) -> tuple[int, int, dict[str, Any]]:
        """So many requests."""
        return self.requests, 0, {}

    def answer(self, what: str, arguments: list[Any]) -> Any:
        """Answer nothing."""

    def reopen(self) -> None:
        """There are no log files."""

    def drain(self, timeout: float) -> Deferred[None]:
        """The test says when it is done."""
        return self.drained


class WorkerSideTests(SynchronousTestCase):
    """A worker that serves, on a transport in memory."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.codes: list[int] = []
        self.served = FakeServed()
        make: Any = None
        self.side = WorkerSide(self.clock, make, self.codes.append)
        self.transport = StringTransport()
        self.side._channel.makeConnection(self.transport)
        self.side._application = self.served
        self.side._beats.start(1.0)

    def told(self) -> list[Message]:
        """What was sent since the last look."""
        data, found = self.transport.value(), []
        self.transport.clear()
        while data:
            (size,) = struct.unpack(">I", data[:4])
            found.append(decode(data[4 : 4 + size]))
            data = data[4 + size :]
        return found

    def test_the_last_figures_are_sent_before_the_end(self) -> None:
        """The sums include the requests since the last heartbeat."""
        self.side.drain(1.0)
        self.told()
        self.served.requests = 712
        self.served.drained.callback(None)
        (last,) = self.told()
        assert isinstance(last, Beat)
        self.assertEqual((last.requests, self.codes), (712, [0]))

    def test_closed_connections_are_reported_together(self) -> None:
        """One message reports several closed connections."""
        self.told()
        for _ in range(100):
            self.side._connection_closed()
        self.clock.advance(0.1)
        self.assertEqual([vars(message) for message in self.told()], [{"count": 100}])

    def test_log_entries_that_are_too_many_are_counted(self) -> None:
        """They are left out until the next second."""
        for _ in range(effort(50_000, 10_000)):
            self.side.observe({"log_format": "busy"})
        sent = sum(isinstance(message, LogLine) for message in self.told())
        self.assertTrue(500 < sent < 5000)
        self.clock.advance(1)
        self.side.observe({"log_format": "calm"})
        self.assertEqual(self.side._dropped, 0)
