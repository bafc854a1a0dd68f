"""The worker's side: its channel, its heartbeats, and its end, even if the parent dies first."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.task import LoopingCall
from twisted.logger import LogEvent, Logger, formatEvent

from zkservice.errors import AddressError, ConfigurationError, InvalidPathError
from zkservice.supervisor.channel import MAX_OFFERED, Channel
from zkservice.supervisor.connections import ConnectionReceiver
from zkservice.supervisor.log_fields import event_fields
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
from zkservice.supervisor.process import CONNECTIONS, CONTROL, STACKS, STACKS_SIGNAL
from zkservice.supervisor.rate import Rate
from zkservice.supervisor.recycling import resident_bytes

__all__ = ["WorkerApplication", "WorkerSide"]

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
#: Seconds to finish requests after the parent has gone.
_ORPHAN_DRAIN: Final = 5.0
#: Errors that say in one line what the user has to correct.
_USER_ERRORS: Final = (ConfigurationError, AddressError, InvalidPathError)
#: Seconds between two beats.
_BEAT_INTERVAL: Final = 1.0
#: Seconds for which closed connections are counted before one message reports them.
_REPORT_DELAY: Final = 0.01
#: Characters of a log entry that are sent to the parent.
_MAX_LOG_LINE: Final = 1 << 16


class WorkerApplication(Protocol):
    """What a worker runs; the service provides it."""

    @property
    def factories(self) -> Sequence[IProtocolFactory]:
        """The factories that serve the connections of each port, by the port's number."""
        ...

    def figures(self) -> tuple[int, int, dict[str, Any]]:
        """Requests since the start, requests in service now, and the service's other counters."""
        ...

    def answer(self, what: str, arguments: list[Any]) -> Any:
        """Return the reply to a request of the parent, or a Deferred for it."""
        ...

    def reopen(self) -> None:
        """Open log files again."""
        ...

    def drain(self, timeout: float) -> Any:
        """Finish running requests; returns a Deferred that fires when they are done."""
        ...


