"""Views: pages that the reactor answers itself, even while all workers are busy.

A view is a WSGI callable.  It runs in the reactor thread, so it must not block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred

from zkservice.errors import ViewError

__all__ = ["SLOW_VIEW", "AskingView", "TextView", "View", "ViewError"]

View = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

#: Seconds; a view that takes longer delays all clients, and is logged.
SLOW_VIEW: Final = 0.05


class TextView:
    """A view that shows the text of a function.

    Args:
        function: called with the environ, returns text (bytes must be UTF-8); may
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
