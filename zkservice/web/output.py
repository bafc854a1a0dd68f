"""The output of a connection: sent at once if possible, else queued."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Final, TypeAlias

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.tcp import Connection
from zope.interface import implementer

from zkservice.web.file_segments import FileSegment

__all__ = ["Output", "Part", "SocketOutput", "TransportOutput", "discard", "output_for"]

#: Bytes given to a transport at a time, and parts given to the kernel.
_CHUNK_SIZE: Final = 128 * 1024
_MAX_PARTS: Final = 256

#: Bytes of a file that are sent before other connections get a turn.
_FILE_CHUNK_SIZE: Final = 1 << 20

#: A part of a response.
Part: TypeAlias = bytes | memoryview | FileSegment


class Output:
    """The output of one connection.

    Args:
        transport: the connection's transport.
        on_progress: called when some of the queued output was sent.
    """

    __slots__ = (
        "_lost",
        "_on_progress",
        "_transport",
        "_waiting",
        "backlog",
        "blocked",
        "broken",
        "file_backlog",
    )

    def __init__(self, transport: Any, on_progress: Callable[[], None]) -> None:
        self._transport = transport
        self._on_progress = on_progress
        self._waiting: deque[Part] = deque()
        self._lost = 0  # bytes that were dropped when the connection broke
        #: Whether the connection was cut because an error made sending impossible.
        self.broken = False
        #: Bytes that are queued in memory; the transport may have a chunk more.
        self.backlog = 0
        #: Bytes that wait in files.
        self.file_backlog = 0
        #: Whether the client must read something before more can be sent.
        self.blocked = False

    @property
    def unsent(self) -> int:
        """Bytes that were not sent: queued, or dropped when the connection broke."""
        return self.backlog + self.file_backlog + self._lost

    def hold(self, parts: Sequence[Part]) -> None:
        """Queue ``parts``; the next ``write`` or ``flush`` sends them."""
        for part in parts:
            if not part:
                continue
            self._waiting.append(part)
            if isinstance(part, FileSegment):
                self.file_backlog += len(part)
            else:
                self.backlog += len(part)

    def write(self, parts: Sequence[Part]) -> None:
        """Send ``parts`` after the queued output."""
        self.hold(parts)
        self.flush()

    def flush(self) -> None:
        """Send queued output until the client takes no more."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing more will be written: let the transport close when its buffer is empty."""

    def stopProducing(self) -> None:
        """Drop the queued output: the connection is closed."""
        self._forget()
        self.blocked = False

    def _forget(self) -> None:
        discard(self._waiting)
        self._waiting.clear()
        self.backlog = self.file_backlog = 0

    def _give_up(self) -> None:
        """Abort the connection, because the queued output cannot be sent completely."""
        self._lost = self.unsent
        self._forget()
        self.blocked = self.broken = True
        self._transport.abortConnection()


