"""The HTTP factory of an application, with its log files and views."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zkservice.errors import ConfigurationError
from zkservice.service.application.import_by_name import load_callable, wsgi_problem
from zkservice.service.application.load import Application
from zkservice.service.config import FrontEnd
from zkservice.web import (
    AccessLog,
    HTTPFactory,
    HTTPServer,
    LogFile,
    ResponseTally,
    TraceLog,
    View,
    Workers,
    printable,
)

#: A log path that stands for a logger of the standard library: the one of zc.zservertracelog.
TRACE_LOGGER = "logger:zc.tracelog"


class Logs:
    """The log files of a front end."""

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
        """Open the files again after they were renamed."""
        for log in (self.access, self.trace):
            if log is not None:
                log.reopen()


class _LoggerWriter:
    """Writes lines to a logger of the standard library."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def write(self, line: str) -> None:
        self._logger.info("%s", printable(line))

    def reopen(self) -> None:
        """Do nothing: the logger's handlers own their files."""


def _writer(path: str) -> Any:
    kind, _, name = path.partition(":")
    return _LoggerWriter(name) if kind == "logger" else LogFile(path)


@dataclass(frozen=True)
class BuiltIn:
    """The built-in views, and the counter of the responses.

    Attributes:
        views: returns the views for a server, by their paths as the request has them (encoded).
        tally: counts the responses of the server.
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
    """Make the factory for all ports.

    Raises:
        ConfigurationError: a view cannot be loaded.
    """
    users_views = load_views(front_end.views)
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
    factory.server.add_views({**built_in.views(factory.server), **users_views})
    return factory


def load_views(views: Iterable[tuple[str, str]]) -> dict[str, View]:
    """The user's views, by their paths.

    Raises:
        ConfigurationError: a view cannot be imported, or is not a WSGI callable.
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
