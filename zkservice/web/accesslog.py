"""The access log: a line for each response, in the combined format or as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final, Protocol

__all__ = ["AccessLog", "AccessRecord", "AccessSink", "LineWriter"]

#: Not strftime's: those are in the language of the locale.
_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
#: Nearly all addresses; matching is faster than looking for what to escape.
_PLAIN_ADDRESS: Final = re.compile(r"[0-9a-f.:]+")
_UNSAFE: Final = re.compile(r'[^\x20-\x7e]|["\\]')


class LineWriter(Protocol):
    """Where a log's lines go."""

    def write(self, line: str) -> None:
        """Append a line, which has no line end."""
        ...

    def reopen(self) -> None:
        """Go on in a new file."""
        ...


@dataclass(frozen=True)
class AccessRecord:
    """One request and what became of it.  Times are seconds."""

    remote_addr: str
    request: str  #: the request line; "-" if there was none worth the name
    status: int
    body_bytes: int  #: of the response, as far as they were sent
    referer: str
    user_agent: str
    request_id: str
    waited: float  #: for a worker
    application: float  #: in the worker
    sending: float  #: from the worker's end until the client had taken everything
    #: Whether the client did not get all of the response.  It left, or the
    #: application failed.
    aborted: bool = False


class AccessSink(Protocol):
    """Receives every access record."""

    def write(self, record: AccessRecord) -> None:
        """Take a record (reactor thread)."""
        ...


class AccessLog:
    """Writes a line for each record.

    Args:
        file: takes the lines.
        style: ``combined``, Apache's format with the request id and three times added
            (waiting, in the application, sending) and ``complete`` or ``aborted``, or ``json``.
        now: the time, with its zone.

    Raises:
        ValueError: there is no such style.
    """

    def __init__(
        self,
        file: LineWriter,
        style: str = "combined",
        now: Callable[[], datetime] = lambda: datetime.now().astimezone(),
    ) -> None:
        if style not in ("combined", "json"):
            raise ValueError(f"an access log is combined or json, not {style!r}")
        self._file = file
        self._line = _combined if style == "combined" else _json
        self._now = now

    def write(self, record: AccessRecord) -> None:
        """Log a record (reactor thread)."""
        self._file.write(self._line(record, self._now()))

    def reopen(self) -> None:
        """Go on in a new file, after the old one was moved away."""
        self._file.reopen()


def _combined(record: AccessRecord, now: datetime) -> str:
    date = f"{now:%d}/{_MONTHS[now.month - 1]}/{now:%Y:%H:%M:%S %z}"
    return (
        f'{_address(record.remote_addr)} - - [{date}] "{_escaped(record.request)}" {record.status} '
        f'{record.body_bytes} "{_escaped(record.referer)}" "{_escaped(record.user_agent)}" '
        f'"{_escaped(record.request_id)}" '
        f"{record.waited:.6f} {record.application:.6f} {record.sending:.6f} "
        f"{'aborted' if record.aborted else 'complete'}"
    )


def _json(record: AccessRecord, now: datetime) -> str:
    fields = asdict(record)
    for name in ("waited", "application", "sending"):
        fields[name] = round(fields[name], 6)
    # DEL is the one control character that JSON need not escape.
    return json.dumps({"time": now.isoformat(), **fields}).replace("\x7f", "\\u007f")


def _address(text: str) -> str:
    """An address that cannot forge a field: a PROXY header may hold any text instead."""
    if _PLAIN_ADDRESS.fullmatch(text):
        return text
    return _escaped(text).replace(" ", "\\x20").replace('"', "\\x22")


def _escaped(text: str) -> str:
    """Text that cannot forge a field or a line, as Apache writes it."""
    return _UNSAFE.sub(_escape, text) or "-"


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    return f"\\{char}" if char in '"\\' else "".join(f"\\x{byte:02x}" for byte in char.encode())
