"""The network: who listens where, and connections with what can happen to them.

A connection is two `End` transports.  Bytes go from the transport's buffer onto the way, with
a delay and in portions, and wait at the other side until its machine reads them: so they are
bounded, and producers are paused as by real transports.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, Protocol

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, ITCPTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.fake_reactor import SocketOptions
from tests.simulation.kernel import Event, Kernel

#: Bytes that a transport holds before it pauses its producer (abstract.py).
BUFFER = 2**16
#: Bytes of one direction that are on the way or unread.
WINDOW = 2**18
#: Seconds that bytes are on their way: usually, and on a bad moment.
LATENCY = (0.0002, 0.02)


class Process(Protocol):
    """What a connection, or a port, needs of the machine that it belongs to (`machine`)."""

    network: Network
    kernel: Kernel
    address: str
    state: str
    log: Logger
    ends: dict[End, None]
    open_ports: list[Any]

    def wake(self) -> None:
        """Have a turn soon."""

    def callLater(self, delay: float, callable: Any, *args: Any) -> Any:  # noqa: N802
        """Call later, by its own clock."""

    def from_kernel(self, function: Any, *args: Any) -> None:
        """Call a function in the next turn."""


class Network:
    """Who listens where, what names mean, and all connections."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.ports: dict[tuple[str, int], Any] = {}
        self.names: dict[str, Sequence[str]] = {}
        #: Addresses that never answer, and addresses that refuse.
        self.silent: set[str] = set()
        self.refused: set[str] = set()
        #: Seconds more that everything takes to and from an address.
        self.slow: dict[str, float] = {}
        #: Seconds more that names take, and names that are not known for now.
        self.slow_names = 0.0
        self.unknown_names: set[str] = set()
        self.connections: dict[Connection, None] = {}
        #: When a fault has touched an address last.
        self.harmed: dict[str, float] = {}
        self.numbers = count(1)

    def latency(self, *addresses: str) -> float:
        """Seconds from one address to another."""
        noise = self.kernel.choices.noise("delay", self.kernel.now)
        return noise.delay(*LATENCY) + sum(self.slow.get(one, 0.0) for one in addresses)


class Connection:
    """Two ends, and what can happen to the bytes between them."""

    def __init__(self, network: Network, client: End, server: End) -> None:
        self.number = next(network.numbers)
        self.network = network
        self.client, self.server = client, server
        self.ends = (client, server)
        #: Whether bytes wait on the way for now.
        self.clogged = False
        #: Whether all bytes vanish, and nobody learns it.
        self.silent = False
        #: Whether a fault has touched it.
        self.harmed = False
        network.connections[self] = None

    def harm(self) -> None:
        """Note that a fault touches it, and its two sides."""
        self.harmed = True
        for end in self.ends:
            self.network.harmed[end.here.host] = self.network.kernel.now

    def clog(self) -> None:
        """Let nothing through until `release`."""
        self.clogged = True
        self.harm()

    def release(self) -> None:
        """Let through what has waited."""
        self.clogged = False
        for end in self.ends:
            end.pump()

    def swallow(self) -> None:
        """Half-open for ever: neither side learns that the other one is not there."""
        self.silent = True
        self.harm()

    def cut(self) -> None:
        """Break it: both sides learn so after a moment; what is on the way is lost."""
        self.harm()
        for end in self.ends:
            end.reset_arrives()

    def gone(self) -> None:
        """Forget it when both sides have."""
        if all(end.disconnected for end in self.ends):
            self.network.connections.pop(self, None)


