"""The fields of a log event, as values that JSON has: for logs that programs read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from string import Formatter
from typing import Any, Final

from twisted.logger import LogEvent

__all__ = ["event_fields", "plain_fields"]

#: Fields of one event, and characters of a name and of a value.
_MAX_FIELDS: Final = 32
_MAX_NAME: Final = 64
_MAX_VALUE: Final = 2000
#: Fields that are kept although no format names them.
_ALWAYS: Final = ("request_id", "trace_id", "span_id")
#: Fields that are left out, because they are texts that are logged separately.
_NEVER: Final = ("stack", "log_text", "log_io", "text")


def event_fields(event: LogEvent) -> dict[str, Any]:
    """The fields that an event's format names, and no others: those may hold anything."""
    try:
        names = [*_names(str(event.get("log_format") or "")), *_ALWAYS]
    except ValueError:  # an invalid format; Twisted shows what it can
        names = [*_ALWAYS]
    return plain_fields({name: event[name] for name in names if name in event})


def plain_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields with bounded values that JSON has."""
    shown = list(fields.items())[:_MAX_FIELDS]
    return {str(name)[:_MAX_NAME]: _plain(value) for name, value in shown}


def _names(log_format: str) -> Iterator[str]:
    for _, name, _, _ in Formatter().parse(log_format):
        root = (name or "").partition(".")[0].partition("[")[0].removesuffix("()")
        if root and root not in _NEVER:
            yield root


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < 1 << 63:
        return value
    if isinstance(value, float) and isfinite(value):
        return value
    try:
        return str(value)[:_MAX_VALUE]
    except Exception:  # noqa: BLE001 - the value is an object of the application
        return f"({type(value).__name__})"
