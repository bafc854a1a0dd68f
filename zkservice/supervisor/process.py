"""The parent's view of one worker: the process, its channel, its phases."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from zkservice.deferreds import Alarm
from zkservice.supervisor.channel import Channel
from zkservice.supervisor.connections import ConnectionSender
from zkservice.supervisor.messages import (
    VERSION,
    Beat,
    Closed,
    Drain,
    Failed,
    Hello,
    LogLine,
    Message,
    Reopen,
    Serve,
    Serving,
)
from zkservice.supervisor.stack_output import StackOutput
from zkservice.supervisor.watchdog import Watchdog

__all__ = [
    "CONNECTIONS",
    "CONTROL",
    "STACKS",
    "Command",
    "WorkerEvents",
    "WorkerPhase",
    "WorkerProcess",
]

# The descriptors that a worker is started with, beside the standard ones.
CONTROL: Final = 3  #: the channel
CONNECTIONS: Final = 4  #: the socket through which connections are passed
STACKS: Final = 5  #: where faulthandler writes
#: Makes faulthandler write the stacks of all threads; see `WorkerSide.attach`.
STACKS_SIGNAL: Final = signal.SIGUSR1
#: Seconds without a beat after which others get the connections.
_LATE: Final = 3.0
#: Seconds for a stuck worker to write its stacks before it is killed.
_STACKS_TIME: Final = 1.0
#: Seconds to wait for the last stacks after the process has ended.
_LAST_OUTPUT: Final = 0.2
#: Seconds for a worker to end after it has closed its channel.
_END_TIME: Final = 10.0
#: Characters of the reason why it cannot serve.
_MAX_REASON: Final = 1000


class WorkerPhase(Enum):
    """The phases of a worker's life, in order."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    GONE = "gone"


@dataclass(frozen=True)
class Command:
    """How to start a worker.

    Attributes:
        arguments: the program and its arguments.
        environment: the process's environment.
        settings: sent to the worker in `Serve`; values that JSON can express.
    """

    arguments: Sequence[str]
    environment: Mapping[str, str]
    settings: Mapping[str, Any]


class WorkerEvents:
    """Receives what happens to workers; the base class ignores it."""

    def serving(self, worker: WorkerProcess) -> None:
        """The worker takes connections."""

    def gone(self, worker: WorkerProcess) -> None:
        """The process has ended; ``worker.reason`` says how."""

    def beat(self, worker: WorkerProcess) -> None:
        """The worker has sent its figures."""

    def logged(self, worker: WorkerProcess, line: LogLine) -> None:
        """The worker has sent an entry for the log."""

    def check(self, figures: dict[str, Any]) -> None:
        """Check the figures that a worker has sent.

        Raises:
            MessageError: the figures are invalid.
        """

    def handle_request(self, worker: WorkerProcess, what: str, arguments: list[Any]) -> Any:
        """Return the reply to the worker's request, or a Deferred for it."""
        raise LookupError(f"unknown request {what}")


