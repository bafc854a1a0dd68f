"""The built-in views: of this process alone, or of all worker processes, from their parent."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypedDict

from twisted.internet.defer import Deferred

from zkservice.errors import ConfigurationError
from zkservice.service.application.http_factory import BuiltIn
from zkservice.service.config import FrontEnd
from zkservice.service.state.figures import Figures
from zkservice.service.views.discover import DiscoverViews, discover_paths
from zkservice.service.views.readiness import READY, ready_view
from zkservice.service.views.status_page import (
    EVENTS,
    PAGE,
    SECTIONS_VIEW,
    StatusPage,
    event_view,
)
from zkservice.web import (
    AdminAccess,
    DeferredView,
    GuardedView,
    HTTPServer,
    ResponseTally,
    ResponseTotals,
    StreamView,
    TextView,
    View,
    ViewError,
    status_views,
)

if TYPE_CHECKING:
    from zkservice.service.views.metrics import Metrics

__all__ = [
    "HEALTH",
    "METRICS",
    "PROBES",
    "THREADS",
    "LocalViews",
    "Shown",
    "guarded",
    "load_metrics",
    "metrics_view",
    "show",
    "view_paths",
    "views_at_ports",
    "views_from_parent",
]

#: The path for liveness probes.
HEALTH: Final = "/-/health"
#: The path that shows all threads, for an application that hangs.
THREADS: Final = "/-/threads"
#: The path that Prometheus scrapes.
METRICS: Final = "/-/metrics"
#: The paths for load balancers, which any client may request.
PROBES: Final = frozenset([HEALTH, READY])

#: Header fields of every view: it changes all the time, and may be for operators only.
_NO_STORE_FIELDS: Final = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))

#: Keys of the environ that are passed on when another process makes the response.
_PASSED_ON: Final = ("REQUEST_METHOD", "QUERY_STRING", "HTTP_ACCEPT", "HTTP_ACCEPT_ENCODING")


class Shown(TypedDict):
    """The response of a view, in a form that can be sent to another process."""

    status: str
    headers: list[list[str]]
    body: str  #: latin-1, so that each character is a byte


def view_paths(front_end: FrontEnd) -> list[str]:
    """The paths of all built-in views that are served on any port."""
    paths = [METRICS] if front_end.metrics or front_end.status_views else []
    paths += discover_paths() if front_end.discover.enabled else []
    if front_end.status_views or front_end.admin.listen:
        paths += [HEALTH, READY, THREADS, PAGE, EVENTS]
    return paths


def views_at_ports(front_end: FrontEnd, views: Mapping[str, View]) -> dict[str, View]:
    """The built-in views at the application's ports: probes, and views for operators."""
    admin = front_end.admin
    access = AdminAccess(admin.allow, admin.hosts, front_end.proxies)
    shown = {
        path: view
        for path, view in views.items()
        if (front_end.status_views if path in PROBES else not admin.listen)
    }
    return guarded(shown, access)


def guarded(views: Mapping[str, View], access: AdminAccess) -> dict[str, View]:
    """The views with access control.  Every client gets `READY`, and one line of `HEALTH`."""
    found: dict[str, View] = {}
    for path, shown in views.items():
        view = _with_no_store(shown)
        if path == READY:
            found[path] = view
        else:
            for_others = _first_line(view) if path == HEALTH else None
            found[path] = GuardedView(view, access.refusal, for_others)
    return found


