"""Machines with a reactor each, and connections between them.

A `Machine` is what a process sees as its reactor.  A turn of it is as in Twisted: calls from
threads, then timed calls that were due before the turn, then what is readable and writable.
What is due together is called in any order.

A connection is two `End` transports.  Bytes go from the transport's buffer onto the way, with
a delay and in portions, and wait at the other side until its machine reads them: so they are
bounded, and producers are paused as by real transports.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Any

from twisted.internet.abstract import isIPAddress
from twisted.internet.address import IPv4Address
from twisted.internet.base import BaseConnector, DelayedCall
from twisted.internet.error import (
    CannotListenError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    ReactorNotRunning,
)
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IListeningPort,
    IReactorFromThreads,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
    IReadDescriptor,
    ITCPTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.simulation.kernel import Event, Kernel

#: Bytes that a transport holds before it pauses its producer (abstract.py).
BUFFER = 2**16
#: Bytes of one direction that are on the way or unread.
WINDOW = 2**18
#: Bytes that a transport reads at once (tcp.py).
READ = 2**16
#: Seconds that a turn takes at least.
TURN = 1e-6
#: Seconds that bytes are on their way: usually, and on a bad moment.
LATENCY = (0.0002, 0.02)


class Network:
    """Who listens where, what names mean, and all connections."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.ports: dict[tuple[str, int], ListeningPort] = {}
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
class End:
    """The transport of one side."""

    def __init__(self, machine: Machine, here: IPv4Address, there: IPv4Address) -> None:
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

    def writeSequence(self, data: Any) -> None:  # noqa: N802
        """Send."""
        self.write(b"".join(data))

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

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802
        """Nothing is delayed for this reason."""

    def getTcpNoDelay(self) -> bool:  # noqa: N802
        """Nothing is delayed for this reason."""
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None:  # noqa: N802
        """The kernel's probes are not simulated."""

    def getTcpKeepAlive(self) -> bool:  # noqa: N802
        """The kernel's probes are not simulated."""
        return False


class _Attempt:
    """The transport of a connector that is not connected yet."""

    def __init__(self, machine: Machine, connector: Connector) -> None:
        self._machine, self._connector = machine, connector
        self._over = False
        network = machine.network
        host, port = connector.where
        if host not in network.silent:
            seconds = network.latency(machine.address, host)
            network.kernel.after(seconds, self._syn, host, port)

    def _syn(self, host: str, port: int) -> None:
        """The request to connect has arrived."""
        network = self._machine.network
        if host in network.silent or self._over:
            return
        back = network.latency(machine_address := self._machine.address, host)
        listening = network.ports.get((host, port))
        if listening is None or host in network.refused:
            network.kernel.after(back, self._refused)
            return
        here = IPv4Address("TCP", machine_address, 30_000 + next(network.numbers))
        there = IPv4Address("TCP", host, port)
        client, server = End(self._machine, here, there), End(listening.machine, there, here)
        client.connection = server.connection = Connection(network, client, server)
        client.other, server.other = server, client
        listening.backlog.append(server)
        listening.machine.wake()
        network.kernel.after(back, self._accepted, client)

    def _refused(self) -> None:
        self._machine.from_kernel(self.failIfNotConnected, ConnectionRefusedError())

    def _accepted(self, client: End) -> None:
        self._machine.from_kernel(self._connected, client)

    def _connected(self, client: End) -> None:
        if self._over:
            client.disconnected = True
            client._send_close(reset=True)
            client.connection.gone()
            return
        self._over = True
        connector = self._connector
        protocol = connector.buildProtocol(client.there)
        transport: Any = client
        connector.transport = transport
        client.connector = connector
        self._machine.ends[client] = None
        if protocol is None:
            client.protocol = _Nothing()
            client.loseConnection()
            return
        client.protocol = protocol
        protocol.makeConnection(client)

    def failIfNotConnected(self, error: Exception) -> None:  # noqa: N802 - BaseConnector calls it
        """Give up."""
        if not self._over:
            self._over = True
            self._connector.connectionFailed(Failure(error))

    def loseConnection(self) -> None:  # noqa: N802
        """Give up."""
        self.failIfNotConnected(ConnectionAborted())


