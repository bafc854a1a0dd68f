"""The requests in service with their phases, as plain values for operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Final

from zkservice.stacks import CodeLine, frames_by_thread, waiting_place
from zkservice.web.exchange import Exchange, ReactorExchange
from zkservice.web.printable import printable
from zkservice.web.server import HTTPServer
from zkservice.web.worker import Worker

__all__ = ["QUEUED", "RUNNING", "SENDING", "VIEW", "RunningRequest", "running_requests"]

# The phases of a request.
QUEUED: Final = "queued"  #: it waits for a thread
RUNNING: Final = "running"  #: a thread is in the application
SENDING: Final = "sending"  #: the response is waiting for the client to read it
VIEW: Final = "view"  #: a view handles it, without a thread

#: Characters of a path that are shown.
_MAX_PATH: Final = 300


@dataclass(frozen=True)
class RunningRequest:
    """A request in service.

    Attributes:
        age: seconds since the request was complete.
        ran: seconds since a thread began with it; None before.
        path: the path without the query, which may contain secrets.
        client: the client's address; behind trusted proxies the one that they report.
        phase: ``QUEUED``, ``RUNNING``, ``SENDING`` or ``VIEW``.
        thread: the name of the thread; "" if no thread runs it.
        stuck: whether the request has run too long, and its thread was replaced.
        place: the line of the application's code where the thread is, if there is one.
        inside: the innermost line of the stack if it differs from ``place``, as in a library.
        request_id: the id in the access log; "" without one.
    """

    age: float
    ran: float | None
    method: str
    path: str
    client: str
    phase: str
    thread: str = ""
    stuck: bool = False
    place: CodeLine | None = None
    inside: CodeLine | None = None
    request_id: str = ""

    @property
    def waits_for(self) -> str:
        """What the request waits for, in one line."""
        if self.phase == QUEUED:
            return "a thread"
        if self.phase == SENDING:
            return "the client to read"
        if self.place is None:
            return ""
        inside = self.inside
        rest = "" if inside is None else f" ({inside.file}:{inside.line} in {inside.function})"
        return printable(f"{self.place}{rest}")


def running_requests(server: HTTPServer, most: int = 1000) -> tuple[list[RunningRequest], int]:
    """The requests in service, the oldest first.

    Args:
        server: serves the requests.
        most: the number of requests to return.

    Returns:
        The requests, and how many more there are.
    """
    exchanges = dict.fromkeys(server.connections.exchanges())
    for worker in server.workers.all_workers():
        if isinstance(worker.job, Exchange):  # its client may have left, or got a 504
            exchanges[worker.job] = None
    oldest = sorted(exchanges, key=lambda exchange: exchange.received)
    frames = frames_by_thread()
    shown = [_running(exchange, server.workers.now(), frames) for exchange in oldest[:most]]
    return shown, len(oldest) - len(shown)


def _running(exchange: Exchange, now: float, frames: Mapping[int, FrameType]) -> RunningRequest:
    worker, began = exchange.worker, exchange.began
    runs = worker is not None and worker.job is exchange
    place, inside = _where(worker, frames) if runs else (None, None)
    path = printable(exchange.request.path.decode("latin-1")) or "*"
    return RunningRequest(
        age=now - exchange.received,
        ran=None if began is None else now - began,
        method=exchange.request.method,
        path=path if len(path) <= _MAX_PATH else f"{path[:_MAX_PATH]}...",
        client=exchange.connection.remote_addr,
        phase=_phase(exchange, runs),
        thread=worker.name if runs and worker is not None else "",
        stuck=runs and worker is not None and worker.retired,
        place=place,
        inside=inside,
        request_id=exchange.request.fields.get("HTTP_X_REQUEST_ID", "")[:_MAX_PATH],
    )


def _phase(exchange: Exchange, runs: bool) -> str:
    if runs:
        return RUNNING
    if isinstance(exchange, ReactorExchange):
        return VIEW
    return QUEUED if exchange.worker is None else SENDING


def _where(
    worker: Worker | None, frames: Mapping[int, FrameType]
) -> tuple[CodeLine | None, CodeLine | None]:
    thread = None if worker is None else worker.thread
    frame = None if thread is None or thread.ident is None else frames.get(thread.ident)
    return (None, None) if frame is None else waiting_place(frame)
