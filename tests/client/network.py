"""A fake reactor with a network and a clock: nothing happens unless a test asks for it."""

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

#: Rounds of delivering bytes after which `Network.settle` fails: the test would never end.
ROUNDS = 10_000


@implementer(IReactorTCP, IReactorPluggableNameResolver)
class Network(OwnNameResolver, Clock):
    """A reactor whose ``connectTCP`` connects to the factories in `listening`."""

    def __init__(self) -> None:
        super().__init__()
        self.rightNow = 1_000_000.0  # the embedded server makes ids of the time
        self.listening: dict[tuple[str, int], Any] = {}
        self.names: dict[str, Sequence[str]] = {}
        self.lookups: list[str] = []
        self.attempts: list[tuple[str, int]] = []
        self.black_holes: set[tuple[str, int]] = set()  # connecting to these takes for ever
        self.cables: list[Cable] = []
        self.on_connect: Callable[[Cable], None] = lambda cable: None  # called with each new cable

    # -- what the client uses

    @override
    def callLater(self, delay: float, callable: Any, *args: Any, **kw: Any) -> Any:
        """Like a real reactor, refuse a negative delay."""
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
        """Return the addresses in `names` at once; none for an unknown name."""
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
        """Connect in the next turn."""
        self.attempts.append((host, port))
        attempt = Attempt(self, host, port, factory)
        attempt.started(timeout)
        return attempt

    def listenTCP(self, *args: Any, **options: Any) -> Any:  # noqa: N802
        """Tests fill `listening` instead."""
        raise NotImplementedError

    # -- what tests do

    def listen(self, host: str, port: int, factory: Any) -> None:
        """Make a factory's protocols accept connections at an address."""
        self.listening[host, port] = factory

    def settle(self) -> None:
        """Make all due calls, and deliver all bytes, until nothing is left to do."""
        for _ in range(ROUNDS):
            moved = self.step()
            due = any(call.getTime() <= self.seconds() for call in self.getDelayedCalls())
            if not moved and not due:
                return
        raise AssertionError("the network does not become idle")

    def step(self) -> bool:
        """Make the calls that are due, then deliver bytes once; returns whether there were any."""
        self.run_due()
        return any([cable.deliver() for cable in list(self.cables)])

    def run_due(self) -> None:
        """Make the calls that are due, without delivering bytes.

        As in a real reactor, calls that these calls schedule are made in the next round.
        """
        for call in list(self.calls):
            if call.active() and call.getTime() <= self.seconds():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)

    def advance(self, amount: float) -> None:
        """Advance the clock, making each call at its time and delivering bytes around it."""
        self.settle()
        end = self.seconds() + amount
        while self.seconds() < end:
            due_times = [call.getTime() for call in self.getDelayedCalls()]
            step = min([end, *due_times]) - self.seconds()
            super().advance(max(step, 1e-9))
            self.settle()

    def stall(self, amount: float) -> None:
        """Advance the clock as if the process were suspended: no call is made."""
        self.rightNow += amount


@implementer(IConnector)
class Attempt:
    """One call of ``connectTCP``."""

    def __init__(self, network: Network, host: str, port: int, factory: Any) -> None:
        self._network, self._address, self._factory = network, (host, port), factory
        self._calls: list[Any] = []

    def started(self, timeout: float) -> None:
        """Begin: it will succeed, fail, or time out."""
        self._factory.doStart()
        self._factory.startedConnecting(self)
        later = self._network.callLater
        if self._address in self._network.black_holes:
            self._calls.append(later(timeout, self._fail, TimeoutError("timed out")))
        else:
            self._calls.append(later(0, self._connect))

    def _connect(self) -> None:
        server_factory = self._network.listening.get(self._address)
        if server_factory is None:
            self._fail(ConnectionRefusedError("refused"))
            return
        host, port = self._address
        family = IPv6Address if isIPv6Address(host) else IPv4Address
        there, here = family("TCP", host, port), family("TCP", host, 50_000)
        client = self._factory.buildProtocol(there)
        if client is None:
            return
        server = server_factory.buildProtocol(here)
        cable = Cable(client, server, here, there)
        self._network.cables.append(cable)
        self._network.on_connect(cable)
        cable.connect()

    def _fail(self, error: Exception) -> None:
        self._factory.clientConnectionFailed(self, Failure(error))

    def stopConnecting(self) -> None:  # noqa: N802
        """Cancel the attempt."""
        for call in self._calls:
            if call.active():
                call.cancel()
        self._fail(ConnectionAborted())

    def disconnect(self) -> None:
        """Cancel the attempt."""

    def connect(self) -> None:
        """An attempt is made only once."""
        raise NotImplementedError

    def getDestination(self) -> Any:  # noqa: N802
        """The address to connect to."""
        return IPv4Address("TCP", *self._address)