class WorkerProcess:
    """A worker process, and the parent's end of its channel and its socket for connections.

    Args:
        name: the name in the log: ``worker 1``.
        reactor: spawns the process.
        events: receives what happens to the worker.
        timeout: seconds without a beat after which the worker is killed; 0: never.
    """

    _log = Logger()

    def __init__(self, name: str, reactor: Any, events: WorkerEvents, timeout: float) -> None:
        self.name = name
        self.phase = WorkerPhase.STARTING
        self.reason = ""  #: why it has ended, or could not start
        self.connections = 0  #: that were passed to it and are still open
        self.figures = Beat(requests=0, in_service=0, rss=0)
        self.has_served = False
        self.since: float = reactor.seconds()
        self.last_heard = self.since  #: the time of its last beat, or of its start
        self._reactor = reactor
        self._events = events
        self._watchdog = Watchdog(reactor, timeout, self._no_heartbeat)
        # For the start, then for the drain, then for the end of the process.
        self._deadline = Alarm(reactor, self._deadline_passed)
        self._channel: Channel | None = None
        self._sender: ConnectionSender | None = None
        self._process = _WorkerProtocol(self, reactor)

    def __repr__(self) -> str:
        return f"<{self.name} {self.phase.value}>"

    @property
    def pid(self) -> int | None:
        """The process id; None if there is no process."""
        return None if self._process.process is None else self._process.process.pid

    @property
    def late(self) -> bool:
        """Whether its last beat is overdue, so that it may be stuck."""
        return bool(self._reactor.seconds() - self.last_heard > _LATE)

    # -- for the pool --

    def start(self, command: Command, timeout: float) -> None:
        """Start the process; it is killed unless it serves within the time-out.

        Raises:
            OSError: the process cannot be started.
        """
        self._deadline.set(timeout)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        sending, receiving = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with contextlib.closing(theirs), contextlib.closing(receiving):
            self._sender = ConnectionSender(sending)
            self._channel = Channel(self, self._handle_request, self._reactor)
            self._channel.adopt(self._reactor, ours)
            self._channel.send(Serve(self.name, dict(command.settings)))
            self._reactor.spawnProcess(
                self._process,
                command.arguments[0],
                list(command.arguments),
                env=dict(command.environment),
                childFDs={
                    **{0: "w", 1: 1, 2: 2},
                    **{CONTROL: theirs.fileno(), CONNECTIONS: receiving.fileno(), STACKS: "r"},
                },
            )

    def take(self, port: int, connection: socket.socket) -> bool:
        """Pass a connection to the worker; return False if the worker has no room for it."""
        if self.phase is not WorkerPhase.SERVING or self._sender is None:
            return False
        if not self._sender.send(port, connection):
            return False
        self.connections += 1
        return True

    def ask(self, what: str, *arguments: Any, timeout: float) -> Any:
        """Send a request to the worker; the Deferred may fail with `WorkerUnreachableError`."""
        assert self._channel is not None
        return self._channel.ask(what, *arguments, timeout=timeout)

    def stacks(self) -> Deferred[str]:
        """The stacks of its threads, even while its reactor does not turn; "" if there are none.

        The worker goes on meanwhile.
        """
        if self.phase is WorkerPhase.GONE or not self._catches(STACKS_SIGNAL):
            return succeed("")
        return self._process.output.read(lambda: self._signal(STACKS_SIGNAL))

    def _catches(self, number: int) -> bool:
        """Whether the signal has a handler: an application may have removed it, and would end."""
        try:
            with open(f"/proc/{self.pid}/status", encoding="ascii", errors="replace") as file:
                lines = dict(line.partition(":")[::2] for line in file)
            return bool(int(lines["SigCgt"], 16) & (1 << (number - 1)))
        except (OSError, LookupError, ValueError):
            return sys.platform != "linux"

    def reopen(self) -> None:
        """Have the worker open its log files again."""
        if self._channel is not None:
            self._channel.send(Reopen())

    def drain(self, timeout: float, grace: float) -> None:
        """Have the worker finish its requests and end.

        Args:
            timeout: seconds for the requests.
            grace: seconds after the time-out until the process is killed.
        """
        if self.phase not in (WorkerPhase.STARTING, WorkerPhase.SERVING):
            return
        if self.phase is WorkerPhase.STARTING:
            self.kill("not needed any more")
            return
        self.phase = WorkerPhase.DRAINING
        self._deadline.set(timeout + grace)
        assert self._channel is not None
        self._channel.send(Drain(timeout))
        if self._sender is not None:  # the worker still takes over what was passed before
            self._sender.close()

    def kill(self, reason: str) -> None:
        """End the process at once."""
        self.reason = self.reason or reason
        self._watchdog.stop()
        self._deadline.cancel()
        self._signal(signal.SIGKILL)

    def fail(self, reason: str) -> None:
        """Handle that the process could not be started, as if it had ended."""
        self.reason = reason
        self._ended()

    # -- events of the channel --

    def message_received(self, message: Message) -> None:
        """Handle a message of the worker."""
        if isinstance(message, Beat):
            self._events.check(message.figures)
            self.figures = message
            self.last_heard = self._reactor.seconds()
            self._watchdog.heard()
            self._events.beat(self)
        elif isinstance(message, Closed):
            self.connections = max(0, self.connections - message.count)
        elif isinstance(message, LogLine):
            self._events.logged(self, message)
        elif isinstance(message, Serving):
            if self.phase is WorkerPhase.STARTING:
                self.phase, self.has_served = WorkerPhase.SERVING, True
                self._deadline.cancel()
                self._watchdog.heard()
                self._events.serving(self)
        elif isinstance(message, Failed):
            self.reason = " ".join(message.reason[:_MAX_REASON].split())
        elif isinstance(message, Hello) and message.version != VERSION:
            self.kill(f"it sends version {message.version} of the messages, not {VERSION}")

    def channel_misused(self, reason: str) -> None:
        """Kill the worker: it is broken or hostile, and could harm the others."""
        if self.phase is not WorkerPhase.GONE:
            self.kill(f"it has misused its channel: {reason}")

    def channel_lost(self) -> None:
        """Give the worker a few seconds to end: it closes its channel when it ends."""
        self._watchdog.stop()
        if self._sender is not None:
            self._sender.close()  # a connection that is passed now might not be served
            self._sender = None
        if self.phase is not WorkerPhase.GONE:
            self._deadline.set_no_later(_END_TIME)

    def _handle_request(self, what: str, arguments: list[Any]) -> Any:
        return self._events.handle_request(self, what, arguments)

    # -- the end of the process --

    def _no_heartbeat(self) -> None:
        self._kill_with_stacks(f"its reactor has not turned for {self._watchdog.timeout:g} s")

    def _kill_with_stacks(self, reason: str) -> None:
        """Have a worker that does not go on write its stacks, then kill it."""
        self.reason = self.reason or reason
        self._log.error(
            "{name} (process {pid}): {reason}; killing it",
            name=self.name,
            pid=self.pid,
            reason=self.reason,
        )
        self._signal(STACKS_SIGNAL)
        self._deadline.set(_STACKS_TIME)

    def ended(self, failure: Failure, stacks: str) -> None:
        """Handle the end of the process; ``stacks`` is what faulthandler has written."""
        if self.phase is not WorkerPhase.GONE:
            self.reason = self.reason or _exit_reason(failure, self.phase)
            if stacks:
                self._log.error(
                    "{name}: the stacks of its threads\n{stack}", name=self.name, stack=stacks
                )
            self._ended()

    def _deadline_passed(self) -> None:
        if self.phase is WorkerPhase.STARTING and not self.reason:
            self._kill_with_stacks("it did not serve in time")
        else:
            self.kill("it did not end in time")

    def _ended(self) -> None:
        self._watchdog.stop()
        self._deadline.cancel()
        self.phase = WorkerPhase.GONE
        if self._sender is not None:
            self._sender.close()
        if self._channel is not None:
            # A program that the application has started may still hold the channel's other end.
            self._channel.abort()
        self.connections = 0
        self._events.gone(self)

    def _signal(self, number: int) -> None:
        if self._process.process is not None:
            with contextlib.suppress(ProcessExitedAlready):
                self._process.process.signalProcess(number)