class WorkerSide:
    """A worker's half of everything between it and its parent.

    Args:
        reactor: the process's reactor.
        make: returns what to serve, from the name and the settings in the parent's `Serve`.  An
            error that it raises ends the worker and is shown to the operator.
        leave: ends the process with an exit code.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        make: Callable[[str, dict[str, Any], WorkerSide], WorkerApplication],
        leave: Callable[[int], object],
    ) -> None:
        self._reactor = reactor
        self._make = make
        self._leave = leave
        self._channel = Channel(self, self._answer, reactor)
        self._application: WorkerApplication | None = None
        self._receiver: ConnectionReceiver | None = None
        self._beats = LoopingCall(self._beat)
        self._beats.clock = reactor
        self._closed = 0  # closed connections that were not reported yet
        self._ending = False
        self._log_rate = Rate(reactor, MAX_OFFERED)
        self._dropped = 0  # log entries that were not sent

    def attach(self) -> None:
        """Take over the descriptors that the parent has passed, and send `Hello`.

        Call this before the application is loaded: the stacks of a worker that hangs while
        loading can be shown only after it.
        """
        for descriptor in (CONTROL, CONNECTIONS, STACKS):
            # Programs that the application starts must not inherit them: they would keep the
            # channel open after this process has ended.
            os.set_inheritable(descriptor, False)
        faulthandler.enable(STACKS)
        faulthandler.register(STACKS_SIGNAL, file=STACKS, all_threads=True)
        _end_with_parent()
        self._channel.adopt(self._reactor, socket.socket(fileno=CONTROL))
        self._channel.send(Hello(os.getpid()))

    def ask(self, what: str, *arguments: Any, timeout: float) -> Any:
        """Send a request to the parent; the Deferred may fail with `WorkerUnreachableError`."""
        return self._channel.ask(what, *arguments, timeout=timeout)

    def observe(self, event: LogEvent) -> None:
        """Send a log event to the parent, which writes the service's only log.

        While the parent does not read, and above a rate, entries are dropped and counted.
        """
        text, stack = formatEvent(event), ""
        failure = event.get("log_failure")
        if failure is not None:
            stack = failure.getTraceback()
        elif "stack" in event:
            text, _, stack = text.partition("\n")
        if text or stack:
            level = event.get("log_level")
            self._send_log_line(
                LogLine(
                    level=getattr(level, "name", "info"),
                    namespace=str(event.get("log_namespace", "worker")),
                    text=text[:_MAX_LOG_LINE],
                    stack=stack[:_MAX_LOG_LINE],
                    fields=event_fields(event),
                )
            )

    def _send_log_line(self, line: LogLine) -> None:
        if not self._channel.offer(line, self._log_rate):
            self._dropped += 1
        elif self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._log.warn("{dropped} log entries were dropped", dropped=dropped)

    # -- messages of the parent --

    def message_received(self, message: Message) -> None:
        """Handle a message of the parent."""
        if isinstance(message, Serve):
            self._serve(message)
        elif isinstance(message, Drain):
            self.drain(message.timeout)
        elif isinstance(message, Reopen) and self._application is not None:
            self._application.reopen()

    def channel_misused(self, reason: str) -> None:
        """Log the reason; the parent may be of another release.  The channel is closed."""
        self._log.error("the parent's message is invalid: {reason}", reason=reason)

    def channel_lost(self) -> None:
        """Drain: the parent has gone, so no more connections come."""
        self.drain(_ORPHAN_DRAIN)

    def _answer(self, what: str, arguments: list[Any]) -> Any:
        if self._application is None:
            raise LookupError("nothing is served yet")
        return self._application.answer(what, arguments)

    # -- starting, draining and ending --

    def _serve(self, message: Serve) -> None:
        if message.version != VERSION:
            self._fail(f"the parent sends version {message.version} of the messages, not {VERSION}")
            return
        try:
            self._application = self._make(message.name, message.settings, self)
        except _USER_ERRORS as error:
            self._fail(str(error))
            return
        except BaseException as error:  # noqa: BLE001 - an application may raise anything
            self._log.failure("the worker cannot serve")
            self._fail(str(error) or type(error).__name__)
            return
        end = socket.socket(fileno=CONNECTIONS)
        self._receiver = ConnectionReceiver(
            self._reactor, end, self._application.factories, self._connection_closed
        )
        self._receiver.start()
        self._beats.start(_BEAT_INTERVAL)
        self._channel.send(Serving())

    def _fail(self, reason: str) -> None:
        self._channel.send(Failed(" ".join(reason.split())))
        self._end(1)

    def drain(self, timeout: float) -> None:
        """Take no more connections, finish running requests, and end."""
        if self._ending:
            return
        self._ending = True
        if self._receiver is not None:
            self._receiver.stop()
        if self._application is None:
            self._end(0)
            return
        drained = self._application.drain(timeout)
        drained.addErrback(lambda failure: self._log.failure("draining failed", failure))
        drained.addBoth(lambda _: self._end(0))

    def _end(self, code: int) -> None:
        self._ending = True
        if self._beats.running:
            self._beats.stop()
            self._beat()  # the last counters: the parent adds them to those of ended workers
        self._leave(code)

    # -- messages to the parent --

    def _beat(self) -> None:
        assert self._application is not None
        requests, in_service, figures = self._application.figures()
        self._channel.send(Beat(requests, in_service, resident_bytes(), figures))

    def _connection_closed(self) -> None:
        self._closed += 1
        if self._closed == 1:
            self._reactor.callLater(_REPORT_DELAY, self._report_closed)

    def _report_closed(self) -> None:
        closed, self._closed = self._closed, 0
        self._channel.send(Closed(closed))


def _end_with_parent() -> None:
    """Have the kernel send SIGTERM when the parent dies, in case the channel's end is missed.

    Only Linux can do this; elsewhere the worker relies on the end of the channel.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
