"""The HTTP front end as a user asks for it: limits, views, proxies, logs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zkservice.errors import ConfigurationError
from zkservice.service.application import Application
from zkservice.service.import_by_name import load_callable, wsgi_problem
from zkservice.web import (
    AccessLog,
    HTTPFactory,
    HTTPServer,
    Limits,
    LogFile,
    ResponseTally,
    TraceLog,
    TrustedProxies,
    View,
    Workers,
    printable,
)

#: As a log's path: the standard library's logger of zc.zservertracelog.
TRACE_LOGGER = "logger:zc.tracelog"


@dataclass(frozen=True)
class AdminViews:
    """Where the views for operators are shown, and to whom.

    Attributes:
        listen: endpoints of ports of their own; without one they are at the application's ports.
        allow: who may ask beside this machine, as addresses or in CIDR notation.
        hosts: names under which the service may be asked, beside ``localhost`` and addresses.
    """

    listen: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class DiscoverSettings:
    """Which services ``/-/discover/FORMAT`` shows.

    Attributes:
        enabled: whether it is there; then it shows the own service and those beside it.
        below: other paths that are shown, with everything below them.
    """

    enabled: bool = False
    below: tuple[str, ...] = ()


@dataclass(frozen=True)
class FrontEnd:
    """What the front end is to do beside running the application.

    Attributes:
        views: pairs of a raw path and the dotted name of a WSGI callable that answers in
            the reactor.
        status_views: whether the application's ports have the status page, ``/-/health``,
            ``/-/ready`` and ``/-/threads``.
        admin: who may ask for those of them that are for operators.
        metrics: whether ``/-/metrics`` is answered, for Prometheus.
        discover: which services are shown as proxies read them.
        access_log, trace_log: a file's path, ``-`` for standard output, None for none.
        access_style: ``combined``, ``json`` or ``otel``.
        request_ids: whether each request gets an id.
        slow_request: seconds after which a request is logged with its stack; 0 is never.
    """

    limits: Limits = field(default_factory=Limits)
    views: tuple[tuple[str, str], ...] = ()
    status_views: bool = False
    metrics: bool = False
    admin: AdminViews = field(default_factory=AdminViews)
    discover: DiscoverSettings = field(default_factory=DiscoverSettings)
    proxies: TrustedProxies | None = None
    access_log: str | None = None
    access_style: str = "combined"
    trace_log: str | None = None
    request_ids: bool = False
    slow_request: float = 0.0


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


@dataclass(frozen=True)
class BuiltIn:
    """The built-in views, and what counts the responses.

    Attributes:
        views: makes the views of a server, by the raw path.
    """

    views: Callable[[HTTPServer], Mapping[str, View]]
    tally: ResponseTally = field(default_factory=ResponseTally)


def make_factory(
    front_end: FrontEnd,
    application: Application,
    workers: Workers,
    logs: Logs,
    reactor: Any,
    built_in: BuiltIn,
) -> HTTPFactory:
    """The factory for all ports.

    Raises:
        ConfigurationError: a view cannot be found.
    """
    added = load_views(front_end.views)
    factory = HTTPFactory(
        application,
        workers,
        reactor=reactor,
        limits=front_end.limits,
        proxies=front_end.proxies,
        access_log=logs.access,
        trace_log=logs.trace,
        tally=built_in.tally,
        request_ids=front_end.request_ids,
    )
    factory.server.add_views({**built_in.views(factory.server), **added})
    return factory


def load_views(views: Iterable[tuple[str, str]]) -> dict[str, View]:
    """The users' views, by their paths.

    Raises:
        ConfigurationError: one cannot be found, or called as WSGI has it.
    """
    return {path: _view(path, name) for path, name in views}


def _view(path: str, name: str) -> Any:
    found = load_callable(name, f"the view {name} for {path}")
    if problem := wsgi_problem(found):
        raise ConfigurationError(
            f"the view {name} for {path} {problem}; "
            "zkservice.web.TextView makes a view of a function that returns text"
        )
    return found
