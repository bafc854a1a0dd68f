"""A reactor, a network and clocks of the tests' own: nothing in it happens by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.abstract import isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionRefusedError
from twisted.internet.interfaces import (
    IConnector,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IResolutionReceiver,
    ITCPTransport,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from tests.fake_reactor import OwnNameResolver, SocketOptions

#: Bytes that a transport holds before it asks its producer to pause (abstract.py).
BUFFER = 2**16

#: How often bytes may go to and fro before a test is taken for one that never ends.
ROUNDS = 10_000


@implementer(IReactorTCP, IReactorPluggableNameResolver)
class Network(OwnNameResolver, Clock):
    """Connects whoever calls ``connectTCP`` with the factory that listens there."""

    def __init__(self) -> None:
        super().__init__()
        self.rightNow = 1_000_000.0  # the embedded server makes ids of the time
        self.listening: dict[tuple[str, int], Any] = {}
        self.names: dict[str, Sequence[str]] = {}
        self.lookups: list[str] = []
        self.attempts: list[tuple[str, int]] = []
        self.black_holes: set[tuple[str, int]] = set()  # connecting to these takes for ever
        self.cables: list[Cable] = []
        self.plug: Callable[[Cable], None] = lambda cable: None  # called with each new cable

    # -- what the client uses

    @override
    def callLater(self, delay: float, callable: Any, *args: Any, **kw: Any) -> Any:
        """As a real reactor, refuse what lies in the past."""
        assert delay >= 0, f"{delay} is not greater than or equal to 0 seconds"
        return super().callLater(delay, callable, *args, **kw)

    def resolveHostName(  # noqa: N802
        self,
        resolutionReceiver: IResolutionReceiver,  # noqa: N803
        hostName: str,  # noqa: N803
        portNumber: int = 0,  # noqa: N803
        *rest: Any,
        **more: Any,
    ) -> Any:
        """Answer from `names`, at once; a name with None never gets an answer."""
        self.lookups.append(hostName)
        resolutionReceiver.resolutionBegan(None)  # type: ignore[arg-type]
        for host in self.names.get(hostName, ()):
            family = IPv6Address if isIPv6Address(host) else IPv4Address
            resolutionReceiver.addressResolved(family("TCP", host, portNumber))
        resolutionReceiver.resolutionComplete()

    def connectTCP(  # noqa: N802
        self,
        host: str,
        port: int,
        factory: Any,
        timeout: float = 30,
        bindAddress: Any = None,  # noqa: N803
    ) -> IConnector:
        """Connect, as soon as the network is given time."""
        self.attempts.append((host, port))
        attempt = Attempt(self, host, port, factory)
        attempt.started(timeout)
        return attempt

    def listenTCP(self, *args: Any, **options: Any) -> Any:  # noqa: N802
        """Tests fill `listening` instead."""
        raise NotImplementedError

    # -- what tests do

    def listen(self, host: str, port: int, factory: Any) -> None:
        """Somebody is there."""
        self.listening[host, port] = factory

    def settle(self) -> None:
        """Let everything happen that needs no time."""
        for _ in range(ROUNDS):
            moved = self.step()
            due = any(call.getTime() <= self.seconds() for call in self.getDelayedCalls())
            if not moved and not due:
                return
        raise AssertionError("the network does not come to rest")

    def step(self) -> bool:
        """Call what is due, then move bytes once; returns whether any were moved."""
        self.run_due()
        return any([cable.carry() for cable in list(self.cables)])

    def run_due(self) -> None:
        """Call what is due; no bytes move.

        As in a real reactor, what these calls ask for in turn is done in the next round.
        """
        for call in list(self.calls):
            if call.active() and call.getTime() <= self.seconds():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)

    def advance(self, amount: float) -> None:
        """Let time go by, in steps that no time-out is lost between."""
        self.settle()
        end = self.seconds() + amount
        while self.seconds() < end:
            coming = [call.getTime() for call in self.getDelayedCalls()]
            step = min([end, *coming]) - self.seconds()
            super().advance(max(step, 1e-9))
            self.settle()

    def stall(self, amount: float) -> None:
        """Let time go by as if the whole process were stopped: nothing runs in between."""
        self.rightNow += amount


@implementer(IConnector)
class Attempt:
    """One call of ``connectTCP``."""

    def __init__(self, network: Network, host: str, port: int, factory: Any) -> None:
        self._network, self._where, self._factory = network, (host, port), factory
        self._calls: list[Any] = []

    def started(self, timeout: float) -> None:
        """Succeed, fail, or never answer."""
        self._factory.doStart()
        self._factory.startedConnecting(self)
        later = self._network.callLater
        if self._where in self._network.black_holes:
            self._calls.append(later(timeout, self._fail, TimeoutError("timed out")))
        else:
            self._calls.append(later(0, self._connect))

    def _connect(self) -> None:
        server_factory = self._network.listening.get(self._where)
        if server_factory is None:
            self._fail(ConnectionRefusedError("refused"))
            return
        host, port = self._where
        family = IPv6Address if isIPv6Address(host) else IPv4Address
        there, here = family("TCP", host, port), family("TCP", host, 50_000)
        client = self._factory.buildProtocol(there)
        if client is None:
            return
        server = server_factory.buildProtocol(here)
        cable = Cable(client, server, here, there)
        self._network.cables.append(cable)
        self._network.plug(cable)
        cable.connect()

    def _fail(self, error: Exception) -> None:
        self._factory.clientConnectionFailed(self, Failure(error))

    def stopConnecting(self) -> None:  # noqa: N802
        """Give up."""
        for call in self._calls:
            if call.active():
                call.cancel()
        self._fail(ConnectionAborted())

    def disconnect(self) -> None:
        """Give up."""

    def connect(self) -> None:
        """Only once."""
        raise NotImplementedError

    def getDestination(self) -> Any:  # noqa: N802
        """Where it goes."""
        return IPv4Address("TCP", *self._where)


class Cable:
    """A connection: two ends, and what can happen to the bytes between them."""

    def __init__(self, client: Any, server: Any, here: Any, there: Any) -> None:
        self.client = End(client, here, there)
        self.server = End(server, there, here)
        self.client.other, self.server.other = self.server, self.client
        self.up = True
        self.portion: int | None = None  # bytes that are carried at once
        self.client_may_send: int | None = None  # bytes until the cable breaks
        self.server_may_send: int | None = None
        self.swallow_after: int | None = None  # bytes to the client until all vanish
        self.half_open_after: int | None = None  # bytes to the client until it is cut off
        #: Bytes to the client, and what is called when they have come.
        self.moment: tuple[int, Callable[[], object]] | None = None
        self.holding = False  # nothing is carried for the time being

    def connect(self) -> None:
        """Tell both ends."""
        self.server.protocol.makeConnection(self.server)
        self.client.protocol.makeConnection(self.client)

    def carry(self) -> bool:
        """Move what was sent; answers whether anything happened."""
        if not self.up:
            return False
        moved = self._carry(self.client, self.client_may_send)
        if self.up:
            moved = self._carry(self.server, self.server_may_send) or moved
        if self.up and any(end.closing and not end.gone for end in (self.client, self.server)):
            self.cut()
            moved = True
        return moved

    def _carry(self, end: End, budget: int | None) -> bool:
        other = end.other
        assert other is not None
        if not end.outgoing or other.paused or self.holding:
            return False
        data = bytes(end.outgoing[: self.portion])
        del end.outgoing[: len(data)]
        end.drained()
        cut = budget is not None and len(other.received) + len(data) >= budget
        if budget is not None:
            data = data[: budget - len(other.received)]
        other.received += data
        if not self._swallowed(other) and data and not other.closing:
            other.protocol.dataReceived(data)
        if self.moment is not None and len(self.client.received) >= self.moment[0]:
            (_, act), self.moment = self.moment, None
            act()
        if cut:
            self.cut()
        return True

    def _swallowed(self, end: End) -> bool:
        """Whether what comes is lost; a client that is cut off learns so."""
        came = len(self.client.received)
        if self.half_open_after is not None and came >= self.half_open_after:
            self.client.lose()
            return True
        return self.swallow_after is not None and came >= self.swallow_after

    def cut(self) -> None:
        """The connection is gone, for both."""
        if self.up:
            self.up = False
            self.client.lose()
            self.server.lose()


@implementer(ITCPTransport)
class End(SocketOptions):
    """The transport of one end."""

    def __init__(self, protocol: Any, host: Any, peer: Any) -> None:
        self.protocol, self._host, self._peer = protocol, host, peer
        self.other: End | None = None
        self.outgoing = bytearray()
        self.received = bytearray()  # all that ever came
        self.writes: list[bytes] = []  # all that was ever written
        self.closing = False
        self.gone = False
        self.paused = False
        self.full = False
        self.producer: Any = None

    def drained(self) -> None:
        """Some of it has been sent."""
        if self.full and not self.outgoing and self.producer is not None:
            self.full = False
            self.producer.resumeProducing()

    def lose(self) -> None:
        """The connection is gone, as far as this end can see."""
        if not self.gone:
            self.gone = self.closing = True
            self.protocol.connectionLost(Failure(ConnectionDone()))

    def write(self, data: bytes) -> None:
        """Send, unless it is closed."""
        if not self.closing:
            self.writes.append(data)
            self.outgoing += data
            if len(self.outgoing) > BUFFER and self.producer is not None and not self.full:
                self.full = True
                self.producer.pauseProducing()

    def loseConnection(self) -> None:  # noqa: N802
        """Close when all is sent; like the real one, not while there is a producer."""
        assert self.producer is None, "the producer is still registered"
        self.closing = True

    def abortConnection(self) -> None:  # noqa: N802
        """Close at once."""
        self.outgoing.clear()
        self.closing = True

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802
        """Somebody wants to know how much room there is."""
        self.producer = producer

    def unregisterProducer(self) -> None:  # noqa: N802
        """Nobody does."""
        self.producer = None

    def pauseProducing(self) -> None:
        """Nothing is read any more; it waits at the other end."""
        self.paused = True

    def resumeProducing(self) -> None:
        """It is read again."""
        self.paused = False

    def getPeer(self) -> Any:  # noqa: N802
        """The address of the other end."""
        return self._peer

    def getHost(self) -> Any:  # noqa: N802
        """The address of this end."""
        return self._host

    def loseWriteConnection(self) -> None:  # noqa: N802
        """Not in this protocol."""
        raise NotImplementedError
