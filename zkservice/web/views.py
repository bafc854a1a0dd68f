"""Views: pages that the reactor thread serves, even while all workers are busy.

A view is a WSGI callable.  It runs in the reactor thread, so it must not block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred

from zkservice.errors import ViewError
from zkservice.http11 import Request
from zkservice.web.environ import ConnectionInfo

__all__ = ["SLOW_VIEW", "DeferredView", "GuardedView", "TextView", "View", "ViewError"]

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
        """Respond with the text, or with the status and text of a ``ViewError``."""
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


class DeferredView:
    """An asynchronous view, such as one whose contents come from another process.

    Args:
        ask: called with the environ; fires with a WSGI callable that makes the response.
    """

    def __init__(self, ask: Callable[[dict[str, Any]], Deferred[View]]) -> None:
        self.ask = ask
        self.__name__ = getattr(ask, "__name__", repr(ask))

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Never called: the front end calls `ask`, and then the callable that it fires with."""
        raise NotImplementedError("call ask() of an DeferredView")


class GuardedView:
    """A view that only some clients may see.

    Args:
        view: what is shown.
        refusal: returns why a request is refused; None if it is not.
        instead: the view for requests that are refused; None: the reason is shown.
    """

    def __init__(
        self,
        view: View,
        refusal: Callable[[Request, ConnectionInfo], ViewError | None],
        instead: View | None = None,
    ) -> None:
        self._view = view
        self._refusal = refusal
        self._instead = instead
        self.__name__ = getattr(view, "__name__", repr(view))

    def choose(self, request: Request, info: ConnectionInfo) -> View:
        """The view to show for a request.

        Args:
            request: the request.
            info: the addresses of the connection, before a proxy's fields were applied.

        Raises:
            ViewError: it is refused.
        """
        refused = self._refusal(request, info)
        if refused is None:
            return self._view
        if self._instead is None:
            raise refused
        return self._instead

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Never called: the front end calls `choose`, and then the view that it returns."""
        raise NotImplementedError("call choose() of a GuardedView")
