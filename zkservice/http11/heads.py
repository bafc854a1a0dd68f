"""Parse complete request heads into ``Request``, by llhttp's rules and stricter ones.

llhttp (inside httptools) parses the header fields and refuses malformed ones.  ``lines`` parses the
request line.  This module checks the fields that determine the end of the body.
"""

from __future__ import annotations

from io import BytesIO
from typing import IO, Final

from httptools import (
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from zkservice.errors import RequestRefusedError
from zkservice.http11 import rules
from zkservice.http11.head_check import SINGULAR, HeadCheck
from zkservice.http11.hosts import split_host
from zkservice.http11.limits import Limits
from zkservice.http11.lines import RequestLine, RequestLines
from zkservice.http11.names import EnvironNames

__all__ = ["HeadReader", "Request"]

#: Hosts that are cached; bounded, because clients can send any number of different ones.
_MAX_HOSTS: Final = 1024


class Request:
    """A request with its head, and with its body once that is complete."""

    __slots__ = (
        "body",
        "chunked",
        "content_length",
        "expects_continue",
        "fields",
        "keep_alive",
        "method",
        "path",
        "protocol",
        "query",
        "target",
    )

    def __init__(self, line: RequestLine, fields: dict[str, str]) -> None:
        # These are documented in ``RequestLine``.
        self.method, self.target, self.protocol, self.path, self.query, _ = line
        #: The header fields under their names in a WSGI environ.
        self.fields = fields
        #: Bytes of the body; None for a chunked one until it is complete.
        self.content_length: int | None = 0
        self.chunked = False
        self.keep_alive = True
        self.expects_continue = False
        #: The complete body, positioned at its start; whatever reads it closes it.
        self.body: IO[bytes] = BytesIO()


class HeadReader:
    """Parses heads of any number of connections, one after the other.

    The llhttp parser inside is reused after a head that leaves no state behind: no body, no
    upgrade, no close, no error.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lines = RequestLines(limits.target_bytes)
        self._names = EnvironNames()
        self._hosts: set[str | None] = set()  # valid hosts
        self._raw_fields: list[tuple[bytes, bytes]] = []  # names and values, as they were received
        self._headers_complete = False
        self._reusable = False
        self._parser = HttpRequestParser(self)

    # Called by httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header field."""
        self._raw_fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Note that the head is complete for llhttp, too: it agrees on where the head ends."""
        self._headers_complete = True
        self._reusable = self._parser.should_keep_alive()

    # Called by the connection

    def read(self, head: bytes) -> Request:
        """Read a head, from its method to the empty line that ends it.

        Raises:
            RequestRefusedError: the head breaks a rule.
        """
        try:
            request = self._read(head)
        except RequestRefusedError:
            self._parser = HttpRequestParser(self)
            # raise the error of the first invalid byte, as for a head that is received in pieces
            self.new_check().check(head)
            raise
        if request.content_length != 0 or not self._reusable:
            self._parser = HttpRequestParser(self)
        return request

    def new_check(self) -> HeadCheck:
        """Return a check for a head that is not complete."""
        return HeadCheck(self._lines, self._names, self._limits)

    def _read(self, head: bytes) -> Request:
        line = self._lines.read(head[: head.index(b"\n") + 1])
        self._reusable = False
        self._raw_fields = []
        self._feed(head)
        fields = self._environ()
        protocol = line.protocol
        self._check_host(fields.get("HTTP_HOST"), protocol)
        if line.host is not None:
            self._check_host(line.host, protocol)
            fields["HTTP_HOST"] = line.host
        request = Request(line, fields)
        self._decide_body(request)
        if "HTTP_EXPECT" in fields:
            _decide_expectation(request)
        if "HTTP_CONNECTION" in fields or protocol != "HTTP/1.1":
            _decide_keep_alive(request)
        return request

    def _feed(self, head: bytes) -> None:
        self._headers_complete = False
        try:
            self._parser.feed_data(head)
        except HttpParserUpgrade:
            self._reusable = False  # the upgrade is refused: plain HTTP goes on
        except HttpParserError as error:
            raise _refusal(error) from None
        if not self._headers_complete:
            raise RequestRefusedError(400, "the request head is malformed")
        if len(self._raw_fields) > self._limits.head_fields:
            raise rules.too_many_fields(self._limits.head_fields).refusal()

    def _environ(self) -> dict[str, str]:
        names = self._names
        fields: dict[str, str] = {}
        for name, value in self._raw_fields:
            key = names[name]
            if key is None:
                continue
            text = value.decode("latin-1").strip(" \t")  # only these: RFC 9110 5.5
            if key not in fields:
                fields[key] = text
            elif key in SINGULAR:
                raise rules.repeated(name).refusal()
            else:  # RFC 9113 8.2.3: cookies are joined by semicolons
                fields[key] += ("; " if key == "HTTP_COOKIE" else ", ") + text
        return fields

    def _check_host(self, host: str | None, protocol: str) -> None:
        """Check that an HTTP/1.1 request has exactly one valid Host (RFC 9112 3.2)."""
        if host in self._hosts:
            return
        if host is None:
            if protocol == "HTTP/1.1":
                raise rules.NO_HOST.refusal()
        elif host and split_host(host) is None:
            raise rules.BAD_HOST.refusal()
        elif len(self._hosts) < _MAX_HOSTS:
            self._hosts.add(host)

    def _decide_body(self, request: Request) -> None:
        """Determine the end of the body (RFC 9112 6.3); llhttp refuses ambiguous heads."""
        coding = request.fields.get("HTTP_TRANSFER_ENCODING")
        if coding is not None:
            if coding.lower() != "chunked":
                raise rules.BAD_CODING.refusal()
            if request.protocol == "HTTP/1.0":
                raise rules.CODING_IN_1_0.refusal()
            request.chunked, request.content_length = True, None
            return
        length = request.fields.get("CONTENT_LENGTH")
        if length is not None:
            if not (length.isascii() and length.isdecimal()):
                raise rules.BAD_LENGTH.refusal()
            digits = length.lstrip("0") or "0"
            if len(digits) > 19 or int(digits) > self._limits.body_bytes:
                raise rules.body_too_long(self._limits.body_bytes).refusal()
            request.content_length = int(digits)
            request.fields["CONTENT_LENGTH"] = digits  # without leading zeros


def _refusal(error: HttpParserError) -> RequestRefusedError:
    """Turn an error of llhttp into a response for the client."""
    if isinstance(error, HttpParserInvalidMethodError):
        return rules.UNKNOWN_METHOD.refusal()
    return RequestRefusedError(400, f"the request head is malformed: {error}")


def _decide_expectation(request: Request) -> None:
    """Check Expect: ``100-continue`` is the only one (RFC 9110 10.1.1), HTTP/1.0 has none."""
    if request.protocol == "HTTP/1.1":
        if request.fields["HTTP_EXPECT"].lower() != "100-continue":
            raise rules.BAD_EXPECTATION.refusal()
        request.expects_continue = request.content_length != 0


def _decide_keep_alive(request: Request) -> None:
    """Whether the connection stays open after the response (RFC 9112 9.3)."""
    connection = request.fields.get("HTTP_CONNECTION", "")
    options = [option.strip(" \t").lower() for option in connection.split(",")]
    if "close" in options:
        request.keep_alive = False
    else:
        request.keep_alive = request.protocol == "HTTP/1.1" or "keep-alive" in options
