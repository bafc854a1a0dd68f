"""Connections on their way from the parent, which accepts them, to the workers.

The parent owns the listening sockets, so connections that wait there survive the end of a worker.
It gives each connection to the worker that has the fewest.  That matters with keep-alive, where a
bad distribution lasts: processes that accept from a shared socket may spread 64 connections 64 to
0, see docs/processes.rst.

A connection is passed in one message of a SOCK_SEQPACKET pair.  Its ancillary data is the
descriptor (SCM_RIGHTS, unix(7)), its text the number of the port that accepted the connection.
"""

from __future__ import annotations

import array
import errno
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import closing
from struct import Struct
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IProtocolFactory, IReadDescriptor
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from zkservice.supervisor.rate import Rate

__all__ = ["Acceptor", "ConnectionReceiver", "ConnectionSender", "ConnectionTarget"]

_PORT: Final = Struct(">H")
#: Connections that are accepted in one turn of the reactor, so that other work has its turns.
_MAX_ACCEPTS_PER_TURN: Final = 64
#: Seconds until the next attempt, if no worker has room or there are no free descriptors.
_RETRY_DELAY: Final = 0.1
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class ConnectionTarget(Protocol):
    """A worker, as far as passing connections needs it."""

    @property
    def connections(self) -> int:
        """The number of connections that it has."""
        ...

    @property
    def late(self) -> bool:
        """Whether it may be stuck, so that others come first."""
        ...

    def take(self, port: int, connection: socket.socket) -> bool:
        """Take a connection that a port has accepted; return False if there is no room now."""
        ...


