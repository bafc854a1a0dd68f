"""One request and its response: what the reactor and a worker thread share."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from zkservice.errors import ClientGoneError
from zkservice.http11 import Request

if TYPE_CHECKING:
    from zkservice.web.channel import HTTPChannel
    from zkservice.web.factory import Site
    from zkservice.web.workers import Worker, Workers

__all__ = ["End", "Exchange", "Window"]

#: Bytes that a worker may be ahead of its client.
WINDOW: Final = 1 << 20


class End(Enum):
    """How a response ends."""

    KEEP_ALIVE = auto()
    CLOSE = auto()
    #: The client must see that the response is not whole.
    ABORT = auto()


class Window:
    """How far a worker is ahead of its client.

    The lock guards the three attributes, nothing else.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._changed = threading.Condition()
        self._given = self._taken = 0
        self._closed = False

    # Worker thread

    def reserve(self, size: int) -> None:
        """Wait until the client is near enough for ``size`` more bytes.

        Raises:
            ClientGoneError: it has left.
        """
        with self._changed:
            self._given += size
            while self._given - self._taken > max(self._size, size) and not self._closed:
                self._changed.wait()
            if self._closed:
                raise ClientGoneError("the client has left")

    # Reactor thread

    def take(self, total: int) -> None:
        """The client's socket has taken ``total`` bytes of the response so far."""
        with self._changed:
            self._taken = total
            self._changed.notify()

    def close(self) -> None:
        """Nobody takes anything any more."""
        with self._changed:
            self._closed = True
            self._changed.notify()


class Exchange:
    """A request on its way through a worker, and the response on its way back.

    ``send`` and ``finish`` are the crossing: the worker calls them, and the reactor finds
    their bytes in ``HTTPChannel.respond``.
    """

    __slots__ = ("_gone", "_leaving", "_workers", "channel", "request", "site", "window")

    def __init__(
        self, request: Request, channel: HTTPChannel, site: Site, workers: Workers
    ) -> None:
        self.request = request
        self.channel = channel
        self.site = site
        self._workers = workers
        self._gone = self._leaving = False
        #: Only a response that is sent in several parts needs one.
        self.window: Window | None = None

    # Reactor thread

    def read_side_closed(self) -> None:
        """The client sends no more: it has probably left, but may be waiting."""
        self._leaving = True

    def abandon(self) -> None:
        """The client has left: a worker that waits for it need not."""
        self._gone = True
        if self.window is not None:
            self.window.close()

    # Worker thread

    def run(self, worker: Worker) -> None:
        """Run the application for this request."""
        if self._gone:
            self.request.body.close()
        else:
            self.site.run(self, worker)

    def send(self, parts: Sequence[bytes]) -> None:
        """Send some of the response; wait if the client is far behind.

        Raises:
            ClientGoneError: nobody waits for it.
        """
        window = self.window
        if window is None:
            window = self.window = Window(WINDOW)
        if self._gone:
            raise ClientGoneError("the client has left")
        window.reserve(sum(map(len, parts)))
        self._workers.post(self.channel.respond, self, parts, None)

    def finish(self, parts: Sequence[bytes], end: End) -> None:
        """Send the rest of the response."""
        self._workers.post(self.channel.respond, self, parts, end)

    # Any thread

    def client_disconnected(self) -> bool:
        """Whether nobody waits for the response any more, as far as one can see."""
        return self._gone or self._leaving