class _Nothing:
    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """Of no interest."""


class Connector(BaseConnector):
    """One call of ``connectTCP``; Twisted's own states and time-out."""

    def __init__(
        self, machine: Machine, where: tuple[str, int], factory: Any, timeout: Any
    ) -> None:
        self.where = where
        self._machine = machine
        reactor: Any = machine
        super().__init__(factory, timeout, reactor)

    def _makeTransport(self) -> Any:  # noqa: N802
        return _Attempt(self._machine, self)

    def getDestination(self) -> IPv4Address:  # noqa: N802
        """Where it goes."""
        return IPv4Address("TCP", *self.where)


@implementer(IListeningPort, IReadDescriptor)
class ListeningPort:
    """An open port, with the connections that wait to be accepted."""

    def __init__(self, machine: Machine, address: tuple[str, int], factory: Any) -> None:
        self.machine, self.address, self.factory = machine, address, factory
        self.backlog: list[End] = []
        self.connected = False
        self.reading = True
        self.numberAccepts = 1

    def startListening(self) -> None:  # noqa: N802
        """Open it."""
        ports = self.machine.network.ports
        if self.address in ports:
            raise CannotListenError(*self.address, OSError(98, "Address already in use"))
        self.connected = True
        ports[self.address] = self
        self.machine.open_ports.append(self)
        self.factory.doStart()

    def doRead(self) -> None:  # noqa: N802
        """Accept what waits."""
        for _ in range(min(len(self.backlog), self.numberAccepts)):
            end = self.backlog.pop(0)
            protocol = self.factory.buildProtocol(end.there)
            if protocol is None:
                end.protocol = _Nothing()
                end.loseConnection()
                continue
            end.protocol = protocol
            self.machine.ends[end] = None
            protocol.makeConnection(end)

    def stopListening(self) -> Any:  # noqa: N802
        """Close it in the next turn, as Twisted does."""
        from twisted.internet.defer import Deferred

        done: Deferred[None] = Deferred()

        def close() -> None:
            self.close()
            self.factory.doStop()
            done.callback(None)

        if not self.connected:
            return None
        self.machine.callLater(0, close)
        return done

    def close(self) -> None:
        """Close it; what waits is reset."""
        if self.connected:
            self.connected = False
            del self.machine.network.ports[self.address]
            self.machine.open_ports.remove(self)
            for end in self.backlog:
                end.disconnected = True
                end._send_close(reset=True)
                end.connection.gone()
            self.backlog.clear()

    def getHost(self) -> IPv4Address:  # noqa: N802
        """Where it is open."""
        return IPv4Address("TCP", *self.address)

    def stopReading(self) -> None:  # noqa: N802
        """Accept nothing."""
        self.reading = False

    def startReading(self) -> None:  # noqa: N802
        """Accept."""
        self.reading = True
        self.machine.wake()

    def fileno(self) -> int:
        """There is no descriptor."""
        return -1

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """As a descriptor has it."""

    def logPrefix(self) -> str:  # noqa: N802
        """Its name in a log."""
        return "port"


