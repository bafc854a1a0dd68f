"""Machines: each is a process with a reactor, a clock and connections of its own.

A turn is as in Twisted's reactors: calls from threads, then timed calls that were due before the
turn, then what is readable and writable.  What is due together is called in any order.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from typing import Any

from twisted.internet.abstract import isIPAddress
from twisted.internet.address import IPv4Address
from twisted.internet.base import DelayedCall
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import (
    IReactorFromThreads,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
)
from twisted.logger import Logger
from zope.interface import implementer

from tests.fake_reactor import OwnNameResolver
from tests.simulation.kernel import Event
from tests.simulation.network import BUFFER, End, Network
from tests.simulation.ports import Connector, ListeningPort

#: Bytes that a transport reads at once (tcp.py).
READ = 2**16
#: Seconds that a turn takes at least.
TURN = 1e-6


@implementer(IReactorTime, IReactorTCP, IReactorFromThreads, IReactorPluggableNameResolver)
class Machine(OwnNameResolver):
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