@implementer(ITCPTransport)
class End(SocketOptions):
    """The transport of one side."""

    def __init__(self, machine: Process, here: IPv4Address, there: IPv4Address) -> None:
        self.machine, self.here, self.there = machine, here, there
        self.protocol: Any = None
        self.connector: Any = None
        self.connection: Connection
        self.other: End
        self.outgoing = bytearray()
        self.way: list[bytes] = []  # between the two, in order
        self.arrived = bytearray()
        self.total = 0  # bytes that have arrived
        self.cut_after: int | None = None  # of them, then it breaks
        self.paused = False
        self.disconnecting = self.disconnected = False
        self._fin = self._rst = self._aborting = False
        self._moving: Event | None = None
        self._producer: tuple[Any, bool] | None = None
        self._producer_paused = False

    # -- the way

    def pump(self) -> None:
        """Move the first portion on the way, as soon as the network lets it."""
        if self.way and self._moving is None and not self.connection.clogged:
            network = self.connection.network
            seconds = network.latency(self.here.host, self.there.host)
            self._moving = network.kernel.after(seconds, self._move)

    def _move(self) -> None:
        self._moving = None
        if self.connection.clogged:
            return
        # What was sent in one go usually arrives in one go.
        noise = self.connection.network.kernel.choices.noise("portion", self.machine.kernel.now)
        for _ in range(noise.portion(len(self.way))):
            if self.way:
                self._arrive(self.way.pop(0))
        self.pump()

    def _arrive(self, data: bytes) -> None:
        other = self.other
        if self.connection.silent or other.machine.state == "dead":
            return
        if other.disconnected:
            if data:
                self.reset_arrives()
            return
        if not data:
            other._fin = True
        else:
            cut = other.cut_after
            if cut is not None and other.total + len(data) >= cut:
                data = data[: cut - other.total]
            other.total += len(data)
            other.arrived += data
            if cut is not None and other.total >= cut:
                self.connection.cut()
        other.machine.wake()

    def reset_arrives(self) -> None:
        """The connection is broken, as far as this side can see."""
        if not self.disconnected:
            self._rst = True
            self.way.clear()
            self.machine.wake()

    def process_died(self) -> None:
        """The process has ended without a word: the kernel closes its sockets."""
        if self.disconnected:
            return
        self.disconnected = True
        self.outgoing.clear()
        self._send_close(reset=bool(self.arrived))
        self.connection.gone()

    def _send_close(self, *, reset: bool) -> None:
        network = self.connection.network
        if self.connection.silent:
            return
        if reset:
            self.way.clear()
            seconds = network.latency(self.here.host, self.there.host)
            network.kernel.after(seconds, self.other.reset_arrives)
        else:
            self.way.append(b"")
            self.pump()

    # -- what the machine's reactor does

    @property
    def readable(self) -> bool:
        """Whether there is something to read."""
        if self.disconnected or self._aborting:
            return False
        if self._rst:
            return True
        return not self.paused and not self.disconnecting and bool(self.arrived or self._fin)

    @property
    def writable(self) -> bool:
        """Whether there is something to write, and room for it."""
        if self.disconnected or self._aborting:
            return False
        return bool(self.outgoing and self._room() > 0) or (
            not self.outgoing and (self.disconnecting or self._producer_paused)
        )

    def _room(self) -> int:
        return WINDOW - sum(map(len, self.way)) - len(self.other.arrived)

    def do_read(self, most: int) -> None:
        """Read once."""
        if self._rst:
            self.lost(ConnectionLost())
            return
        if self.arrived:
            full = self._full()
            data = bytes(self.arrived[:most])
            del self.arrived[: len(data)]
            if full:
                self.other.machine.wake()
            try:
                self.protocol.dataReceived(data)
            except Exception:  # noqa: BLE001 - as a reactor does
                self.machine.log.failure("dataReceived failed")
                self.lost(ConnectionLost())
        elif IHalfCloseableProtocol.providedBy(self.protocol):
            self._fin = False
            self.protocol.readConnectionLost()
        else:
            self.lost(ConnectionDone())

    def _full(self) -> bool:
        return len(self.arrived) >= WINDOW // 2

    def do_write(self, most: int) -> None:
        """Write once."""
        if self.outgoing:
            data = bytes(self.outgoing[: min(most, self._room())])
            del self.outgoing[: len(data)]
            self.way.append(data)
            self.pump()
        if not self.outgoing:
            if self._producer is not None and (self._producer_paused or not self._producer[1]):
                self._producer_paused = False
                self._producer[0].resumeProducing()
            elif self.disconnecting:
                self.lost(ConnectionDone())

    def lost(self, reason: Exception) -> None:
        """The connection is over for this side."""
        if self.disconnected:
            return
        self.disconnected = True
        reset = bool(self.arrived) or isinstance(reason, ConnectionAborted)
        if not self._rst:
            self._send_close(reset=reset)
        self.machine.ends.pop(self, None)
        self.connection.gone()
        failure = Failure(reason)
        try:
            self.protocol.connectionLost(failure)
        except Exception:  # noqa: BLE001 - as a reactor does
            self.machine.log.failure("connectionLost failed")
        if self.connector is not None:
            self.connector.connectionLost(failure)

    # -- ITCPTransport

    def write(self, data: bytes) -> None:
        """Send, unless it is closed."""
        if self.disconnected or self.disconnecting or self._aborting or not data:
            return
        self.outgoing += data
        if self._producer is not None and self._producer[1] and len(self.outgoing) > BUFFER:
            self._producer_paused = True
            self._producer[0].pauseProducing()
        self.machine.wake()

    def loseConnection(self) -> None:  # noqa: N802
        """Close when all is sent."""
        self.disconnecting = True
        self.machine.wake()

    def abortConnection(self) -> None:  # noqa: N802
        """Close at once."""
        if not self.disconnected and not self._aborting:
            self._aborting = True
            self.outgoing.clear()
            self.machine.callLater(0, self.lost, ConnectionAborted())

    def loseWriteConnection(self) -> None:  # noqa: N802
        """Say that nothing more is sent, when all is."""
        self.way.append(b"")
        self.pump()

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802
        """A producer wants to know how much room there is."""
        assert self._producer is None, "there is a producer already"
        if self.disconnected:
            producer.stopProducing()
            return
        self._producer = producer, streaming
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:  # noqa: N802
        """No producer wants to know it any more."""
        self._producer = None
        self._producer_paused = False
        self.machine.wake()

    def pauseProducing(self) -> None:
        """Read nothing for now."""
        self.paused = True

    def resumeProducing(self) -> None:
        """Read again."""
        if not self.disconnected and not self.disconnecting:
            self.paused = False
            self.machine.wake()

    def stopProducing(self) -> None:
        """As a transport does."""
        self.loseConnection()

    def getPeer(self) -> IPv4Address:  # noqa: N802
        """The other side's address."""
        return self.there

    def getHost(self) -> IPv4Address:  # noqa: N802
        """This side's address."""
        return self.here
