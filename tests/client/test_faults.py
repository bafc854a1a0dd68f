"""A scripted session with a fault at every byte: each Deferred fires exactly once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests import sample
from tests.client.base import HOST, PORT, TIMEOUT
from tests.client.network import Cable, Network
from zkservice.client import ZooKeeperClient
from zkservice.embedded import ZooKeeperServer
from zkservice.errors import (
    ClientClosedError,
    ConnectionLossError,
    NodeExistsError,
    NoNodeError,
    OperationTimeoutError,
    SessionExpiredError,
    TransactionFailedError,
)
from zkservice.wire.session import State

#: The errors of a call whose connection breaks, or of a later call.
EXPECTED = (
    ConnectionLossError,
    SessionExpiredError,
    ClientClosedError,
    NoNodeError,
    NodeExistsError,
    TransactionFailedError,
)

Fault = Callable[[Cable, int], None]


class Session:
    """One run of the script on a network of its own."""

    def __init__(self, test: SynchronousTestCase, break_it: Callable[[Cable], None]) -> None:
        self._test = test
        self.network = network = Network()
        self.server = ZooKeeperServer(network, tick_time=1.0, secret=b"s")
        network.listen(HOST, PORT, self.server.factory)
        self.server.start()
        self.outcomes: dict[int, list[Any]] = {}
        self.client = ZooKeeperClient(
            f"{HOST}:{PORT}",
            TIMEOUT,
            reactor=network,
            auth=[("digest", "u:p")],
            random=Random(1),
        )
        self.states: list[State] = []
        self.client.subscribe(self.states.append)

        def plug(cable: Cable) -> None:
            if len(network.cables) == 1:
                break_it(cable)

        network.on_connect = plug

    def note(self, deferred: Deferred[Any]) -> None:
        """Record the result of a Deferred."""
        number = len(self.outcomes)
        outcome = self.outcomes[number] = []
        deferred.addBoth(outcome.append)

    def run(self) -> None:
        """Call all kinds of operations, in a few turns."""
        client, network = self.client, self.network
        self.note(client.connect())
        network.settle()
        self.note(client.create("/a", b"1"))
        self.note(client.create("/e", ephemeral=True))
        for pair in (
            client.get_and_watch("/a"),
            client.exists_and_watch("/missing"),
            client.get_children_and_watch("/"),
        ):
            self.note(pair[0])
            # A watch whose read fails never fires, so it is not recorded.
            pair[1].addErrback(lambda failure: failure.trap(*EXPECTED))
        network.settle()
        self.note(client.add_watch("/", lambda event: None, recursive=True))
        self.note(client.set("/a", b"2"))
        change = client.transaction()
        change.create("/a/b")
        change.delete("/a/b")
        self.note(change.commit())
        network.settle()
        self.note(client.get("/a", timeout=3.0).addErrback(_timed_out))
        self.note(client.add_auth("digest", "v:q"))
        network.settle()

    def end(self) -> None:
        """Wait until the client has recovered, close it, and `check`."""
        test, network = self._test, self.network
        network.advance(TIMEOUT * 3)
        test.assertIs(self.client.state, State.CONNECTED)
        self.note(self.client.exists("/"))
        self.note(self.client.close())
        network.advance(3)
        self.check()

    def check(self) -> None:
        """Check that each Deferred has fired once, and that nothing is left."""
        test, network = self._test, self.network
        for number, outcome in self.outcomes.items():
            test.assertEqual(len(outcome), 1, f"Deferred {number}")
            value = getattr(outcome[0], "value", None)
            if value is not None:
                test.assertIsInstance(value, EXPECTED, f"Deferred {number}")
        self.server.stop()
        network.settle()
        test.assertEqual(network.getDelayedCalls(), [])
        test.assertEqual([cable for cable in network.cables if cable.up], [])
        test.assertEqual(self.client.statistics().watches, 0)
        test.assertEqual(self.client.statistics().outstanding, 0)
        test.assertEqual(self.client.statistics().waiting, 0)


def _timed_out(failure: Any) -> Any:
    return None if failure.check(OperationTimeoutError) else failure


class EveryByteTests(SynchronousTestCase):
    """The first connection breaks after a number of bytes; later ones work."""

    def sent(self) -> tuple[int, int]:
        """How many bytes an unbroken session sends, from client and from server."""
        session = Session(self, lambda cable: None)
        session.run()
        cable = session.network.cables[0]
        sizes = len(cable.server.received), len(cable.client.received)
        session.end()
        self.assertNotIn(State.SUSPENDED, session.states)
        self.assertEqual(
            [outcome for outcome in session.outcomes.values() if hasattr(outcome[0], "value")], []
        )
        return sizes

    def test_cut_on_the_way_back(self) -> None:
        """The connection breaks after each byte that the server sends."""
        for size in sample(range(1, self.sent()[1] + 1), 60):
            self.broken_session(partial(_allow, server=size))

    def test_cut_on_the_way_there(self) -> None:
        """The connection breaks after each byte that the client sends."""
        for size in sample(range(1, self.sent()[0] + 1), 60):
            self.broken_session(partial(_allow, client=size))

    def test_survives_silence_from_each_byte_on(self) -> None:
        """Nothing arrives from a certain byte on, without an error."""
        for size in sample(range(1, self.sent()[1] + 1, 3), 60):

            def swallow(cable: Cable, size: int = size) -> None:
                cable.drop_after = size

            self.broken_session(swallow)

    def test_survives_half_open_connections(self) -> None:
        """The client is cut off; the server believes in the connection for a while."""
        for size in sample(range(1, self.sent()[1] + 1, 3), 60):

            def cut_here(cable: Cable, size: int = size) -> None:
                cable.half_open_after = size

            self.broken_session(cut_here)

    def test_byte_by_byte(self) -> None:
        """A connection that carries one byte at a time is slow, not broken."""

        def crumble(cable: Cable) -> None:
            cable.chunk_size = 1

        session = Session(self, crumble)
        session.run()
        session.end()
        self.assertNotIn(State.SUSPENDED, session.states)

    def test_closes_after_each_byte(self) -> None:
        """The client is closed after each byte; after every third the connection breaks as well."""
        for size in sample(range(1, self.sent()[1] + 1), 60):
            self.closed_session(size)

    def closed_session(self, size: int) -> None:
        """Close the client after so many bytes."""
        closed: list[Any] = []

        def break_it(cable: Cable) -> None:
            cable.chunk_size = 1
            cable.call_after = size, lambda: close(cable)

        def close(cable: Cable) -> None:
            session.client.close().addBoth(closed.append)
            if size % 3 == 0:
                cable.cut()

        session = Session(self, break_it)
        session.run()
        session.network.advance(3)
        self.assertEqual(closed, [None])
        session.check()

    def test_survives_delays_at_each_byte(self) -> None:
        """After a byte nothing arrives for a while, shorter or longer than the time-out."""
        total = self.sent()[1]
        for number, size in enumerate(range(1, total + 1, 7)):
            delay = (1.0, TIMEOUT * 0.5, TIMEOUT * 0.9, TIMEOUT * 1.5)[number % 4]
            self.delayed_session(size, delay)

    def delayed_session(self, size: int, delay: float) -> None:
        """Suspend the delivery for some seconds after a number of bytes."""

        def break_it(cable: Cable) -> None:
            cable.chunk_size = 1
            cable.call_after = size, lambda: hold(cable)

        def hold(cable: Cable) -> None:
            cable.holding = True
            session.network.callLater(delay, setattr, cable, "holding", False)

        session = Session(self, break_it)
        session.run()
        session.end()

    def broken_session(self, break_it: Callable[[Cable], None]) -> None:
        """Run the script over a connection that breaks."""
        session = Session(self, break_it)
        session.run()
        session.end()
        self.assertGreater(len(session.network.cables), 1, "nothing broke")


def _allow(cable: Cable, *, server: int | None = None, client: int | None = None) -> None:
    cable.server_may_send, cable.client_may_send = server, client
