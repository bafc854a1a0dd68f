"""The HTTP front end as a user asks for it: limits, views, proxies, logs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from zkservice.errors import ConfigurationError
from zkservice.service.application import Application
from zkservice.service.figures import Figures
from zkservice.service.import_by_name import load_callable, wsgi_problem
from zkservice.service.readiness import READY, ready_view
from zkservice.web import (
    AccessLog,
    HTTPFactory,
    Limits,
    LogFile,
    TraceLog,
    TrustedProxies,
    View,
    Workers,
    printable,
)

if TYPE_CHECKING:
    from zkservice.service.metrics import Metrics

#: Where Prometheus looks.
METRICS: Final = "/-/metrics"

#: As a log's path: the standard library's logger of zc.zservertracelog.
TRACE_LOGGER = "logger:zc.tracelog"


@dataclass(frozen=True)
class FrontEnd:
    """What the front end is to do beside running the application.

    Attributes:
        views: pairs of a raw path and the dotted name of a WSGI callable that answers in
            the reactor.
        status_views: whether ``/-/health``, ``/-/ready`` and ``/-/threads`` are answered.
        metrics: whether ``/-/metrics`` is answered, for Prometheus.
        access_log, trace_log: a file's path, ``-`` for standard output, None for none.
        access_style: ``combined`` or ``json``.
    """

    limits: Limits = field(default_factory=Limits)
    views: tuple[tuple[str, str], ...] = ()
    status_views: bool = False
    metrics: bool = False
    proxies: TrustedProxies | None = None
    access_log: str | None = None
    access_style: str = "combined"
    trace_log: str | None = None


class Logs:
    """The files of a front end, which can be opened again after they were moved away."""

    def __init__(self, front_end: FrontEnd) -> None:
        self.access: AccessLog | None = None
        self.trace: TraceLog | None = None
        try:
            if front_end.access_log is not None:
                self.access = AccessLog(LogFile(front_end.access_log), front_end.access_style)
            if front_end.trace_log is not None:
                self.trace = TraceLog(_writer(front_end.trace_log))
        except OSError as error:
            raise ConfigurationError(
                f"the log file {error.filename} cannot be written: {error.strerror}"
            ) from None

    def reopen(self) -> None:
        """Go on in new files."""
        for log in (self.access, self.trace):
            if log is not None:
                log.reopen()


class _LoggerWriter:
    """Lines to a logger of the standard library, whose handlers say where they go."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def write(self, line: str) -> None:
        self._logger.info("%s", printable(line))

    def reopen(self) -> None:
        """The handlers' business."""


def _writer(path: str) -> Any:
    kind, _, name = path.partition(":")
    return _LoggerWriter(name) if kind == "logger" else LogFile(path)


def make_factory(
    front_end: FrontEnd,
    application: Application,
    workers: Workers,
    logs: Logs,
    reactor: Any,
    figures: Callable[[], Figures],
    why_not_ready: Callable[[], str],
) -> HTTPFactory:
    """The factory for all ports.

    Args:
        figures: returns the state of everything, for metrics.
        why_not_ready: returns why the process should get no requests; "" if it should.

    Raises:
        ConfigurationError: a view cannot be found, or what the metrics need is not installed.
    """
    views: dict[str, View] = {}
    metrics = _metrics(figures) if front_end.metrics else None
    if metrics is not None:
        views[METRICS] = metrics.view
    if front_end.status_views:
        views[READY] = ready_view(why_not_ready)
    views.update((path, _view(path, name)) for path, name in front_end.views)
    return HTTPFactory(
        application,
        workers,
        reactor=reactor,
        limits=front_end.limits,
        views=views,
        status_views=front_end.status_views,
        proxies=front_end.proxies,
        access_log=logs.access,
        trace_log=logs.trace,
        tally=None if metrics is None else metrics.tally,
    )


def _metrics(figures: Callable[[], Figures]) -> Metrics:
    try:
        # Only here: its library is an extra.
        from zkservice.service.metrics import Metrics
    except ImportError:
        raise ConfigurationError(
            "--metrics needs prometheus-client: pip install 'zkservice[metrics]'"
        ) from None
    return Metrics(figures)


def _view(path: str, name: str) -> Any:
    found = load_callable(name, f"the view {name} for {path}")
    if problem := wsgi_problem(found):
        raise ConfigurationError(
            f"the view {name} for {path} {problem}; "
            "zkservice.web.TextView makes a view of a function that returns text"
        )
    return found
