"""Recent events: errors with their counts, and changes of the session."""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["ErrorCounts", "Happening", "Happenings", "LoggedError"]

#: The most kinds of errors that are kept, and characters of each.
_MAX_KINDS: Final = 50
_MAX_TEXT: Final = 240
_MAX_HAPPENINGS: Final = 30
_LEVELS: Final = frozenset({LogLevel.warn, LogLevel.error, LogLevel.critical})
#: What may follow the path of a request.
_QUERY: Final = re.compile(r"\?\S*")
_NUMBER: Final = re.compile(r"\d+(\.\d+)?|0x[0-9a-f]+")
_PLACE: Final = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')
#: Loggers whose messages contain nothing of a request but its method and path.
_OWN_LOGGERS: Final = ("zkservice.", "twisted.")


@dataclass
class LoggedError:
    """Errors of one kind.

    Attributes:
        at: when the last one was logged, in seconds since the epoch.
        text: of the last one, without text from the application or a client.
        place: where the application has raised the exception, if it has.
    """

    level: str
    source: str
    text: str
    place: str
    at: float
    count: int = 0


@implementer(ILogObserver)
class ErrorCounts:
    """Counts warnings and errors of the log by their kinds; a log observer.

    The messages of exceptions and what the application has logged may hold secrets of requests, so
    only their type and place are kept.
    """

    def __init__(self) -> None:
        self._kinds: OrderedDict[tuple[str, str, str], LoggedError] = OrderedDict()
        #: Errors of all kinds, including those that are no longer kept.
        self.total = 0

    def __call__(self, event: LogEvent) -> None:
        """Count an event."""
        level = event.get("log_level")
        if level is None or level not in _LEVELS:
            return
        self.total += 1
        source = str(event.get("log_namespace", "-"))[:_MAX_TEXT]
        text, place = _described(event, source)
        key = source, _NUMBER.sub("0", text), place
        kind = self._kinds.pop(key, None) or LoggedError(level.name, source, text, place, 0.0)
        kind.text, kind.at, kind.count = text, event.get("log_time", 0.0), kind.count + 1
        self._kinds[key] = kind
        if len(self._kinds) > _MAX_KINDS:
            self._kinds.popitem(last=False)

    def latest(self) -> list[LoggedError]:
        """The kinds, the latest first."""
        return list(reversed(self._kinds.values()))


def _described(event: LogEvent, source: str) -> tuple[str, str]:
    """The text of an event that may be shown, and where it came from."""
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        return _one_line(event), _place_of(failure)
    stack = event.get("stack")  # of a worker process
    place = _place_in(stack) if isinstance(stack, str) else ""
    if not source.startswith(_OWN_LOGGERS):
        return "a message of the application; see the log", place
    return _one_line(event), place


def _one_line(event: LogEvent) -> str:
    lines = (formatEvent(event) or "").splitlines()
    text = _QUERY.sub("", lines[0]) if lines else ""
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."


def _place_in(stack: str) -> str:
    """The place of a failure that is a text, as worker processes send it."""
    found = _PLACE.findall(stack)
    if not found:
        return ""
    name = stack.strip().splitlines()[-1].partition(":")[0].rpartition(".")[2]
    kind = name if name.isidentifier() else "an exception"
    return "{} at {}:{} in {}".format(kind, *found[-1])


def _place_of(failure: Failure) -> str:
    name = getattr(failure.type, "__name__", "an exception")
    if not failure.frames:
        return name
    function, file, line = failure.frames[-1][:3]
    return f"{name} at {file}:{line} in {function}"


@dataclass(frozen=True)
class Happening:
    """Something that has happened.

    Attributes:
        at: seconds since the epoch.
        good: None if it is neither good nor bad.
    """

    at: float
    text: str
    good: bool | None = None


class Happenings:
    """The latest happenings, up to a limit.

    Args:
        now: returns seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._kept: deque[Happening] = deque(maxlen=_MAX_HAPPENINGS)

    def add(self, text: str, good: bool | None = None) -> None:
        """Record that something has happened now."""
        self._kept.append(Happening(self._now(), text, good))

    def latest(self) -> list[Happening]:
        """The latest first."""
        return list(reversed(self._kept))
