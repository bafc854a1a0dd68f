"""The standard library's `logging`, and twistd's log file."""

from __future__ import annotations

import logging
import os
import re
import traceback
from collections.abc import Callable
from copy import copy
from typing import Any, Final

from twisted.logger import (
    ILogObserver,
    LegacyLogObserverWrapper,
    LogEvent,
    LogPublisher,
    eventAsText,
    formatEvent,
)
from typing_extensions import override
from zope.interface import implementer

from zkservice.errors import ConfigurationError
from zkservice.privates import file_observers, log_files, replace_twistd_logger, twistd_observer
from zkservice.service.process.json_log import FormattedEvents, JSONFormat, LoggingToEvents
from zkservice.web import printable


def configure_loggers(text: str, *, as_events: bool = False) -> None:
    """Configure `logging`.

    Args:
        text: a level's name; or a ZConfig text, in which ``$$(`` is ``%(``; or the path of
            a file with one.
        as_events: with a level's name, make an event of each record instead of a line on
            standard error; not where Twisted's log goes to `logging` itself.

    Raises:
        ConfigurationError: the text is invalid.
    """
    if not text:
        return
    if os.path.isfile(text):
        with open(text, encoding="utf-8") as file:
            text = file.read()
    if not re.search(r"[<%\n]", text):  # ZConfig text has sections or directives
        level = logging.getLevelName(text.strip().upper())
        if not isinstance(level, int):
            raise ConfigurationError(
                f"loggers = {text!r} is invalid: expected a level such as INFO, a file, or a "
                "ZConfig text"
            )
        handler: logging.Handler = LoggingToEvents() if as_events else logging.StreamHandler()
        if not as_events:
            handler.setFormatter(RecordLines(logging.BASIC_FORMAT))
        logging.basicConfig(handlers=[handler])
        logging.getLogger().setLevel(level)  # pserve may have configured it before
        return
    try:
        from ZConfig import ConfigurationError as ZConfigError
        from ZConfig import configureLoggers
    except ImportError:
        raise ConfigurationError(
            "loggers is a ZConfig text, which needs ZConfig: pip install 'zkservice[paste]'"
        ) from None
    try:
        configureLoggers(text.replace("$$(", "%("))
    except ZConfigError as error:
        raise ConfigurationError(f"loggers: {error}") from None


#: Characters of a logger's name that an operator may write, and the highest number of a level.
_MAX_NAME: Final = 200
_MAX_LEVEL: Final = 1000
#: Loggers in a process above which operators can add none: `logging` never removes one.
_MAX_LOGGERS: Final = 10_000


def logger_level(name: str, level: str = "") -> str:
    """Return the level of a logger of the standard library, after setting it if given.

    Args:
        name: the logger's name; ``root`` for the root logger.
        level: a level's name or number; ``NOTSET`` for the level of the parent logger.

    Raises:
        ConfigurationError: the name or the level is invalid.
    """
    number = checked_level(name, level)
    known = logging.Logger.manager.loggerDict
    if number is not None:
        if name not in known and len(known) >= _MAX_LOGGERS:
            raise ConfigurationError("there are too many loggers to add one")
        _logger(name).setLevel(number)
    while name not in known and name != "root":  # getLogger would create the logger
        name = name.rpartition(".")[0] or "root"
    return logging.getLevelName(_logger(name).getEffectiveLevel())


def checked_level(name: str, level: str) -> int | None:
    """The number of a level for a logger; None if the level is "".

    Raises:
        ConfigurationError: the name or the level is invalid.
    """
    if len(name) > _MAX_NAME:
        raise ConfigurationError(f"a logger's name must have at most {_MAX_NAME} characters")
    if not level:
        return None
    numeric = level.isascii() and level.isdigit() and len(level) < 6
    number = int(level) if numeric else logging.getLevelName(level.upper())
    if not isinstance(number, int) or number > _MAX_LEVEL:
        raise ConfigurationError(
            f"{level!r} is not a level; write DEBUG, INFO, WARNING, ERROR or NOTSET"
        )
    return number


def _logger(name: str) -> logging.Logger:
    return logging.getLogger(None if name == "root" else name)


def reopen_log_files(publisher: LogPublisher) -> None:
    """Open the log files of a publisher again after they were renamed."""
    for file in log_files(publisher):
        file.reopen()