@implementer(IReactorTime, IReactorTCP, IReactorFromThreads, IReactorPluggableNameResolver)
class Machine:
    """A process with its reactor: its own clock, its own connections.

    Its ``state`` is ``running``, ``suspended``, ``stopping`` or ``dead``.
    """

    log = Logger()
    running = True

    def __init__(self, network: Network, name: str, address: str) -> None:
        self.network, self.kernel = network, network.kernel
        self.name, self.address = name, address
        self.state = "running"
        #: What its clock is ahead of the true one.
        self.offset = 0.0
        self.ends: dict[End, None] = {}
        self.open_ports: list[ListeningPort] = []
        #: Called when a thread begins with a job; returns the seconds that it takes.
        self.job_length: Any = lambda job: 0.001
        #: Called by `stop`.
        self.on_stop: Any = lambda: None
        self._stopping = False
        self._timed: list[tuple[float, float, int, DelayedCall]] = []
        self._calls: dict[DelayedCall, None] = {}
        self._from_threads: list[tuple[Any, Any, Any]] = []
        self._numbers = count()
        self._turn_at: tuple[float, Event] | None = None
        self._second = (0, 0)  # the second, and the turns in it

    # -- life

    def wake(self, when: float | None = None) -> None:
        """Have a turn soon, or at a time."""
        if self.state not in ("running",):
            return
        when = self.kernel.now + TURN if when is None else max(when, self.kernel.now + TURN)
        if self._turn_at is not None:
            if self._turn_at[0] <= when:
                return
            self._turn_at[1].cancel()
        self._turn_at = when, self.kernel.at(when, self._turn)

    def suspend(self) -> None:
        """Stop it as SIGSTOP does: its kernel goes on, nothing of it runs."""
        if self.state == "running":
            self.state = "suspended"

    def resume(self) -> None:
        """Let it go on."""
        if self.state == "suspended":
            self.state = "running"
            self._turn_at = None
            self.wake()

    def jump(self, seconds: float) -> None:
        """Set its clock."""
        self.offset += seconds
        self.wake()

    def die(self) -> None:
        """End it as ``kill -9`` does."""
        if self.state == "dead":
            return
        self.state = "dead"
        for port in list(self.open_ports):
            port.close()
        for end in list(self.ends):
            end.process_died()
        self.ends.clear()
        self._calls.clear()
        self._timed.clear()

    def leftovers(self) -> list[str]:
        """What is still in its reactor."""
        calls = [str(call) for call in self._calls]
        ends = [f"connection {end.here} - {end.there}" for end in self.ends]
        return [*calls, *ends, *(f"port {port.address}" for port in self.open_ports)]

    @property
    def load(self) -> tuple[int, int, int]:
        """Timed calls, connections, and bytes that wait to be sent or read."""
        waiting = sum(len(end.outgoing) + len(end.arrived) for end in self.ends)
        return len(self._calls), len(self.ends), waiting

    def from_kernel(self, function: Any, *args: Any) -> None:
        """Call a function in the next turn, among what is readable."""
        self._from_threads.append((function, args, {}))
        self.wake()

    # -- a turn

    def _turn(self) -> None:
        self._turn_at = None
        if self.state != "running":
            return
        self._count_turn()
        calls, self._from_threads = self._from_threads, []
        for function, args, named in calls:
            self._call(function, args, named)
        self._run_timed()
        self._read_and_write()
        self._plan_turn()

    def _count_turn(self) -> None:
        second = int(self.kernel.now)
        if self._second[0] != second:
            self._second = second, 0
        self._second = second, self._second[1] + 1
        if self._second[1] > 20_000:
            self.log.critical("{name} spins: 20000 turns in a second", name=self.name)
            self.kernel.stopped = True

    def _call(self, function: Any, args: Any, named: Any) -> None:
        try:
            function(*args, **named)
        except Exception:  # noqa: BLE001 - as a reactor does
            self.log.failure("a call failed")

    def _run_timed(self) -> None:
        due, now = [], self.seconds()
        while self._timed and self._timed[0][0] <= now:
            call = heappop(self._timed)[3]
            if not call.cancelled and not call.called and call in self._calls:
                if call.delayed_time > 0:
                    call.activate_delay()
                    self._push(call)
                else:
                    due.append(call)
        for call in due:
            if call.active() and call in self._calls and self.state == "running":
                if call.delayed_time > 0 or call.getTime() > now:
                    call.activate_delay()
                    self._push(call)
                    continue
                del self._calls[call]
                call.called = 1
                self._call(call.func, call.args, call.kw)

    def _read_and_write(self) -> None:
        noise = self.kernel.choices.noise("portion", self.kernel.now)
        doing = [end for end in self.ends if end.readable or end.writable]
        self.kernel.choices.noise("order", self.kernel.now).shuffle(doing)
        for end in doing:
            if end.readable and self.state == "running":
                end.do_read(noise.portion(min(READ, len(end.arrived)) or 1))
            if end.writable and self.state == "running":
                end.do_write(noise.portion(min(len(end.outgoing), BUFFER * 2) or 1))
        for port in list(self.open_ports):
            if port.reading and port.backlog and self.state == "running":
                port.doRead()

    def _plan_turn(self) -> None:
        busy = self._from_threads or any(end.readable or end.writable for end in self.ends)
        if busy or any(port.backlog and port.reading for port in self.open_ports):
            self.wake(self.kernel.now + self._busy())
        elif self._timed:
            self.wake(self._timed[0][0] - self.offset)

    def _busy(self) -> float:
        """Seconds until the next turn: rarely many, as when garbage is collected."""
        noise = self.kernel.choices.noise("busy", self.kernel.now)
        return noise.delay(0.0, 0.05) if noise.chance(0.02) else TURN

    # -- IReactorTime

    def seconds(self) -> float:
        """What its clock says."""
        return self.kernel.now + self.offset

    def callLater(self, delay: float, callable: Any, *args: Any, **kw: Any) -> DelayedCall:  # noqa: N802
        """Call later."""
        assert delay >= 0, f"{delay} is not greater than or equal to 0 seconds"
        call = DelayedCall(
            self.seconds() + delay, callable, args, kw, self._cancelled, self._push, self.seconds
        )
        self._calls[call] = None
        self._push(call)
        return call

    def _cancelled(self, call: DelayedCall) -> None:
        self._calls.pop(call, None)

    def _push(self, call: DelayedCall) -> None:
        tie = self.kernel.choices.noise("order", self.kernel.now).tie()
        heappush(self._timed, (call.time, tie, next(self._numbers), call))
        self.wake(call.time - self.offset)

    def getDelayedCalls(self) -> list[DelayedCall]:  # noqa: N802
        """What is due later."""
        return list(self._calls)

    # -- what services use of IReactorCore, and IReactorFromThreads

    def callFromThread(self, callable: Any, *args: Any, **kw: Any) -> None:  # noqa: N802
        """Call in the next turn, in this order."""
        self._from_threads.append((callable, args, kw))
        self.wake()

    def callWhenRunning(self, callable: Any, *args: Any, **kw: Any) -> None:  # noqa: N802
        """It runs."""
        callable(*args, **kw)

    def addSystemEventTrigger(self, *args: Any, **named: Any) -> None:  # noqa: N802
        """The service ends by itself here."""

    def stop(self) -> None:
        """End in good order."""
        if self._stopping:
            raise ReactorNotRunning
        self._stopping = True
        self.on_stop()

    # -- IReactorPluggableNameResolver

    @property
    def nameResolver(self) -> Machine:  # noqa: N802
        """It is all one."""
        return self

    def installNameResolver(self, resolver: Any) -> Any:  # noqa: N802
        """Of no use here."""
        raise NotImplementedError

    def resolveHostName(  # noqa: N802
        self,
        receiver: Any,
        hostName: str,  # noqa: N803
        portNumber: int = 0,  # noqa: N803
        *rest: Any,
        **more: Any,
    ) -> Any:
        """Answer after a moment, in any order; an unknown name has no address."""
        network = self.network
        receiver.resolutionBegan(None)

        def answer() -> None:
            found = (
                [] if hostName in network.unknown_names else list(network.names.get(hostName, ()))
            )
            if isIPAddress(hostName):
                found = [hostName]
            self.kernel.choices.noise("names", self.kernel.now).shuffle(found)
            for one in found:
                receiver.addressResolved(IPv4Address("TCP", one, portNumber))
            receiver.resolutionComplete()

        self.kernel.after(
            network.latency(self.address) + network.slow_names, self.from_kernel, answer
        )
        return receiver

    # -- IReactorTCP

    def connectTCP(  # noqa: N802
        self,
        host: str,
        port: int,
        factory: Any,
        timeout: float = 30,
        bindAddress: Any = None,  # noqa: N803
    ) -> Connector:
        """Connect."""
        connector = Connector(self, (host, port), factory, timeout)
        connector.connect()
        return connector

    def listenTCP(  # noqa: N802
        self, port: int, factory: Any, backlog: int = 50, interface: str = ""
    ) -> ListeningPort:
        """Listen."""
        opened = ListeningPort(self, (interface or self.address, port), factory)
        opened.startListening()
        return opened
