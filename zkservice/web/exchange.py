"""One request and its response: what the reactor and a worker thread share."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Final, Protocol

from typing_extensions import override

from zkservice.errors import ClientGoneError
from zkservice.http11 import Limits, Request
from zkservice.web.environ import ConnectionInfo
from zkservice.web.output import Part
from zkservice.web.tracelog import Trace
from zkservice.web.window import SendWindow, StreamWindow
from zkservice.web.worker import Worker
from zkservice.web.workers import Workers

__all__ = ["End", "Exchange", "Handler", "ReactorExchange", "Responder"]


class End(Enum):
    """How a response ends."""

    KEEP_ALIVE = auto()
    CLOSE = auto()
    #: The client must notice that the response is incomplete.
    ABORT = auto()


class _Client(Enum):
    """The state of the client of an exchange."""

    WAITS = auto()
    SENDS_NO_MORE = auto()  #: it has half-closed: it has probably left, but may be waiting
    GONE = auto()


# Read for each request: before Python 3.12 a member of an enum costs ten times as much.
_WAITS: Final = _Client.WAITS
_GONE: Final = _Client.GONE


class Responder(Protocol):
    """Takes the response to an exchange (reactor thread)."""

    def respond(
        self, exchange: Exchange, parts: Sequence[Part], end: End | None, body_bytes: int
    ) -> None:
        """Send some of the response; ``end`` is set for the last part."""
        ...


class Handler(Protocol):
    """Makes the response to an exchange."""

    limits: Limits
    #: Whether exchanges must note when their response ended.
    timed: bool

    def run(self, exchange: Exchange, worker: Worker) -> None:
        """Run the application (worker thread)."""
        ...

    def answer(
        self, exchange: Exchange, status: int, rule: str, headers: list[tuple[str, str]]
    ) -> None:
        """Respond with an error page."""
        ...

    def failed(self, kind: str) -> None:
        """Count a failure of the application (reactor thread)."""
        ...


class Exchange:
    """A request that a worker handles, and its response.

    The worker calls ``send`` and ``finish``; the reactor gets their bytes in
    ``Responder.respond``.  See ``handover`` for the attributes that both threads use.
    """

    __slots__ = (
        "_client",
        "_handler",
        "_responder",
        "_workers",
        "aborted",
        "began",
        "body_bytes",
        "connection",
        "ended",
        "received",
        "request",
        "status",
        "trace",
        "window",
        "worker",
    )

    def __init__(
        self,
        request: Request,
        connection: ConnectionInfo,
        responder: Responder,
        handler: Handler,
        workers: Workers,
    ) -> None:
        self.request = request
        self.connection = connection
        self._responder = responder
        self._handler = handler
        self._workers = workers
        self._client = _WAITS
        #: The backpressure of a response that is sent in several parts; None for others.
        self.window: SendWindow | None = None
        #: The thread that runs the request.
        self.worker: Worker | None = None
        # Times of the workers' clock: when the request was complete, when the worker began with it,
        # and when the worker finished.  ``ended`` is set only if the handler is timed.
        self.received = 0.0
        self.began: float | None = None
        self.ended: float | None = None
        self.status = 0
        self.body_bytes = 0  # of the response's body that were sent
        self.aborted = False  # whether the client did not get all of the response
        self.trace: Trace | None = None

    def __str__(self) -> str:
        # Without the query, which may hold secrets: this is shown in /-/threads and in the log.
        path = self.request.path.decode("latin-1") or "*"
        return f"{self.request.method} {path} from {self.connection.remote_addr}"

    # Reactor thread

    def read_side_closed(self) -> None:
        """Note that the client has half-closed: it has probably left, but may be waiting."""
        if self._client is _WAITS:
            self._client = _Client.SENDS_NO_MORE

    def abandon(self) -> None:
        """Note that the client has left, and wake a worker that waits for it."""
        with self._workers.results.lock:
            self._client = _GONE
            window = self.window
        if window is not None:
            window.close()

    def answer(self, status: int, rule: str, headers: list[tuple[str, str]]) -> None:
        """Respond with an error page without calling the application."""
        if self.trace is not None:
            self.trace.ended(rule)
        self._handler.answer(self, status, rule, headers)

    # Worker thread

    def run(self, worker: Worker) -> None:
        """Run the application for this request."""
        self.worker = worker
        self.began = worker.began  # after ``self.worker``, see ``handover``
        try:
            if self._client is not _GONE:
                self._handler.run(self, worker)
            elif self.trace is not None:
                self.trace.ended("the client has left")
        finally:
            self.request.body.close()
            if self.window is not None:
                self.window.release()

    def send(self, parts: Sequence[bytes], body_bytes: int) -> None:
        """Send some of the response; wait for a bounded time if the client is far behind.

        Raises:
            ClientGoneError: the client has left.
            ResponseStorageError: the client is far behind, and the file for the rest fails.
        """
        window = self.window or self._open_window()
        results = self._workers.results
        results.post(self._responder.respond, self, window.admit(parts), None, body_bytes)

    def _open_window(self) -> SendWindow:
        limits = self._handler.limits
        window = SendWindow(
            limits.response_memory,
            limits.response_patience,
            limits.response_file,
            lambda: self._workers.queued > 0,
        )
        # Either abandon() comes later and closes this window, or it came before and set the client.
        with self._workers.results.lock:
            self.window = window
            gone = self._client is _GONE
        if gone:
            window.close()  # later writes of the application must fail, too
            raise ClientGoneError("the client has left")
        return window

    def finish(self, parts: Sequence[Part], end: End, body_bytes: int) -> None:
        """Send the rest of the response."""
        if self._handler.timed:
            self.ended = self._workers.now()
        self._workers.results.post(self._responder.respond, self, parts, end, body_bytes)

    def failed(self, kind: str) -> None:
        """Report the type of an exception that the application has raised."""
        self._workers.results.post(self._handler.failed, kind)

    # Any thread

    def client_disconnected(self) -> bool:
        """Whether the client has left, as far as the server knows."""
        return self._client is not _WAITS


class ReactorExchange(Exchange):
    """An exchange without a worker: for a view, or a request that is refused."""

    __slots__ = ()

    @override
    def send(self, parts: Sequence[bytes], body_bytes: int) -> None:
        window = self.window
        if isinstance(window, StreamWindow) and not window.offer(sum(map(len, parts))):
            raise ClientGoneError("the client reads too slowly")
        post = self._workers.results.post_here
        post(self._responder.respond, self, parts, None, body_bytes)

    @override
    def finish(self, parts: Sequence[Part], end: End, body_bytes: int) -> None:
        if self._handler.timed:
            self.ended = self._workers.now()
        post = self._workers.results.post_here
        post(self._responder.respond, self, parts, end, body_bytes)
