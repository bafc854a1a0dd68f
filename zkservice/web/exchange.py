"""One request and its response: what the reactor and a worker thread share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from enum import Enum, auto
from time import monotonic
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from zkservice.errors import ClientGoneError, ResponseStorageError
from zkservice.http11 import Request
from zkservice.web.regions import FileRegion, Spill

if TYPE_CHECKING:
    from zkservice.web.channel import HTTPChannel
    from zkservice.web.environ import Ends
    from zkservice.web.output import Part
    from zkservice.web.site import Site
    from zkservice.web.tracelog import Trace
    from zkservice.web.workers import Worker, Workers

__all__ = ["End", "Exchange", "ReactorExchange", "Window"]


class End(Enum):
    """How a response ends."""

    KEEP_ALIVE = auto()
    CLOSE = auto()
    #: The client must see that the response is not whole.
    ABORT = auto()


#: Seconds after which a worker that waits for a client looks whether others need it, and
#: how much faster its patience goes if they do.
_GLANCE: Final = 0.02
_HURRY: Final = 10


class Window:
    """How far a worker is ahead of its client, and where it puts what it has.

    The lock guards the numbers, nothing else.

    Args:
        memory: bytes that may wait in memory.
        patience: seconds that the worker waits for room there, altogether.
        file: bytes that may wait in a file once the patience is used up.
        needed: says whether somebody else needs the worker; then its patience is short.
        now: seconds of a clock.
    """

    def __init__(
        self,
        memory: int,
        patience: float,
        file: int,
        needed: Callable[[], bool] = lambda: False,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._most = (memory, file)
        self._patience = patience
        self._needed = needed
        self._now = now
        self._changed = threading.Condition()
        self._owed = [0, 0]  # bytes in memory, bytes in the file
        self._closed = False

    # Worker thread

    def reserve(self, size: int) -> bool:
        """Find a place for ``size`` more bytes: True for the memory, False for the file.

        Raises:
            ClientGoneError: nobody waits for them.
        """
        with self._changed:
            while self._patience > 0 and not self._has_room(0, size):
                began = self._now()
                self._changed.wait(min(self._patience, _GLANCE))
                waited = self._now() - began
                self._patience -= waited * _HURRY if self._needed() else waited
            place = 0 if self._has_room(0, size) else 1
            self._changed.wait_for(lambda: self._has_room(place, size))
            if self._closed:
                raise ClientGoneError("the client has left")
            self._owed[place] += size
            return place == 0

    def _has_room(self, place: int, size: int) -> bool:
        owed = self._owed[place]
        return self._closed or not owed or owed + size <= self._most[place]

    # Reactor thread

    def take(self, memory: int, file: int) -> None:
        """The client has taken this much from each."""
        with self._changed:
            self._owed[0] -= memory
            self._owed[1] -= file
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

    __slots__ = (
        "_gone",
        "_leaving",
        "_spill",
        "_workers",
        "aborted",
        "began",
        "body_bytes",
        "channel",
        "ended",
        "ends",
        "received",
        "request",
        "site",
        "status",
        "trace",
        "window",
        "worker",
    )

    def __init__(
        self, request: Request, ends: Ends, channel: HTTPChannel, site: Site, workers: Workers
    ) -> None:
        self.request = request
        self.ends = ends
        self.channel = channel
        self.site = site
        self._workers = workers
        self._gone = self._leaving = False
        #: Only a response that is sent in several parts needs these.
        self.window: Window | None = None
        self._spill: Spill | None = None
        #: Who runs it, and since when by the workers' clock.
        self.worker: Worker | None = None
        self.began: float | None = None
        # For the logs; ``received`` and ``ended`` are set if somebody reads them.
        self.received = 0.0
        self.ended: float | None = None
        self.status = 0
        self.body_bytes = 0  # that were sent
        self.aborted = False  # whether the client did not get all of the response
        self.trace: Trace | None = None

    def __str__(self) -> str:
        # Without the query, which may hold secrets: this is shown in /-/threads and in the log.
        path = self.request.path.decode("latin-1") or "*"
        return f"{self.request.method} {path} from {self.ends.remote_addr}"

    # Reactor thread

    def read_side_closed(self) -> None:
        """The client sends no more: it has probably left, but may be waiting."""
        self._leaving = True

    def abandon(self) -> None:
        """The client has left: a worker that waits for it need not."""
        self._gone = True
        if self.window is not None:
            self.window.close()

    def answer(self, status: int, rule: str, headers: list[tuple[str, str]]) -> None:
        """Answer with an error page instead of the application."""
        if self.trace is not None:
            self.trace.ended(rule)
        self.site.answer(self, status, rule, headers)

    # Worker thread

    def run(self, worker: Worker) -> None:
        """Run the application for this request."""
        self.worker, self.began = worker, worker.began
        try:
            if not self._gone:
                self.site.run(self, worker)
            elif self.trace is not None:
                self.trace.ended("the client has left")
        finally:
            self.request.body.close()
            if self._spill is not None:
                self._spill.release()

    def send(self, parts: Sequence[bytes], body_bytes: int) -> None:
        """Send some of the response; wait a little if the client is far behind.

        Raises:
            ClientGoneError: nobody waits for it.
            ResponseStorageError: the client is far behind, and the file for the rest fails.
        """
        if self.window is None:
            limits = self.site.limits
            self.window = Window(
                limits.response_memory,
                limits.response_patience,
                limits.response_file,
                lambda: self._workers.queued > 0,
            )
        if self._gone:  # after the window is there: abandon() closes it or we see this
            raise ClientGoneError("the client has left")
        kept: Sequence[Part] = parts
        if not self.window.reserve(sum(map(len, parts))):
            kept = (self._store(parts),)
        self._workers.post(self.channel.respond, self, kept, None, body_bytes)

    def _store(self, parts: Sequence[bytes]) -> FileRegion:
        try:
            if self._spill is None:
                self._spill = Spill()
            return self._spill.append(parts)
        except OSError as error:
            raise ResponseStorageError(
                f"a temporary file for a slow client failed: {error.strerror or error}"
            ) from error

    def finish(self, parts: Sequence[Part], end: End, body_bytes: int) -> None:
        """Send the rest of the response."""
        if self.site.timed:
            self.ended = self._workers.now()
        self._workers.post(self.channel.respond, self, parts, end, body_bytes)

    # Any thread

    def client_disconnected(self) -> bool:
        """Whether nobody waits for the response any more, as far as one can see."""
        return self._gone or self._leaving


class ReactorExchange(Exchange):
    """An exchange that the reactor answers itself: a view, or a request it turns away."""

    __slots__ = ()

    @override
    def send(self, parts: Sequence[bytes], body_bytes: int) -> None:
        self._workers.post_here(self.channel.respond, self, parts, None, body_bytes)

    @override
    def finish(self, parts: Sequence[Part], end: End, body_bytes: int) -> None:
        if self.site.timed:
            self.ended = self._workers.now()
        self._workers.post_here(self.channel.respond, self, parts, end, body_bytes)