class _WorkerProtocol(ProcessProtocol):
    """Reports the end and the output of a process to its `WorkerProcess`."""

    def __init__(self, worker: WorkerProcess, clock: IReactorTime) -> None:
        self._worker = worker
        self.output = StackOutput(clock)
        # A program that the application has started may hold the pipe open for ever.
        self._last_output = Alarm(clock, self._close_stacks)

    @property
    def process(self) -> IProcessTransport | None:
        """The process, once it was started."""
        transport: IProcessTransport | None = self.transport
        return transport

    @override
    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.closeStdin()

    @override
    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self.output.received(data)
        if self.output.full:
            self._close_stacks()

    def _close_stacks(self) -> None:
        transport: Any = self.transport
        transport.closeChildFD(STACKS)

    @override
    def processExited(self, reason: Failure) -> None:
        self._last_output.set(_LAST_OUTPUT)

    @override
    def processEnded(self, reason: Failure) -> None:
        self._last_output.cancel()
        self.output.close()
        self._worker.ended(reason, self.output.take())


def _exit_reason(failure: Failure, phase: WorkerPhase) -> str:
    """How a process has ended, for the log."""
    number = getattr(failure.value, "signal", None)
    code = getattr(failure.value, "exitCode", None)
    if number:
        return f"killed by {signal.Signals(number).name}"
    if code:
        return f"exit code {code}"
    return "drained" if phase is WorkerPhase.DRAINING else "exited by itself"