@implementer(IPullProducer)
class SocketOutput(Output):
    """The output of a plain socket.

    It writes to the socket directly, which saves most responses two system calls and a turn of the
    reactor.  What the kernel does not take is queued here.  The transport's own buffer stays empty;
    it only reports when there is room again.
    """

    __slots__ = ("_socket",)

    def __init__(self, transport: Any, on_progress: Callable[[], None]) -> None:
        super().__init__(transport, on_progress)
        self._socket = transport.getHandle()

    def write(self, parts: Sequence[Part]) -> None:
        """Send ``parts`` after everything that is queued."""
        alone = len(parts) == 1 and not self._waiting and not self.blocked
        data = parts[0] if alone else None
        if data is None or isinstance(data, FileSegment):
            self.hold(parts)
            self.flush()
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.hold((data,))
            self._give_up()
            return
        if sent != len(data):
            self.hold((data[sent:],))
            self._block()

    def flush(self) -> None:
        """Send queued output until the kernel takes no more."""
        if self.blocked or not self._waiting:
            return
        self._send()
        if self._waiting and not self.broken:
            self._block()

    def resumeProducing(self) -> None:
        """Go on sending."""
        if self.broken or not self.blocked:
            return  # registerProducer calls this at once, before ``blocked`` is set
        self._send()
        if self.broken:
            return
        if self._waiting:
            self._transport.startWriting()
        else:
            self.blocked = False
            self._transport.unregisterProducer()
        self._on_progress()

    def _block(self) -> None:
        """Have the transport call ``resumeProducing`` when the socket is writable again.

        The transport asks a pull producer for more as soon as its own buffer is empty, which is
        always so here.
        """
        self._transport.registerProducer(self, False)
        self.blocked = True
        self._transport.startWriting()

    def _send(self) -> None:
        waiting = self._waiting
        try:
            while waiting:
                first = waiting[0]
                if isinstance(first, FileSegment):
                    if not self._send_file(first):
                        break
                else:
                    self._send_memory()
        except BlockingIOError:
            pass
        except OSError:
            self._give_up()

    def _send_memory(self) -> None:
        """Send the bytes in front of the next file."""
        waiting = self._waiting
        parts: list[bytes | memoryview] = []
        for part in islice(waiting, _MAX_PARTS):
            if isinstance(part, FileSegment):
                break
            parts.append(part)
        sent = self._socket.sendmsg(parts)
        self.backlog -= sent
        for part in parts:
            if sent < len(part):
                waiting[0] = memoryview(part)[sent:]
                break
            sent -= len(part)
            waiting.popleft()

    def _send_file(self, segment: FileSegment) -> bool:
        """Send a chunk of a file; return whether more may be sent in this turn of the reactor."""
        size = min(len(segment), _FILE_CHUNK_SIZE)
        sent = os.sendfile(self._socket.fileno(), segment.descriptor, segment.offset, size)
        if not sent:
            self._give_up()  # the file has become shorter than it was
            return False
        segment.advance(sent)
        self.file_backlog -= sent
        if not segment:
            segment.close()
            self._waiting.popleft()
            return True
        return False


@implementer(IPushProducer)
class TransportOutput(Output):
    """The output of any transport: TLS, a proxy protocol wrapper, a test's."""

    __slots__ = ("_closed",)

    def __init__(self, transport: Any, on_progress: Callable[[], None]) -> None:
        super().__init__(transport, on_progress)
        self._closed = False
        transport.registerProducer(self, True)

    def flush(self) -> None:
        """Give the transport queued output in chunks, until it pauses this producer."""
        while self._waiting and not self.blocked:
            chunk = self._next_chunk()
            if not chunk:
                self._give_up()  # a file has become shorter than it was
                return
            self._transport.write(chunk)

    def _next_chunk(self) -> bytes:
        """Take the next chunk from the queue."""
        waiting = self._waiting
        first = waiting[0]
        if isinstance(first, FileSegment):
            data = first.read(_CHUNK_SIZE)
            self.file_backlog -= len(data)
            if not first:
                first.close()
                waiting.popleft()
            return data
        room = _CHUNK_SIZE
        chunk: list[bytes | memoryview] = []
        while room and waiting and not isinstance(part := waiting[0], FileSegment):
            chunk.append(memoryview(part)[:room])
            if len(part) > room:
                waiting[0] = memoryview(part)[room:]
            else:
                waiting.popleft()
            room -= len(chunk[-1])
        self.backlog -= _CHUNK_SIZE - room
        return b"".join(chunk)

    def close(self) -> None:
        """Nothing more will be written: let the transport close when its buffer is empty."""
        if not self._closed:
            self._closed = True
            self._transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        self.blocked = True

    def resumeProducing(self) -> None:
        """The transport has room again."""
        self.blocked = self.broken
        self.flush()
        self._on_progress()


def discard(parts: Iterable[Part]) -> None:
    """Close parts that will not be sent."""
    for part in parts:
        if isinstance(part, FileSegment):
            part.close()


def output_for(transport: Any, on_progress: Callable[[], None]) -> Output:
    """Return the output for a kind of transport."""
    if isinstance(transport.getPeer(), (IPv4Address, IPv6Address)):
        set_no_delay = getattr(transport, "setTcpNoDelay", None)
        if set_no_delay is not None:
            set_no_delay(True)  # writes are gathered here, so the kernel need not wait for more
    plain = isinstance(transport, Connection) and not transport.TLS
    return (
        SocketOutput(transport, on_progress) if plain else TransportOutput(transport, on_progress)
    )
