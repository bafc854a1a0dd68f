"""The built-in views: of this process alone, or of all processes, as their parent sees them."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypedDict

from twisted.internet.defer import Deferred

from zkservice.errors import ConfigurationError
from zkservice.service.figures import BUCKETS, Figures
from zkservice.service.front_end import BuiltIn, FrontEnd
from zkservice.service.readiness import READY, ready_view
from zkservice.web import AskingView, ResponseTally, View

if TYPE_CHECKING:
    from zkservice.service.metrics import Metrics

__all__ = ["HEALTH", "METRICS", "THREADS", "Shown", "asked_views", "load_metrics", "local_views"]

#: Where liveness probes look.
HEALTH: Final = "/-/health"
#: Where operators look when an application hangs.
THREADS: Final = "/-/threads"
#: Where Prometheus looks.
METRICS: Final = "/-/metrics"

#: What a view gets of the environ of a request that it does not see itself.
_PASSED_ON: Final = ("REQUEST_METHOD", "QUERY_STRING", "HTTP_ACCEPT", "HTTP_ACCEPT_ENCODING")


class Shown(TypedDict):
    """What a view has answered, so that it can cross between processes."""

    status: str
    headers: list[list[str]]
    body: str  #: latin-1, so that each character is a byte


def local_views(
    front_end: FrontEnd, figures: Callable[[], Figures], why_not_ready: Callable[[], str]
) -> BuiltIn:
    """The views of a process that serves by itself.

    Args:
        figures: returns the state of everything, for metrics.
        why_not_ready: returns why the process should get no requests; "" if it should.

    Raises:
        ConfigurationError: what the metrics need is not installed.
    """
    views: dict[str, View] = {}
    tally = ResponseTally(BUCKETS) if front_end.metrics else None
    if tally is not None:
        views[METRICS] = load_metrics()(figures, lambda: tally.totals).view
    if front_end.status_views:
        views[READY] = ready_view(why_not_ready)
    return BuiltIn(views, front_end.status_views, tally)


def asked_views(
    front_end: FrontEnd, ask: Callable[[str, dict[str, str]], Deferred[Any]]
) -> BuiltIn:
    """The views of a worker: whichever of them is asked, its parent shows the whole.

    Args:
        ask: asks the parent for the view at a path, with a few values of the environ.
    """
    paths = [METRICS] if front_end.metrics else []
    if front_end.status_views:
        paths += [HEALTH, READY, THREADS]
    tally = ResponseTally(BUCKETS) if front_end.metrics else None
    return BuiltIn({path: AskingView(_asking(path, ask)) for path in paths}, False, tally)


def show(view: View, environ: Mapping[str, str]) -> Shown:
    """Call a view for another process."""
    shown: Shown = {"status": "", "headers": [], "body": ""}

    def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
        shown["status"], shown["headers"] = status, [list(header) for header in headers]

    whole: dict[str, Any] = {
        **{"REQUEST_METHOD": "GET", "QUERY_STRING": "", "SCRIPT_NAME": "", "PATH_INFO": ""},
        **{"SERVER_NAME": "localhost", "SERVER_PORT": "0", "wsgi.url_scheme": "http"},
        **{"wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO()},
        **environ,
    }
    shown["body"] = b"".join(view(whole, start_response)).decode("latin-1")
    return shown


def load_metrics() -> type[Metrics]:
    """The class that shows metrics.

    Raises:
        ConfigurationError: what it needs is not installed.
    """
    try:
        # Only here: its library is an extra.
        from zkservice.service.metrics import Metrics
    except ImportError:
        raise ConfigurationError(
            "--metrics needs prometheus-client: pip install 'zkservice[metrics]'"
        ) from None
    return Metrics


def _asking(
    path: str, ask: Callable[[str, dict[str, str]], Deferred[Any]]
) -> Callable[[dict[str, Any]], Deferred[View]]:
    def asked(environ: dict[str, Any]) -> Deferred[View]:
        passed_on: dict[str, str] = {name: environ[name] for name in _PASSED_ON if name in environ}
        return ask(path, passed_on).addCallback(_shown)

    asked.__name__ = path
    return asked


def _shown(shown: Shown) -> View:
    """A view that shows what another process has answered."""

    def view(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response(shown["status"], [(name, value) for name, value in shown["headers"]])
        return [shown["body"].encode("latin-1")]

    return view