def _with_no_store(view: View) -> View:
    """The view with header fields against caching and content sniffing."""
    if isinstance(view, StreamView):
        return view  # it sets these fields itself
    if isinstance(view, DeferredView):
        ask = view.ask
        deferred = DeferredView(lambda environ: ask(environ).addCallback(_with_no_store))
        deferred.__name__ = view.__name__
        return deferred

    @wraps(view, updated=())
    def shown(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            named = {name.lower() for name, _ in headers}
            added = [each for each in _NO_STORE_FIELDS if each[0].lower() not in named]
            return start_response(status, [*headers, *added], *error)

        return view(environ, start)

    return shown


@dataclass(frozen=True)
class ServiceViews:
    """What the built-in views show of a whole service; the same for every front end.

    Attributes:
        figures: returns the state of the service, for metrics.
        why_not_ready: returns why the service should receive no requests; "" if it should.
        page: the status page.
        discover: the views of other services.
    """

    figures: Callable[[], Figures]
    why_not_ready: Callable[[], str]
    page: StatusPage
    discover: DiscoverViews

    def by_path(self) -> dict[str, View]:
        """Those views that need nothing from a front end."""
        return {
            READY: ready_view(self.why_not_ready),
            **self.page.views(),
            **self.discover.views(),
        }


class LocalViews:
    """The views of a process that makes their responses itself.

    Args:
        front_end: which views there are.
        service: what they show.
        clock: the reactor.

    Raises:
        ConfigurationError: what the metrics need is not installed.
    """

    def __init__(self, front_end: FrontEnd, service: ServiceViews, clock: Any) -> None:
        self._front_end = front_end
        #: Counts the responses.
        self.tally = tally = ResponseTally()
        self._views: dict[str, View] = {
            **service.by_path(),
            EVENTS: event_view(service.page.sections, clock),
            METRICS: metrics_view(front_end, service.figures, lambda: tally.totals),
        }

    def all(self, server: HTTPServer) -> dict[str, View]:
        """All views, for a port that only operators can reach."""
        views = {**status_views(server), **self._views}
        return {path: views[path] for path in view_paths(self._front_end)}

    def built_in(self) -> BuiltIn:
        """The views at the application's ports."""
        return BuiltIn(lambda server: views_at_ports(self._front_end, self.all(server)), self.tally)


def views_from_parent(
    paths: Iterable[str], ask: Callable[[str, dict[str, str]], Deferred[Any]], clock: Any
) -> dict[str, View]:
    """The views of a worker process: its parent makes them, because it has all figures.

    Args:
        ask: asks the parent for the view at a path, with a few values of the environ; its Deferred
            fires with a `Shown`.
        clock: the reactor.
    """

    def fetch_sections() -> Deferred[Any]:
        response = ask(SECTIONS_VIEW, {})
        return response.addCallback(lambda shown: json.loads(shown["body"].encode("latin-1")))

    views: dict[str, View] = {path: DeferredView(_asking_parent(path, ask)) for path in paths}
    if EVENTS in views:
        views[EVENTS] = event_view(fetch_sections, clock)
    return views


def show(view: View, environ: Mapping[str, str]) -> Shown:
    """Call a view, and return its response for another process.

    Args:
        view: any view but a `DeferredView` or a `StreamView`.
        environ: the values that the other process has passed on.
    """
    shown: Shown = {"status": "", "headers": [], "body": ""}

    def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
        shown["status"], shown["headers"] = status, [list(header) for header in headers]

    full_environ: dict[str, Any] = {
        **{"REQUEST_METHOD": "GET", "QUERY_STRING": "", "SCRIPT_NAME": "", "PATH_INFO": ""},
        **{"SERVER_NAME": "localhost", "SERVER_PORT": "0", "wsgi.url_scheme": "http"},
        **{"wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO()},
        **environ,
    }
    shown["body"] = b"".join(view(full_environ, start_response)).decode("latin-1")
    return shown


def metrics_view(
    front_end: FrontEnd, figures: Callable[[], Figures], totals: Callable[[], ResponseTotals]
) -> View:
    """The view at `METRICS`: the metrics, or a 404 that names the option for them.

    Raises:
        ConfigurationError: what the metrics need is not installed.
    """
    if front_end.metrics:
        return load_metrics()(figures, totals).view

    def missing(environ: dict[str, Any]) -> str:
        """Say which option is missing."""
        raise ViewError("404 Not Found", "There are no metrics: start zkserve with --metrics.\n")

    return TextView(missing)


def load_metrics() -> type[Metrics]:
    """The class that shows metrics.

    Raises:
        ConfigurationError: what it needs is not installed.
    """
    try:
        # Only here: its library is an extra.
        from zkservice.service.views.metrics import Metrics
    except ImportError:
        raise ConfigurationError(
            "--metrics needs prometheus-client: pip install 'zkservice[metrics]'"
        ) from None
    return Metrics


def _asking_parent(
    path: str, ask: Callable[[str, dict[str, str]], Deferred[Any]]
) -> Callable[[dict[str, Any]], Deferred[View]]:
    def ask_parent(environ: dict[str, Any]) -> Deferred[View]:
        passed_on: dict[str, str] = {name: environ[name] for name in _PASSED_ON if name in environ}
        return ask(path, passed_on).addCallback(_view_of)

    ask_parent.__name__ = path
    return ask_parent


def _first_line(view: View) -> View:
    """A view that shows only the first line of another one."""
    if isinstance(view, DeferredView):
        ask = view.ask
        return DeferredView(lambda environ: ask(environ).addCallback(_first_line))

    def brief(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        shown = show(view, environ)
        shown["body"] = shown["body"].partition("\n")[0] + "\n"
        shown["headers"] = [each for each in shown["headers"] if each[0] != "Content-Length"]
        return _view_of(shown)(environ, start_response)

    return brief


def _view_of(shown: Shown) -> View:
    """A view that returns the response of another process."""

    def view(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response(shown["status"], [(name, value) for name, value in shown["headers"]])
        return [shown["body"].encode("latin-1")]

    return view
