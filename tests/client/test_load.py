"""Load tests: many watches, many calls, a server that does not read."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from tests import effort
from tests.client.base import ClientTestCase, ignore_close
from tests.client.network import BUFFER
from zkservice.errors import ConnectionLossError
from zkservice.wire.session import State
from zkservice.wire.watches import EventType

WATCHES = effort(50_000, 5_000)
CALLS = effort(100_000, 10_000)


class LoadTests(ClientTestCase):
    """Numbers far beyond what programs usually need."""

    def test_watches_survive(self) -> None:
        """Tens of thousands of watches survive a reconnect; a change meanwhile fires its watch."""
        client, other = self.connected(), self.connected()
        watches: list[Deferred[Any]] = []
        for number in range(WATCHES):
            watches.append(client.exists_and_watch(f"/a-name-like-any-other-{number:06}")[1])
        self.network.settle()
        self.assertEqual(client.statistics().watches, WATCHES)
        self.network.cables[0].cut()
        self.result(other.create("/a-name-like-any-other-000007"))
        self.network.advance(1)
        self.assertIs(client.state, State.CONNECTED)
        self.assertEqual(self.result(watches[7]).type, EventType.CREATED)
        self.assertEqual(client.statistics().watches, WATCHES - 1)
        self.assertEqual(self.server.statistics().watches, WATCHES - 1)
        self.result(other.create(f"/a-name-like-any-other-{WATCHES - 1:06}"))
        self.assertEqual(self.result(watches[-1]).type, EventType.CREATED)
        ignore_close(*watches)

    def test_tens_of_thousands_of_calls_are_answered_in_order(self) -> None:
        """Tens of thousands of calls can be pending; their Deferreds fire in order."""
        client = self.connected()
        order: list[int] = []
        calls = []
        for number in range(CALLS):
            calls.append(client.exists("/").addCallback(lambda _, n: order.append(n), number))
        self.result(gatherResults(calls))
        self.assertEqual(order, list(range(CALLS)))

    def test_single_replies_are_read_in_portions(self) -> None:
        """While many replies arrive one by one, reading pauses until there are several."""
        client = self.connected()
        self.cable.chunk_size = 200  # bytes, as a server that writes each reply by itself
        calls = [client.exists("/") for _ in range(500)]
        reads: list[int] = []
        real = self.cable.client.protocol.dataReceived

        def received(data: bytes) -> None:
            reads.append(len(data))
            self.assertFalse(self.cable.client.paused)
            real(data)

        self.cable.client.protocol.dataReceived = received
        self.network.settle()
        self.assertLess(len(reads), 10)
        self.assertTrue(self.cable.client.paused)
        self.network.advance(1)
        self.result(gatherResults(calls))
        self.assertFalse(self.cable.client.paused)

    def test_server_that_does_not_read(self) -> None:
        """Requests that it does not read stay in the queue, and survive the connection."""
        client = self.connected()
        self.server.pause()
        calls = [client.exists("/" + "x" * 90) for _ in range(20_000)]
        self.network.settle()
        counts = client.statistics()
        self.assertEqual(counts.outstanding + counts.waiting, 20_000)
        self.assertLess(len(self.cable.client.outgoing), BUFFER + 0x50000)
        self.assertLess(counts.outstanding, 4000)
        self.cable.cut()
        self.server.resume()
        self.network.advance(1)
        ends: list[Any] = []
        for call in calls:
            call.addBoth(ends.append)
        lost = [end for end in ends if end is not None]
        self.assertEqual((len(ends), len(lost)), (20_000, counts.outstanding))
        for failure in lost:
            failure.trap(ConnectionLossError)