@implementer(IReadDescriptor)
class Acceptor:
    """Accepts from one listening socket, and gives each connection to the least loaded worker.

    While no worker takes connections, they wait in the kernel's queue.

    Args:
        reactor: reports when there are connections.
        port: the number of the port; a worker chooses its factory by it.
        listening: the listening socket; `stop` closes it.
        targets: returns the workers that take connections now.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        port: int,
        listening: socket.socket,
        targets: Callable[[], Sequence[ConnectionTarget]],
    ) -> None:
        self._reactor = reactor
        self._port = port
        self._listening = listening
        self._targets = targets
        self._log_rate = Rate(reactor, 1)
        self._reading = False
        self._retry_call: IDelayedCall | None = None
        self._undelivered: socket.socket | None = None  # accepted when no worker had room for it
        self.accepted = 0  #: connections since the start
        # accept must not block: the flag is the open file's, and may have been changed by a
        # process that shares it, such as systemd.
        listening.setblocking(False)

    def start(self) -> None:
        """Start to accept if there are workers; call it again when that changes."""
        if self._undelivered is not None and not self._deliver(self._undelivered):
            self._retry_later()
            return
        self._undelivered = None
        if not self._reading and self._targets() and self._listening.fileno() >= 0:
            self._reading = True
            self._reactor.addReader(self)

    def pause(self) -> None:
        """Stop accepting for now; connections wait in the kernel."""
        if self._reading:
            self._reading = False
            self._reactor.removeReader(self)

    def finish(self) -> None:
        """Accept the connections that wait now, then stop for good.

        The kernel has completed these connections; closing the socket would reset them.
        """
        before = -1  # each doRead accepts only some of them
        while self._reading and self.accepted != before:
            before = self.accepted
            self.doRead()
        self.stop()

    def stop(self) -> None:
        """Stop accepting for good, and close the socket."""
        self.pause()
        if self._retry_call is not None and self._retry_call.active():
            self._retry_call.cancel()
        if self._undelivered is not None:
            self._undelivered.close()
            self._undelivered = None
        self._listening.close()

    # -- what the reactor calls --

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._listening.fileno()

    def doRead(self) -> None:  # noqa: N802 - IReadDescriptor's name
        """Accept connections, and give them to workers."""
        for _ in range(_MAX_ACCEPTS_PER_TURN):
            try:
                connection, _address = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return
            except OSError as error:
                self._failed(error)
                return
            self.accepted += 1
            if not self._deliver(connection):
                self._undelivered = connection
                self.pause()
                self._retry_later()
                return

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """Close the socket before the reactor ends."""

    def logPrefix(self) -> str:  # noqa: N802
        """For the log."""
        return "Acceptor"

    # -- passing on --

    def _deliver(self, connection: socket.socket) -> bool:
        """Give a connection to the worker that has the fewest and has room."""
        targets = self._targets()
        # Workers with equally many connections take turns: the list is rotated, the sort stable.
        first = self.accepted % max(1, len(targets))
        turns = [*targets[first:], *targets[:first]]
        for target in sorted(turns, key=lambda each: (each.late, each.connections)):
            if target.take(self._port, connection):
                connection.close()  # the worker has a descriptor of its own
                return True
        return False

    def _failed(self, error: OSError) -> None:
        if error.errno not in _EXHAUSTED:
            self._log.error(
                "cannot accept connections: {error}; trying again in {delay} s",
                error=error,
                delay=_RETRY_DELAY,
            )
        elif self._log_rate.spend(1):
            self._log.warn(
                "cannot accept connections: {error}; trying again in {delay} s",
                error=os.strerror(error.errno or 0),
                delay=_RETRY_DELAY,
            )
        self.pause()
        self._retry_later()

    def _retry_later(self) -> None:
        if self._retry_call is None or not self._retry_call.active():
            self._retry_call = self._reactor.callLater(_RETRY_DELAY, self.start)


class ConnectionSender:
    """The parent's end: passes descriptors to one worker.

    Args:
        end: a SOCK_SEQPACKET socket; closed by `close`.
    """

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end

    def send(self, port: int, connection: socket.socket) -> bool:
        """Pass a connection; False if the worker has not taken enough of those before it."""
        descriptors = array.array("i", [connection.fileno()])
        try:
            self._end.sendmsg(
                [_PORT.pack(port)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)]
            )
        except OSError:  # no room, or the worker has gone, which its process protocol reports
            return False
        return True

    def close(self) -> None:
        """Pass no more."""
        self._end.close()


@implementer(IReadDescriptor)
class ConnectionReceiver:
    """The worker's end: takes connections over, and serves them.

    Args:
        reactor: adopts the connections.
        end: a SOCK_SEQPACKET socket; closed by `stop`.
        factories: the factories that serve the connections of each port, by the port's number.
        closed: called when a connection that was taken over is closed.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        end: socket.socket,
        factories: Sequence[IProtocolFactory],
        closed: Callable[[], object],
    ) -> None:
        end.setblocking(False)
        self._reactor = reactor
        self._end = end
        self._factories = [_CountingFactory(factory, closed) for factory in factories]
        self._closed = closed
        self._log_rate = Rate(reactor, 1)
        self._reading = False
        self._retry_call: IDelayedCall | None = None

    def start(self) -> None:
        """Take connections over."""
        if self._end.fileno() >= 0 and not self._reading:
            self._reading = True
            self._reactor.addReader(self)

    def stop(self) -> None:
        """Take over the connections that were passed before, then no more."""
        if self._end.fileno() >= 0:
            self.doRead()
        self._stop_reading()
        if self._retry_call is not None and self._retry_call.active():
            self._retry_call.cancel()
        self._end.close()

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._reactor.removeReader(self)

    # -- what the reactor calls --

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._end.fileno()

    def doRead(self) -> None:  # noqa: N802
        """Take over connections that the parent has passed."""
        while self._has_room() and self._take_one():
            pass

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """Do nothing: the channel reports that the parent has gone."""

    def logPrefix(self) -> str:  # noqa: N802
        """For the log."""
        return "ConnectionReceiver"

    # -- taking over --

    def _has_room(self) -> bool:
        """Whether the process can open more files.

        The kernel closes a connection for which there is no free descriptor (MSG_CTRUNC, unix(7)).
        A connection needs two for a moment, so two are opened first to see whether that works.
        """
        try:
            with closing(self._end.dup()), closing(self._end.dup()):
                return True
        except OSError as error:
            if self._log_rate.spend(1):
                self._log.warn(
                    "cannot take connections over: {error}; trying again in {delay} s",
                    error=os.strerror(error.errno or 0),
                    delay=_RETRY_DELAY,
                )
            self._stop_reading()
            self._retry_call = self._reactor.callLater(_RETRY_DELAY, self.start)
            return False

    def _take_one(self) -> bool:
        try:
            data, ancillary, _flags, _address = self._end.recvmsg(
                _PORT.size, socket.CMSG_SPACE(array.array("i").itemsize)
            )
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data = b""
        if not data:  # the parent has gone
            self._stop_reading()
            return False
        if not ancillary:  # another thread has opened a file since there was room
            self._log.error("a connection was lost: no more files can be opened")
            self._closed()
            return True
        (port,) = _PORT.unpack(data)
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors = array.array("i")
                descriptors.frombytes(content)
                for descriptor in descriptors:
                    self._adopt(port, descriptor)
        return True

    def _adopt(self, port: int, descriptor: int) -> None:
        """Serve a connection; its client may have closed it in the meantime."""
        try:
            connection = socket.socket(fileno=descriptor)
        except OSError:
            os.close(descriptor)
            self._closed()
            return
        connection.setblocking(False)
        try:
            # The reactor takes a descriptor of its own.
            self._reactor.adoptStreamConnection(
                descriptor, connection.family, self._factories[port]
            )
        except Exception as error:  # noqa: BLE001 - one connection must not cost the others
            if not isinstance(error, OSError):
                self._log.failure("a connection could not be taken over")
            self._closed()
        finally:
            connection.close()


@implementer(IProtocolFactory)
class _CountingFactory:
    """Wraps a factory to notice when its connections are closed."""

    def __init__(self, factory: Any, closed: Callable[[], object]) -> None:
        self._factory = factory
        self._closed = closed

    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802
        """The wrapped factory's protocol, with a ``connectionLost`` that reports the end."""
        protocol = self._factory.buildProtocol(addr)
        lost = protocol.connectionLost

        def connection_lost(reason: Failure = connectionDone) -> None:
            try:
                lost(reason)
            finally:
                self._closed()

        protocol.connectionLost = connection_lost
        return protocol

    def doStart(self) -> None:  # noqa: N802
        """Ports are the parent's."""

    def doStop(self) -> None:  # noqa: N802
        """Ports are the parent's."""
