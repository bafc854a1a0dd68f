"""A connection's way out: bytes leave at once if they can, and wait in order if not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.tcp import Connection
from zope.interface import implementer

__all__ = ["Output", "SocketOutput", "TransportOutput", "output_for"]

#: Bytes given to the transport at a time.
_GULP: Final = 128 * 1024


class Output:
    """What waits to be sent on one connection.

    Args:
        transport: of the connection.
        moved: called when some of what waited has gone.
    """

    __slots__ = ("_moved", "_transport", "_waiting", "backlog")

    def __init__(self, transport: Any, moved: Callable[[], None]) -> None:
        self._transport = transport
        self._moved = moved
        self._waiting: deque[bytes] = deque()
        #: Bytes that wait here; the transport may have a gulp more.
        self.backlog = 0

    @property
    def empty(self) -> bool:
        """Whether nothing waits here."""
        return not self._waiting

    def write(self, parts: Sequence[bytes]) -> None:
        """Send ``parts`` after everything that waits."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing more will be written: let the transport go when it has sent its rest."""

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._waiting.clear()
        self.backlog = 0

    def _wait(self, parts: Sequence[bytes]) -> None:
        for part in parts:
            if part:
                self._waiting.append(part)
                self.backlog += len(part)

    def _gulp(self) -> bytes:
        """The next bytes for the transport."""
        waiting = self._waiting
        gulp = [waiting.popleft()]
        size = len(gulp[0])
        while waiting and size + len(waiting[0]) <= _GULP:
            size += len(waiting[0])
            gulp.append(waiting.popleft())
        self.backlog -= size
        return gulp[0] if len(gulp) == 1 else b"".join(gulp)


@implementer(IPullProducer)
class SocketOutput(Output):
    """The way out of a plain socket.

    With nothing waiting the socket is written to directly, which spares most responses
    two system calls and a turn of the reactor.  What the kernel does not take waits, and
    the transport pulls it whenever its buffer is empty.
    """

    __slots__ = ("_pulling",)

    def __init__(self, transport: Any, moved: Callable[[], None]) -> None:
        super().__init__(transport, moved)
        self._pulling = False

    @property
    def empty(self) -> bool:
        """Whether nothing waits, here or in the transport."""
        return not self._pulling

    def write(self, parts: Sequence[bytes]) -> None:
        """Send ``parts`` after everything that waits."""
        if self._pulling:
            self._wait(parts)
            return
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        sent = self._transport.writeSomeData(data)
        if sent == len(data):
            return
        # an exception says that the connection is lost; the transport finds out for itself
        self._wait((data[sent:] if isinstance(sent, int) else data,))
        self._pulling = True
        self._transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """Give the transport another gulp, or be done."""
        if self._waiting:
            self._transport.write(self._gulp())
        else:
            self._pulling = False
            self._transport.unregisterProducer()
        self._moved()

    def stopProducing(self) -> None:
        """The connection is gone."""
        super().stopProducing()
        self._pulling = False


@implementer(IPushProducer)
class TransportOutput(Output):
    """The way out of any transport: TLS, a proxy protocol wrapper, a test's."""

    __slots__ = ("_paused",)

    def __init__(self, transport: Any, moved: Callable[[], None]) -> None:
        super().__init__(transport, moved)
        self._paused = False
        transport.registerProducer(self, True)

    def write(self, parts: Sequence[bytes]) -> None:
        """Send ``parts`` after everything that waits."""
        if self._paused:
            self._wait(parts)
        elif parts:
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def close(self) -> None:
        """Nothing more will be written: let the transport go when it has sent its rest."""
        self._transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """The transport has enough."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The transport has room again."""
        self._paused = False
        while self._waiting and not self._paused:
            self._transport.write(self._gulp())
        self._moved()


def output_for(transport: Any, moved: Callable[[], None]) -> Output:
    """The way out that suits a transport."""
    plain = isinstance(transport, Connection) and not transport.TLS
    return SocketOutput(transport, moved) if plain else TransportOutput(transport, moved)
