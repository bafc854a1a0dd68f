"""A connection's way out: bytes leave at once if they can, and wait in order if not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.tcp import Connection
from zope.interface import implementer

__all__ = ["Output", "SocketOutput", "TransportOutput", "output_for"]

#: Bytes given to a transport at a time, and parts given to the kernel.
_GULP: Final = 128 * 1024
_MOST_PARTS: Final = 256

if TYPE_CHECKING:
    Part = bytes | memoryview


class Output:
    """What waits to be sent on one connection.

    Args:
        transport: of the connection.
        moved: called when some of what had to wait has gone.
    """

    __slots__ = ("_moved", "_transport", "_waiting", "backlog", "blocked")

    def __init__(self, transport: Any, moved: Callable[[], None]) -> None:
        self._transport = transport
        self._moved = moved
        self._waiting: deque[Part] = deque()
        #: Bytes that wait here; the transport may have a gulp more.
        self.backlog = 0
        #: Whether the client has to take something before more can leave.
        self.blocked = False

    def hold(self, parts: Sequence[bytes]) -> None:
        """Send ``parts`` after everything that waits, with the next ``write`` or ``flush``."""
        for part in parts:
            if part:
                self._waiting.append(part)
                self.backlog += len(part)

    def write(self, parts: Sequence[bytes]) -> None:
        """Send ``parts`` after everything that waits."""
        self.hold(parts)
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the client takes it."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing more will be written: let the transport go when it has sent its rest."""

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._waiting.clear()
        self.backlog = 0
        self.blocked = False


@implementer(IPullProducer)
class SocketOutput(Output):
    """The way out of a plain socket.

    The socket is written to directly, which spares most responses two system calls and a
    turn of the reactor.  What the kernel does not take waits here; the transport, whose
    own buffer stays empty, says when there is room again.
    """

    __slots__ = ("_socket",)

    def __init__(self, transport: Any, moved: Callable[[], None]) -> None:
        super().__init__(transport, moved)
        self._socket = transport.getHandle()

    def write(self, parts: Sequence[bytes]) -> None:
        """Send ``parts`` after everything that waits."""
        if len(parts) != 1 or self._waiting:
            self.hold(parts)
            self.flush()
            return
        data = parts[0]
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._transport.abortConnection()
            return
        if sent != len(data):
            self.hold((data[sent:],))
            self._block()

    def flush(self) -> None:
        """Send what waits, as far as the kernel takes it."""
        if self.blocked or not self._waiting:
            return
        self._send()
        if self._waiting:
            self._block()

    def resumeProducing(self) -> None:
        """There is room again."""
        if not self.blocked:
            return  # registering calls this at once
        self._send()
        if self._waiting:
            self._transport.startWriting()
        else:
            self.blocked = False
            self._transport.unregisterProducer()
        self._moved()

    def _block(self) -> None:
        """Have the transport say when there is room."""
        self._transport.registerProducer(self, False)
        self.blocked = True
        self._transport.startWriting()

    def _send(self) -> None:
        waiting = self._waiting
        try:
            while waiting:
                sent = self._socket.sendmsg(islice(waiting, _MOST_PARTS))
                self.backlog -= sent
                while waiting and sent >= len(waiting[0]):
                    sent -= len(waiting.popleft())
                if sent:
                    waiting[0] = memoryview(waiting[0])[sent:]
        except BlockingIOError:
            pass
        except OSError:
            waiting.clear()
            self.backlog = 0
            self._transport.abortConnection()


@implementer(IPushProducer)
class TransportOutput(Output):
    """The way out of any transport: TLS, a proxy protocol wrapper, a test's."""

    __slots__ = ()

    def __init__(self, transport: Any, moved: Callable[[], None]) -> None:
        super().__init__(transport, moved)
        transport.registerProducer(self, True)

    def flush(self) -> None:
        """Give the transport what waits, a gulp at a time, until it has enough."""
        waiting = self._waiting
        while waiting and not self.blocked:
            size = 0
            gulp = []
            while waiting and size < _GULP:
                part = waiting.popleft()
                if len(part) > _GULP - size:
                    waiting.appendleft(memoryview(part)[_GULP - size :])
                    part = part[: _GULP - size]
                gulp.append(part)
                size += len(part)
            self.backlog -= size
            self._transport.write(b"".join(gulp))

    def close(self) -> None:
        """Nothing more will be written: let the transport go when it has sent its rest."""
        self._transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """The transport has enough."""
        self.blocked = True

    def resumeProducing(self) -> None:
        """The transport has room again."""
        self.blocked = False
        self.flush()
        self._moved()


def output_for(transport: Any, moved: Callable[[], None]) -> Output:
    """The way out that suits a transport."""
    plain = isinstance(transport, Connection) and not transport.TLS
    return SocketOutput(transport, moved) if plain else TransportOutput(transport, moved)
