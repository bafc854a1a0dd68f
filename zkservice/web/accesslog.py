"""The access log: a line for each response, in the combined format or as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Protocol

__all__ = ["STYLES", "AccessLog", "AccessRecord", "AccessSink", "LineWriter"]

#: English names: strftime's depend on the locale.
_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
#: Matches nearly all addresses; that is faster than searching for characters to escape.
_PLAIN_ADDRESS: Final = re.compile(r"[0-9a-f.:]+")
_UNSAFE: Final = re.compile(r'[^\x20-\x7e]|["\\]')


class LineWriter(Protocol):
    """Writes the lines of a log."""

    def write(self, line: str) -> None:
        """Append a line, which has no line end."""
        ...

    def reopen(self) -> None:
        """Open the file again after it was renamed."""
        ...


@dataclass(frozen=True)
class AccessRecord:
    """One request and its response.  Times are seconds."""

    remote_addr: str
    request: str  #: the request line; "-" if there was no valid one
    status: int
    body_bytes: int  #: bytes of the response's body that were sent
    referer: str
    user_agent: str
    request_id: str
    waited: float  #: for a worker
    application: float  #: in the worker
    sending: float  #: from the worker's end until the client had taken everything
    #: Whether the client did not get all of the response.  It left, or the
    #: application failed.
    aborted: bool = False
    trace_id: str = ""  #: from a valid ``traceparent``
    span_id: str = ""  #: the client's span, from the same field
    request_bytes: int = 0  #: bytes of the request's body
    scheme: str = ""  #: blank where there was no valid request
    server: tuple[str, str] = ("", "")  #: the address and the port that the client has connected to


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
            (waiting, in the application, sending) and ``complete`` or ``aborted``; ``json``; or
            ``otel``, JSON with OpenTelemetry's names.
        now: returns the time with its zone.

    Raises:
        ValueError: there is no such style.
    """

    def __init__(
        self,
        file: LineWriter,
        style: str = "combined",
        now: Callable[[], datetime] = lambda: datetime.now().astimezone(),
    ) -> None:
        if style not in STYLES:
            raise ValueError(f"an access log is one of {', '.join(STYLES)}, not {style!r}")
        self._file = file
        self._line = STYLES[style]
        self._now = now

    def write(self, record: AccessRecord) -> None:
        """Log a record (reactor thread)."""
        self._file.write(self._line(record, self._now()))

    def reopen(self) -> None:
        """Open the file again after it was renamed."""
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
    for name in ("span_id", "scheme", "server"):
        del fields[name]
    for name in ("waited", "application", "sending"):
        fields[name] = round(fields[name], 6)
    return _one_line({"time": now.isoformat(), **fields})


def _otel(record: AccessRecord, now: datetime) -> str:
    """The record by OpenTelemetry's semantic conventions for HTTP, without unknown values."""
    method, _, rest = record.request.partition(" ")
    target, _, protocol = rest.rpartition(" ")
    path, _, query = target.partition("?")
    address, port = record.server
    waited, application, sending = record.waited, record.application, record.sending
    fields: dict[str, Any] = {
        "timestamp": now.isoformat(),
        "trace_id": record.trace_id,
        "span_id": record.span_id,
        "http.request.method": method,
        "url.path": path,
        "url.query": query,
        "url.scheme": record.scheme,
        "network.protocol.name": "http" if protocol else "",
        "network.protocol.version": protocol.removeprefix("HTTP/"),
        "http.response.status_code": record.status,
        "http.request.body.size": record.request_bytes,
        "http.response.body.size": record.body_bytes,
        "http.server.request.duration": round(waited + application + sending, 6),
        "error.type": str(record.status) if record.status >= 500 else "",
        "client.address": record.remote_addr,
        "server.address": address,
        "server.port": int(port) if port.isdecimal() else "",
        "user_agent.original": record.user_agent,
        "http.request.header.referer": [record.referer] if record.referer else "",
        "http.request.header.x-request-id": [record.request_id] if record.request_id else "",
        "zkservice.wait.duration": round(waited, 6),
        "zkservice.application.duration": round(application, 6),
        "zkservice.send.duration": round(sending, 6),
        "zkservice.aborted": record.aborted,
    }
    return _one_line({name: value for name, value in fields.items() if value != ""})


def _one_line(fields: dict[str, Any]) -> str:
    # DEL is the one control character that JSON need not escape.
    return json.dumps(fields).replace("\x7f", "\\u007f")


def _address(text: str) -> str:
    """An address, escaped if it is not one: a PROXY header may contain any text."""
    if _PLAIN_ADDRESS.fullmatch(text):
        return text
    return _escaped(text).replace(" ", "\\x20").replace('"', "\\x22")


def _escaped(text: str) -> str:
    """A text escaped as by Apache, so that it cannot forge a field or a line."""
    return _UNSAFE.sub(_escape, text) or "-"


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    return f"\\{char}" if char in '"\\' else "".join(f"\\x{byte:02x}" for byte in char.encode())


#: Functions that make the line of a record, by the style.
STYLES: Final[dict[str, Callable[[AccessRecord, datetime], str]]] = {
    "combined": _combined,
    "json": _json,
    "otel": _otel,
}
