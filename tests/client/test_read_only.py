"""Tests for servers that have lost their quorum."""

from __future__ import annotations

from tests.client.base import HOST, PORT, ClientTestCase
from zkservice.errors import NotReadOnlyError
from zkservice.wire.hosts import Address
from zkservice.wire.session import State


class ReadOnlyTests(ClientTestCase):
    """A client that accepts read-only servers."""

    def test_a_client_that_writes_avoids_read_only_servers(self) -> None:
        """A client without ``read_only=True`` does not connect to a read-only server."""
        self.server.read_only = True
        client = self.connecting()
        self.network.advance(2)
        self.assertIs(client.state, State.CONNECTING)

    def test_reads_work_and_writes_are_refused(self) -> None:
        """Reads work, writes fail, and the state is READ_ONLY."""
        self.server.read_only = True
        client = self.client(read_only=True)
        self.result(client.connect())
        self.assertIs(client.state, State.READ_ONLY)
        self.assertIsNotNone(self.result(client.exists("/")))
        self.failure(client.create("/a"), NotReadOnlyError)

    def test_quorum_comes_back(self) -> None:
        """When the server has its quorum again, the client gets a full session."""
        self.server.read_only = True
        client = self.client(read_only=True)
        states: list[State] = []
        client.subscribe(states.append)
        self.result(client.connect())
        self.server.read_only = False
        self.network.advance(1)
        self.assertEqual(
            states, [State.CONNECTING, State.READ_ONLY, State.SUSPENDED, State.CONNECTED]
        )
        self.result(client.create("/a"))

    def test_a_better_server_is_found(self) -> None:
        """The client moves to another server as soon as that accepts writes."""
        self.server.read_only = True
        other = Address("10.0.0.2", PORT)
        client = self.client(f"{HOST},{other}", read_only=True)
        connecting = client.connect()
        self.network.advance(1)
        self.successResultOf(connecting)
        self.assertIs(client.state, State.READ_ONLY)
        better = self.start_server(*other)
        self.network.advance(120)
        self.assertEqual((client.state, client.server), (State.CONNECTED, other))
        self.result(client.create("/a"))
        self.result(client.close())
        better.stop()

    def test_closed_while_searching(self) -> None:
        """Closing ends the search, too."""
        self.server.read_only = True
        self.network.black_holes.add(("10.0.0.2", PORT))
        client = self.client(f"{HOST},10.0.0.2", read_only=True)
        connecting = client.connect()
        self.network.advance(7)
        self.successResultOf(connecting)
        closed = client.close()
        self.network.advance(2.1)
        self.successResultOf(closed)
        attempts = len(self.network.attempts)
        self.network.advance(120)
        self.assertEqual(len(self.network.attempts), attempts)
