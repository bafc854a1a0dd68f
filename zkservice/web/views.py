"""Views: pages that the reactor answers itself, even while all workers are busy.

A view is a WSGI callable.  It runs in the reactor thread, so it must not wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred

from zkservice.errors import ViewError

if TYPE_CHECKING:
    from zkservice.web.factory import HTTPFactory
    from zkservice.web.workers import Workers

__all__ = [
    "SLOW_VIEW",
    "AskingView",
    "TextView",
    "View",
    "ViewError",
    "describe_threads",
    "status_views",
]

View = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

#: Seconds; a view that takes longer holds up everybody, and is logged.
SLOW_VIEW: Final = 0.05


class TextView:
    """A view that shows the text of a function.

    Args:
        function: called with the environ, answers text (bytes are taken for UTF-8); may
            raise ``ViewError``.
        headers: added to the response.
    """

    def __init__(
        self,
        function: Callable[[dict[str, Any]], str | bytes],
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._function = function
        self._headers = headers
        self.__name__ = getattr(function, "__name__", repr(function))

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer with the text, or with what a ``ViewError`` says."""
        status, headers = "200 OK", self._headers
        text: str | bytes
        try:
            text = self._function(environ)
        except ViewError as error:
            status, headers, text = error.status, error.headers, error.message
        body = text if isinstance(text, bytes) else text.encode("utf-8")
        start_response(
            status,
            [
                ("Content-Type", "text/plain; charset=utf-8"),
                *headers,
                ("Content-Length", str(len(body))),
            ],
        )
        return [body]


class AskingView:
    """A view whose answer comes later: what it shows has to be asked for somewhere else.

    Args:
        ask: called with the environ; fires with a WSGI callable that shows the answer.
    """

    def __init__(self, ask: Callable[[dict[str, Any]], Deferred[View]]) -> None:
        self.ask = ask
        self.__name__ = getattr(ask, "__name__", repr(ask))

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Never called: the front end asks, and calls the answer."""
        raise NotImplementedError("an AskingView has to be asked")


def status_views(factory: HTTPFactory, workers: Workers) -> dict[str, View]:
    """The views that are built in: ``/-/health`` and ``/-/threads``."""

    def health(environ: dict[str, Any]) -> str:
        """``ok``, or 503 while the process is leaving; then the figures."""
        figures = vars(factory.statistics()) | {
            f"workers.{name}": value for name, value in vars(workers.statistics()).items()
        }
        text = "".join(f"{name}: {value}\n" for name, value in figures.items())
        if factory.draining:
            raise ViewError("503 Service Unavailable", f"draining\n\n{text}")
        return f"ok\n\n{text}"

    def threads(environ: dict[str, Any]) -> str:
        """What every worker thread is doing, and where in its code it is."""
        return describe_threads(workers)

    return {"/-/health": TextView(health), "/-/threads": TextView(threads)}


def describe_threads(workers: Workers) -> str:
    """What every worker thread is doing, and where in its code it is."""
    return "\n".join(
        f"{running.thread}{' (stuck)' if running.stuck else ''}: "
        f"{'idle' if running.job is None else f'{running.job} for {running.seconds:.3f} s'}\n"
        f"{running.stack}"
        for running in workers.running()
    )