class Cable:
    """A connection with two ends, and the faults that a test can inject between them."""

    def __init__(self, client: Any, server: Any, here: Any, there: Any) -> None:
        self.client = CableEnd(client, here, there)
        self.server = CableEnd(server, there, here)
        self.client.other, self.server.other = self.server, self.client
        self.up = True
        self.chunk_size: int | None = None  # bytes that are delivered at once; None for all
        # Numbers of bytes since the connection was made, after which a fault happens:
        self.client_may_send: int | None = None  # the connection breaks
        self.server_may_send: int | None = None  # the connection breaks
        self.drop_after: int | None = None  # to the client; later bytes are dropped
        self.half_open_after: int | None = None  # to the client; only its end breaks
        #: Bytes to the client, and a function to call when they have arrived.
        self.call_after: tuple[int, Callable[[], object]] | None = None
        self.holding = False  # whether delivery is suspended

    def connect(self) -> None:
        """Connect both protocols."""
        self.server.protocol.makeConnection(self.server)
        self.client.protocol.makeConnection(self.client)

    def deliver(self) -> bool:
        """Deliver what was sent; returns whether anything happened."""
        if not self.up:
            return False
        moved = self._deliver(self.client, self.client_may_send)
        if self.up:
            moved = self._deliver(self.server, self.server_may_send) or moved
        if self.up and any(end.closing and not end.gone for end in (self.client, self.server)):
            self.cut()
            moved = True
        return moved

    def _deliver(self, end: CableEnd, budget: int | None) -> bool:
        other = end.other
        assert other is not None
        if not end.outgoing or other.paused or self.holding:
            return False
        data = bytes(end.outgoing[: self.chunk_size])
        del end.outgoing[: len(data)]
        end.drained()
        cut = budget is not None and len(other.received) + len(data) >= budget
        if budget is not None:
            data = data[: budget - len(other.received)]
        other.received += data
        if not self._dropped(other) and data and not other.closing:
            other.protocol.dataReceived(data)
        if self.call_after is not None and len(self.client.received) >= self.call_after[0]:
            (_, act), self.call_after = self.call_after, None
            act()
        if cut:
            self.cut()
        return True

    def _dropped(self, end: CableEnd) -> bool:
        """Whether arriving bytes are dropped; a client that is cut off loses its connection."""
        arrived = len(self.client.received)
        if self.half_open_after is not None and arrived >= self.half_open_after:
            self.client.lose()
            return True
        return self.drop_after is not None and arrived >= self.drop_after

    def cut(self) -> None:
        """Break the connection for both ends."""
        if self.up:
            self.up = False
            self.client.lose()
            self.server.lose()


@implementer(ITCPTransport)
class CableEnd(SocketOptions):
    """The transport of one end of a `Cable`."""

    def __init__(self, protocol: Any, host: Any, peer: Any) -> None:
        self.protocol, self._host, self._peer = protocol, host, peer
        self.other: CableEnd | None = None
        self.outgoing = bytearray()
        self.received = bytearray()  # all that ever came
        self.writes: list[bytes] = []  # all that was ever written
        self.closing = False
        self.gone = False
        self.paused = False
        self.full = False
        self.producer: Any = None

    def drained(self) -> None:
        """Resume the producer if the buffer is empty again."""
        if self.full and not self.outgoing and self.producer is not None:
            self.full = False
            self.producer.resumeProducing()

    def lose(self) -> None:
        """Report a lost connection to this end's protocol."""
        if not self.gone:
            self.gone = self.closing = True
            self.protocol.connectionLost(Failure(ConnectionDone()))

    def write(self, data: bytes) -> None:
        """Buffer bytes, unless the connection is closed."""
        if not self.closing:
            self.writes.append(data)
            self.outgoing += data
            if len(self.outgoing) > BUFFER and self.producer is not None and not self.full:
                self.full = True
                self.producer.pauseProducing()

    def loseConnection(self) -> None:  # noqa: N802
        """Close; like a real transport, only without a registered producer."""
        assert self.producer is None, "the producer is still registered"
        self.closing = True

    def abortConnection(self) -> None:  # noqa: N802
        """Close at once."""
        self.outgoing.clear()
        self.closing = True

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802
        """Register the producer to pause and resume."""
        self.producer = producer

    def unregisterProducer(self) -> None:  # noqa: N802
        """Unregister the producer."""
        self.producer = None

    def pauseProducing(self) -> None:
        """Stop reading; bytes wait at the other end."""
        self.paused = True

    def resumeProducing(self) -> None:
        """Read again."""
        self.paused = False

    def getPeer(self) -> Any:  # noqa: N802
        """The address of the other end."""
        return self._peer

    def getHost(self) -> Any:  # noqa: N802
        """The address of this end."""
        return self._host

    def loseWriteConnection(self) -> None:  # noqa: N802
        """Not used by this protocol."""
        raise NotImplementedError
