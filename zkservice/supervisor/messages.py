"""The messages between a parent and its workers, one class each.

A message is a JSON object with the class's name as ``type`` and the fields.  The first message of
each side carries `VERSION`: after an upgrade a parent may have workers of another release for a
moment, and must not guess what a message means.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final

from zkservice.errors import MessageError

__all__ = [
    "MAX_MESSAGE",
    "VERSION",
    "Ask",
    "Beat",
    "Closed",
    "Drain",
    "Failed",
    "Hello",
    "LogLine",
    "Message",
    "Reopen",
    "Reply",
    "Serve",
    "Serving",
    "decode",
    "encode",
]

#: The version of the messages below: raise it when a field changes its meaning.
VERSION: Final = 1
#: Bytes of one message: enough for the stacks of a thousand threads.
MAX_MESSAGE: Final = 1 << 22
#: The largest number in a field.
_MAX_INT: Final = 1 << 63
_LEVELS: Final = frozenset({"debug", "info", "warn", "error", "critical"})


class Message:
    """The base of all messages."""


@dataclass(frozen=True)
class Hello(Message):
    """Worker to parent, first: the process runs, and uses this version of the messages."""

    pid: int
    version: int = VERSION


@dataclass(frozen=True)
class Serve(Message):
    """Parent to worker, first: load the application and serve it."""

    name: str  #: the worker's name, for logs
    settings: dict[str, Any]  #: passed on to the service; not read here
    version: int = VERSION


@dataclass(frozen=True)
class Serving(Message):
    """Worker to parent: the application is loaded, connections may come."""


@dataclass(frozen=True)
class Failed(Message):
    """Worker to parent: the worker cannot serve, and ends."""

    reason: str  #: one line


@dataclass(frozen=True)
class Beat(Message):
    """Worker to parent, periodically: the reactor runs."""

    requests: int  #: since its start
    in_service: int  #: requests that run or wait for a thread
    rss: int  #: bytes of memory
    figures: dict[str, Any] = field(default_factory=dict)  #: the service's other counters

    def with_figures(self, figures: dict[str, Any]) -> Beat:
        """A copy with newer figures."""
        return replace(self, figures=figures)


@dataclass(frozen=True)
class Closed(Message):
    """Worker to parent: so many more of its connections are closed."""

    count: int


@dataclass(frozen=True)
class Drain(Message):
    """Parent to worker: finish running requests, close every connection, and end."""

    timeout: float  #: seconds; requests that run longer are cut off


@dataclass(frozen=True)
class Reopen(Message):
    """Parent to worker: log files were renamed; open new ones."""


@dataclass(frozen=True)
class LogLine(Message):
    """Worker to parent: an entry for the service's log."""

    level: str  #: ``debug``, ``info``, ``warn``, ``error`` or ``critical``
    namespace: str
    text: str
    stack: str = ""  #: a traceback or the stacks of threads, if there is one
    fields: dict[str, Any] = field(default_factory=dict)  #: the values that the text was made of


@dataclass(frozen=True)
class Ask(Message):
    """Either way: a request, which gets a `Reply` of the same number."""

    number: int
    what: str
    arguments: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Reply(Message):
    """The reply to an `Ask`."""

    number: int
    value: Any = None
    error: str = ""  #: why there is no value


_TYPES: Final[dict[str, type[Message]]] = {
    each.__name__: each
    for each in (
        *(Hello, Serve, Serving, Failed, Beat, Closed, Drain, Reopen, LogLine, Ask, Reply),
    )
}
#: The JSON types that a field's annotation allows; ``Any`` allows all.
_JSON_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "int": (int,),
    "str": (str,),
    "float": (int, float),
    "list[Any]": (list,),
    "dict[str, Any]": (dict,),
}


def encode(message: Message) -> bytes:
    """The message as bytes.

    Raises:
        MessageError: it is larger than `MAX_MESSAGE`.
    """
    values = asdict(message)  # type: ignore[call-overload]
    data = json.dumps({"type": type(message).__name__, **values}).encode()
    if len(data) > MAX_MESSAGE:
        raise MessageError(f"a {type(message).__name__} of {len(data)} bytes is too large")
    return data


def decode(data: bytes) -> Message:
    """The message that the bytes hold.

    Raises:
        MessageError: the bytes are not a message of this version.
    """
    try:
        values = json.loads(data)
        kind = _TYPES[values.pop("type")]
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
        raise MessageError(f"{data[:80]!r} is not a message") from None
    known = {each.name: str(each.type) for each in fields(kind)}  # type: ignore[arg-type]
    for name, value in values.items():
        allowed = _JSON_TYPES.get(known.get(name, "no field"))
        if (
            name not in known
            or (allowed is not None and not isinstance(value, allowed))
            or (known[name] == "int" and not 0 <= value <= _MAX_INT)
            or (name == "level" and value not in _LEVELS)
        ):
            raise MessageError(f"{kind.__name__}.{name} is invalid: {str(value)[:80]!r}")
    try:
        return kind(**values)
    except TypeError:  # a field is missing
        raise MessageError(f"a {kind.__name__} without all of its fields") from None