def escape_log_texts(publisher: LogPublisher) -> None:
    """Have the log files of a publisher show one line of printable text for each event.

    Parts of an event's text may come from a client, from ZooKeeper or from an operator.  A line end
    could forge a record, and ESC could send commands to the terminal that shows the log.
    """
    for observer in file_observers(publisher):
        if not isinstance(observer.formatEvent, (EscapedFormat, JSONFormat)):
            observer.formatEvent = EscapedFormat(observer.formatEvent)


def escape_other_logs(options: Any) -> None:
    """Escape what is not printable in a log of twistd that is no file: syslog, or its ``--logger``.

    To be called while twistd parses its command line: its log begins after that.

    Args:
        options: of twistd.
    """

    def printable_log(make: Callable[[], Any] | None) -> Callable[[], Any] | None:
        if make is not None:
            return lambda: PrintableEvents(_observer(make()))
        if options.get("syslog"):
            return lambda: FormattedEvents(
                LegacyLogObserverWrapper(twistd_observer(options)), EscapedFormat(_with_traceback)
            )
        return None

    replace_twistd_logger(options, printable_log)


def _observer(made: Any) -> Any:
    """The observer that the user's ``--logger`` has made, which may be of Twisted's older kind."""
    return made if ILogObserver.providedBy(made) else LegacyLogObserverWrapper(made)


def _with_traceback(event: LogEvent) -> str:
    return eventAsText(event, includeTimestamp=False, includeSystem=False)


@implementer(ILogObserver)
class PrintableEvents:
    """Passes events on to another observer, with texts that are one line of printable text.

    Events whose text is printable are passed on unchanged, and so are those with a traceback or
    stacks.
    """

    def __init__(self, observer: Callable[[LogEvent], None]) -> None:
        self._observer = observer

    def __call__(self, event: LogEvent) -> None:
        """Pass an event on."""
        text = formatEvent(event)
        if not text.isprintable() and event.keys().isdisjoint(_KEEP_LINES):
            event = {**event, "log_format": "{log_text}", "log_text": printable(text)}
        self._observer(event)


#: Events with one of these keys contain a traceback or stacks.  ``failure`` is the key of Twisted's
#: older ``log.err``, which the reactor calls with the errors of protocols.
_KEEP_LINES: Final = frozenset(("log_failure", "failure", "stack"))


class EscapedFormat:
    """Formats events as another function does, but escapes what is not printable.

    Tracebacks, and the texts of events with a ``stack``, keep their lines.  Each is indented by a
    tab, so that it cannot be taken for a record.
    """

    def __init__(self, format_event: Callable[[LogEvent], str | None]) -> None:
        self._format_event = format_event

    def __call__(self, event: LogEvent) -> str | None:
        """The text of an event with its line end; None to leave the event out."""
        text = self._format_event(event)
        if not text:
            return text
        # Twisted's format has put a tab after each line end except for the last one.
        lines = text.removesuffix("\n").replace("\n\t", "\n")
        if event.keys().isdisjoint(_KEEP_LINES):
            return f"{printable(lines)}\n"
        return "\n\t".join(map(_printable_code, lines.split("\n"))) + "\n"


class RecordLines(logging.Formatter):
    """Formats a record as one line of printable text; those of a traceback begin with a tab.

    twistd makes an event of each line.  An application that logs what a client has sent must not
    have it look like events of its own.
    """

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))

    @override
    def format(self, record: logging.LogRecord) -> str:
        lines = super().format(copy(record)).split("\n")  # other handlers get the record as it is
        return "\n\t".join(map(_printable_code, lines))


class EscapeRecords(logging.Filter):
    """Escapes what is not printable in the records of a logger, before any handler has them."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record, and return True: no record is filtered out."""
        record.msg, record.args = printable(record.getMessage()), None
        if record.exc_info:
            lines = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n").split("\n")
            # A formatter uses this text instead of formatting the exception itself.
            record.exc_text = "\n".join(map(_printable_code, lines))
        return True


def _printable_code(line: str) -> str:
    """A line of a traceback; tabs are the indentation of the code that it shows."""
    return "\t".join(map(printable, line.split("\t")))
