"""The worker's side: its channel, its beats, its end, whatever becomes of the parent."""

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
from zkservice.supervisor.channel import MOST_OFFERED, Channel
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

__all__ = ["Served", "WorkerSide"]

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
#: Seconds for the requests that run when the parent has gone.
_ORPHAN_DRAIN: Final = 5.0
#: Errors that say in one line what the user has to correct.
_USER_ERRORS: Final = (ConfigurationError, AddressError, InvalidPathError)
#: Seconds between two beats.
_BEAT: Final = 1.0
#: Seconds in which connections that have gone are told of together.
_TOGETHER: Final = 0.01
#: Characters of a log entry that is passed on.
_MAX_LOG_LINE: Final = 1 << 16


class Served(Protocol):
    """What a worker runs, as the service makes it."""

    @property
    def factories(self) -> Sequence[IProtocolFactory]:
        """What serves the connections of each port, by its number."""
        ...

    def figures(self) -> tuple[int, int, dict[str, Any]]:
        """Requests since the start, those in service now, and what else is counted."""
        ...

    def answer(self, what: str, arguments: list[Any]) -> Any:
        """Answer the parent's question; the value, or a Deferred of it."""
        ...

    def reopen(self) -> None:
        """Open log files again."""
        ...

    def drain(self, timeout: float) -> Any:
        """Finish what runs; a Deferred that fires when it is done."""
        ...


class WorkerSide:
    """A worker's half of everything between it and its parent.

    Args:
        reactor: the process's.
        make: makes what is to be served, of the parent's `Serve`; what it raises ends the
            worker, and is shown to the operator.
        leave: ends the process with an exit code.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        make: Callable[[str, dict[str, Any], WorkerSide], Served],
        leave: Callable[[int], object],
    ) -> None:
        self._reactor = reactor
        self._make = make
        self._leave = leave
        self._channel = Channel(self, self._answer, reactor)
        self._served: Served | None = None
        self._receiver: ConnectionReceiver | None = None
        self._beats = LoopingCall(self._beat)
        self._beats.clock = reactor
        self._closed = 0  # connections that the parent has not been told of
        self._ending = False
        self._entries = Rate(reactor, MOST_OFFERED)
        self._dropped = 0  # log entries that were not sent

    def attach(self) -> None:
        """Take over the descriptors that the parent has left, and greet it.

        To be called first of all: a worker that hangs while it is loaded can then be seen into.
        """
        for descriptor in (CONTROL, CONNECTIONS, STACKS):
            # Programs that the application starts have no business with them.
            os.set_inheritable(descriptor, False)
        faulthandler.enable(STACKS)
        faulthandler.register(STACKS_SIGNAL, file=STACKS, all_threads=True)
        _end_with_parent()
        self._channel.adopt(self._reactor, socket.socket(fileno=CONTROL))
        self._channel.send(Hello(os.getpid()))

    def ask(self, what: str, *arguments: Any, timeout: float) -> Any:
        """Ask the parent something; a Deferred that fails with `WorkerUnreachableError`."""
        return self._channel.ask(what, *arguments, timeout=timeout)

    def observe(self, event: LogEvent) -> None:
        """A log observer: the service has one log, the parent's.

        While the parent does not read, and when there are too many in a second, entries are
        dropped and counted, not kept.
        """
        text, stack = formatEvent(event), ""
        failure = event.get("log_failure")
        if failure is not None:
            stack = failure.getTraceback()
        elif "stack" in event:
            text, _, stack = text.partition("\n")
        if text or stack:
            level = event.get("log_level")
            self._tell_log(
                LogLine(
                    level=getattr(level, "name", "info"),
                    namespace=str(event.get("log_namespace", "worker")),
                    text=text[:_MAX_LOG_LINE],
                    stack=stack[:_MAX_LOG_LINE],
                    fields=event_fields(event),
                )
            )

    def _tell_log(self, line: LogLine) -> None:
        if not self._channel.offer(line, self._entries):
            self._dropped += 1
        elif self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._log.warn("{dropped} log entries were dropped", dropped=dropped)

    # -- what the parent says --

    def message_received(self, message: Message) -> None:
        """The parent says something."""
        if isinstance(message, Serve):
            self._serve(message)
        elif isinstance(message, Drain):
            self.drain(message.timeout)
        elif isinstance(message, Reopen) and self._served is not None:
            self._served.reopen()

    def channel_misused(self, reason: str) -> None:
        """The parent is of a release that cannot be understood; the channel is closed."""
        self._log.error("the parent's message is invalid: {reason}", reason=reason)

    def channel_lost(self) -> None:
        """The parent has gone, so no more connections come: drain."""
        self.drain(_ORPHAN_DRAIN)

    def _answer(self, what: str, arguments: list[Any]) -> Any:
        if self._served is None:
            raise LookupError("nothing is served yet")
        return self._served.answer(what, arguments)

    # -- its life --

    def _serve(self, message: Serve) -> None:
        if message.version != VERSION:
            self._fail(f"the parent speaks version {message.version} of the messages")
            return
        try:
            self._served = self._make(message.name, message.settings, self)
        except _USER_ERRORS as error:
            self._fail(str(error))
            return
        except BaseException as error:  # noqa: BLE001 - an application may raise anything
            self._log.failure("the worker cannot serve")
            self._fail(str(error) or type(error).__name__)
            return
        end = socket.socket(fileno=CONNECTIONS)
        self._receiver = ConnectionReceiver(
            self._reactor, end, self._served.factories, self._connection_closed
        )
        self._receiver.start()
        self._beats.start(_BEAT)
        self._channel.send(Serving())

    def _fail(self, reason: str) -> None:
        self._channel.send(Failed(" ".join(reason.split())))
        self._end(1)

    def drain(self, timeout: float) -> None:
        """Take no more connections, finish what runs, and end."""
        if self._ending:
            return
        self._ending = True
        if self._receiver is not None:
            self._receiver.stop()
        if self._served is None:
            self._end(0)
            return
        drained = self._served.drain(timeout)
        drained.addErrback(lambda failure: self._log.failure("draining failed", failure))
        drained.addBoth(lambda _: self._end(0))

    def _end(self, code: int) -> None:
        self._ending = True
        if self._beats.running:
            self._beats.stop()
            self._beat()  # the counters stay in the sums
        self._leave(code)

    # -- what it tells --

    def _beat(self) -> None:
        assert self._served is not None
        requests, in_service, figures = self._served.figures()
        self._channel.send(Beat(requests, in_service, resident_bytes(), figures))

    def _connection_closed(self) -> None:
        self._closed += 1
        if self._closed == 1:
            self._reactor.callLater(_TOGETHER, self._tell_closed)

    def _tell_closed(self) -> None:
        closed, self._closed = self._closed, 0
        self._channel.send(Closed(closed))


def _end_with_parent() -> None:
    """Have the kernel send SIGTERM when the parent dies, should the channel's end be missed.

    Linux alone has it; elsewhere the end of the channel has to do.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
