"""twistd's own log as JSON: one object a line, which log pipelines read without patterns."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LegacyLogObserverWrapper,
    LogEvent,
    Logger,
    LogLevel,
    formatEvent,
)
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from zkservice.errors import ConfigurationError
from zkservice.privates import replace_twistd_logger, twistd_observer
from zkservice.supervisor.log_fields import event_fields, plain_fields
from zkservice.web import current_request

__all__ = [
    "FormattedEvents",
    "JSONFormat",
    "LoggingToEvents",
    "log_as_json",
    "with_request",
]


class JSONFormat:
    """Makes the line of an event; everything that is not ASCII is escaped in it."""

    def __call__(self, event: LogEvent) -> str | None:
        """One JSON object with a line end; None if the event has no text."""
        text, stack = _text_and_stack(event)
        if not text and not stack:
            return None
        level = event.get("log_level")
        shown: dict[str, Any] = {
            "time": _time(event.get("log_time", 0.0)),
            "level": getattr(level, "name", "info"),
            "component": str(event.get("log_namespace") or event.get("log_system") or "-"),
            "event": text,
            "fields": {
                **plain_fields(event.get("worker_fields", {})),
                **event_fields(with_request(event)),
            },
        }
        if stack:
            shown["stack"] = stack
        # DEL is the one control character that JSON need not escape.
        return json.dumps(shown).replace("\x7f", "\\u007f") + "\n"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")


def _text_and_stack(event: LogEvent) -> tuple[str, str]:
    """The sentence of an event, and the lines of code that it shows."""
    text = formatEvent(event)
    failure = event.get("log_failure") or event.get("failure")
    if failure is not None:
        if "log_failure" not in event:  # of Twisted's older log.err: the text has the traceback
            text = str(event.get("why") or "Unhandled Error")
        return text, failure.getTraceback()
    if "stack" in event:
        return text.partition("\n")[0], str(event["stack"])
    return text, ""


def with_request(event: LogEvent) -> LogEvent:
    """The event with the ids of the request that this thread is working on."""
    request = current_request()
    if request is None:
        return event
    ids = {name: value for name, value in request._asdict().items() if value}
    return {**ids, **event}


@implementer(ILogObserver)
class FormattedEvents:
    """Passes events on to another observer as finished text, in a format of its own.

    The other observer gets none of the fields from which it would make a text itself.

    Args:
        observer: gets the events, such as that of syslog.
        format_event: makes the text.
    """

    def __init__(
        self, observer: Callable[[LogEvent], None], format_event: Callable[[LogEvent], str | None]
    ) -> None:
        self._observer = observer
        self._format_event = format_event

    def __call__(self, event: LogEvent) -> None:
        """Pass an event on."""
        text = self._format_event(event)
        if text is None:
            return
        kept: LogEvent = {
            name: event[name]
            for name in ("log_level", "log_namespace", "log_system", "log_time", "isError")
            if name in event
        }
        self._observer({**kept, "log_format": "{log_text}", "log_text": text.rstrip("\n")})


def log_as_json(options: Any) -> None:
    """Have twistd write its log as JSON, from the first line on.

    To be called while twistd parses its command line: its log begins after that.

    Args:
        options: of twistd.

    Raises:
        ConfigurationError: twistd was given an observer, whose format is its own.
    """
    if options.get("logger"):
        raise ConfigurationError("twistd's --logger has a format of its own; leave one of them out")

    def make() -> Any:
        """twistd's observer: to a file, standard output or syslog."""
        observer = twistd_observer(options)
        if isinstance(observer, FileLogObserver):
            observer.formatEvent = JSONFormat()
            return observer
        return FormattedEvents(LegacyLogObserverWrapper(observer), JSONFormat())

    replace_twistd_logger(options, lambda _: make)


class LoggingToEvents(logging.Handler):
    """Gives the records of the standard library's ``logging`` to twistd's log, as events."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - the arguments do not fit, as for any other handler
            self.handleError(record)
            return
        level = LogLevel.lookupByName("warn" if record.levelno >= logging.WARNING else "info")
        if record.levelno >= logging.ERROR:
            level = LogLevel.error
        elif record.levelno < logging.INFO:
            level = LogLevel.debug
        fields: dict[str, Any] = {"message": message}
        if record.exc_info and record.exc_info[1] is not None:
            kind, error, trace = record.exc_info
            fields["log_failure"] = Failure(error, kind, trace)
        Logger(namespace=record.name).emit(level, "{message}", **fields)
