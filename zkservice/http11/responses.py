"""Check and frame what an application returns: response heads, chunks, error pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from enum import Enum, auto
from http import HTTPStatus
from typing import Final

from zkservice.errors import BadResponseError

__all__ = ["LAST_CHUNK", "CheckedHead", "Framing", "Head", "HeadWriter", "chunk", "error_page"]

_STATUS: Final = re.compile(r"([2-9][0-9]{2}) [\t\x20-\x7e\x80-\xff]*")
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

#: RFC 9110 7.6.1 and PEP 3333: fields of the connection, which only the server may set.
_HOP_BY_HOP: Final = frozenset(
    {
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    }
)
#: Statuses whose responses have no content, whatever the application returns.
_BODILESS: Final = frozenset({204, 205, 304})

#: Checked heads that are cached, and bytes of header fields from which a head is not cached.
_MAX_CHECKED: Final = 512
_LONGEST_CHECKED: Final = 1024

LAST_CHUNK: Final = b"0\r\n\r\n"


class Framing(Enum):
    """How the client learns where the body ends (RFC 9112 6.3)."""

    NO_BODY = auto()  #: HEAD, 204, 205, 304: whatever the application returns is dropped
    LENGTH = auto()
    CHUNKED = auto()
    CLOSE = auto()


class _Kind(Enum):
    """The header fields that change how the server writes the rest of the head."""

    LENGTH = auto()
    CONNECTION = auto()
    DATE = auto()
    SERVER = auto()
    REQUEST_ID = auto()


_KINDS: Final = {
    "content-length": _Kind.LENGTH,
    "connection": _Kind.CONNECTION,
    "date": _Kind.DATE,
    "server": _Kind.SERVER,
    "x-request-id": _Kind.REQUEST_ID,
}


class CheckedHead:
    """A status and header fields that were checked, not yet framed.

    ``HeadWriter.check`` caches it for later responses, so others must not change it.
    """

    __slots__ = (
        "close",
        "code",
        "fields",
        "has_date",
        "has_request_id",
        "has_server",
        "length",
        "length_line",
        "status_line",
    )

    def __init__(self, code: int, status_line: bytes) -> None:
        self.code = code
        self.status_line = status_line
        #: The header fields, ready to be sent, without ``length_line``.
        self.fields = b""
        #: The application's Content-Length; None without one.
        self.length: int | None = None
        self.length_line = b""
        self.close = False
        #: Whether the application sets ``Date``, ``Server`` and ``X-Request-ID`` itself.
        self.has_date = self.has_server = self.has_request_id = False


@dataclass
class Head:
    """A response head, ready to be sent, and how the body must follow."""

    __slots__ = ("data", "framing", "keep_alive", "length")

    data: bytes
    framing: Framing
    #: The body's length that the head announces; None if it announces none.
    length: int | None
    keep_alive: bool


class HeadWriter:
    """Checks and writes response heads.  Not thread-safe: it caches checked heads.

    Args:
        server: the ``Server`` field of responses in which the application does not set it.
        now: seconds since the epoch.
    """

    def __init__(self, server: str, now: Callable[[], float]) -> None:
        self._server = f"Server: {server}\r\n".encode("latin-1")
        self._now = now
        self._second = -1
        self._date = b""
        self._known: dict[tuple[object, ...], CheckedHead] = {}

    def check(self, status: str, headers: list[tuple[str, str]]) -> CheckedHead:
        """Check what ``start_response`` was given.

        Raises:
            BadResponseError: it is not what PEP 3333 allows, or would be unsafe to send.
        """
        try:
            if not isinstance(headers, list):
                raise TypeError
            key = (status, *headers)
            checked = self._known.get(key)
            if checked is None:
                checked = _check(status, headers)
                if len(self._known) == _MAX_CHECKED:
                    self._known.clear()
                if len(checked.fields) < _LONGEST_CHECKED:
                    self._known[key] = checked
        except TypeError:
            raise BadResponseError(
                f"the status must be a string and the headers a list of (name, value) "
                f"tuples of strings, not {status!r} and {headers!r}"
            ) from None
        return checked

    def head(
        self,
        checked: CheckedHead,
        method: str,
        protocol: str,
        keep_alive: bool,
        body_length: int | None,
    ) -> Head:
        """Decide the framing and write the head.

        Args:
            checked: the application's status and fields.
            method: the request's.
            protocol: the request's; a response to HTTP/1.0 has no chunks.
            keep_alive: whether the connection could serve another request.
            body_length: the body's bytes if they are all known, else None.
        """
        extra = checked.length_line
        length = checked.length
        if method == "HEAD" or checked.code in _BODILESS:
            framing = Framing.NO_BODY
            if checked.code == 204:
                extra = b""  # RFC 9110 8.6: no length in a 204
            elif checked.code == 205:
                extra = b"Content-Length: 0\r\n"  # RFC 9110 15.3.6: an explicit empty body
            elif method == "HEAD" and length is None and body_length:
                extra = b"Content-Length: %d\r\n" % body_length
            length = None
        elif length is not None:
            framing = Framing.LENGTH
        elif body_length is not None:
            framing, length = Framing.LENGTH, body_length
            extra = b"Content-Length: %d\r\n" % body_length
        elif protocol == "HTTP/1.1":
            framing, extra = Framing.CHUNKED, b"Transfer-Encoding: chunked\r\n"
        else:
            framing = Framing.CLOSE
        keep_alive = keep_alive and not checked.close and framing is not Framing.CLOSE
        if not keep_alive:
            extra += b"Connection: close\r\n"
        elif protocol == "HTTP/1.0":
            extra += b"Connection: keep-alive\r\n"
        data = b"".join(
            (
                checked.status_line,
                b"" if checked.has_server else self._server,
                b"" if checked.has_date else self._date_line(),
                checked.fields,
                extra,
                b"\r\n",
            )
        )
        return Head(data, framing, length, keep_alive)

    def _date_line(self) -> bytes:
        now = self._now()
        if int(now) != self._second:
            self._second = int(now)
            self._date = f"Date: {formatdate(now, usegmt=True)}\r\n".encode("ascii")
        return self._date


def _check(status: str, headers: list[tuple[str, str]]) -> CheckedHead:
    match = _STATUS.fullmatch(status)
    if match is None:
        raise BadResponseError(f"a status must be like '200 OK', not {status!r}")
    # joined, not formatted: a subclass of str may format itself as something unchecked
    checked = CheckedHead(int(match[1]), "".join(("HTTP/1.1 ", status, "\r\n")).encode("latin-1"))
    lines: list[str] = []
    for item in headers:
        if type(item) is not tuple or len(item) != 2:
            raise TypeError
        name, value = item
        _check_field(name, value)
        kind = _KINDS.get(name.lower())
        if kind is not None:
            _note(checked, kind, name, value)
        if kind is not _Kind.CONNECTION and kind is not _Kind.LENGTH:
            lines += (name, ": ", value, "\r\n")
    checked.fields = "".join(lines).encode("latin-1")
    return checked


def _check_field(name: str, value: str) -> None:
    if not _NAME.fullmatch(name):
        raise BadResponseError(f"a header name must be a token, not {name!r}")
    if not _VALUE.fullmatch(value):
        raise BadResponseError(
            f"the header {name} has a control or non-latin-1 character: {value!r}"
        )
    if name.lower() in _HOP_BY_HOP:
        raise BadResponseError(f"only the server may set the header {name}, not the application")


def _note(checked: CheckedHead, kind: _Kind, name: str, value: str) -> None:
    """Note in the checked head what a field means for the server."""
    if kind is _Kind.LENGTH:
        length = value.strip(" \t")
        if not (length.isascii() and length.isdecimal() and len(length) < 20):
            raise BadResponseError(f"Content-Length must be a number, not {value!r}")
        if checked.length is not None:
            raise BadResponseError("Content-Length occurs twice")
        checked.length = int(length)
        checked.length_line = "".join((name, ": ", str(checked.length), "\r\n")).encode("ascii")
    elif kind is _Kind.CONNECTION:
        if value.strip(" \t").lower() != "close":
            raise BadResponseError("the only Connection an application can ask for is close")
        checked.close = True
    elif kind is _Kind.DATE:
        checked.has_date = True
    elif kind is _Kind.REQUEST_ID:
        checked.has_request_id = True
    else:
        checked.has_server = True


def chunk(data: bytes) -> tuple[bytes, bytes, bytes]:
    """A chunk of a chunked body (RFC 9112 7.1) in three parts; ``data`` is not empty."""
    return b"%x\r\n" % len(data), data, b"\r\n"


def error_page(
    status: int, rule: str, headers: Sequence[tuple[str, str]] = ()
) -> tuple[str, list[tuple[str, str]], bytes]:
    """Status, headers and body of a plain text page that says what was wrong."""
    line = f"{status} {HTTPStatus(status).phrase}"
    body = f"{line}\n\n{rule}\n".encode("utf-8", "replace")
    content = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
    ]
    return line, [*content, *headers], body
