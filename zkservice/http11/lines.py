"""Parse request lines (RFC 9112 3) strictly: llhttp accepts other protocols and versions."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from zkservice.errors import RequestRefusedError
from zkservice.http11 import rules
from zkservice.http11.hosts import can_become_host, split_host

__all__ = ["TOKEN", "RequestLine", "RequestLines"]

TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")

#: The methods of HTTP that llhttp knows.
METHODS: Final = frozenset(
    b"DELETE GET HEAD POST PUT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH "
    b"UNLOCK BIND REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE "
    b"UNSUBSCRIBE PATCH PURGE MKCALENDAR LINK UNLINK SOURCE QUERY".split()
)
_METHOD_PREFIXES: Final = frozenset(
    method[:size] for method in METHODS for size in range(len(method) + 1)
)
#: The bytes that a target may contain: printable ones except ``#``, which begins a fragment.
_TARGET: Final = re.compile(rb"[!\"$-~]*")
_SCHEME: Final = re.compile(rb"https?://", re.IGNORECASE)
_SCHEMES: Final = (b"http://", b"https://")

_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]+)", re.IGNORECASE)
#: The protocols by the end of a request line.
_ENDS: Final = {b"HTTP/1.1\r\n": "HTTP/1.1", b"HTTP/1.0\r\n": "HTTP/1.0"}

#: Lines that are cached, and bytes of the longest; bounded, because clients choose the lines.
_MAX_LINES: Final = 1024
_MAX_CACHED_LINE: Final = 256


class RequestLine(NamedTuple):
    """A request line and the parts of its target."""

    method: str
    target: bytes  #: as it was sent
    protocol: str  #: "HTTP/1.1" or "HTTP/1.0"
    path: bytes  #: still percent-encoded, ``//`` kept; empty for ``*``
    query: bytes
    host: str | None  #: of a target that is a URL; it counts instead of the Host field


class RequestLines:
    """Parses request lines; most of them are found in a cache of earlier ones.

    Args:
        target_bytes: the longest target.
    """

    def __init__(self, target_bytes: int) -> None:
        self._target_bytes = target_bytes
        #: Bytes of the longest request line: the target and its other parts.
        self.longest = target_bytes + 64
        self._known: dict[bytes, RequestLine] = {}

    def read(self, line: bytes) -> RequestLine:
        """Parse a line with its line end.

        Raises:
            RequestRefusedError: it breaks a rule.  llhttp checks later that the method is known.
        """
        known = self._known.get(line)
        if known is not None:
            return known
        try:
            fresh = self._parse(line)
        except RequestRefusedError:
            self.check(line)  # raise the error of the first invalid byte, as for a line in pieces
            raise
        if len(line) <= _MAX_CACHED_LINE:
            if len(self._known) == _MAX_LINES:
                self._known.clear()
            self._known[line] = fresh
        return fresh

    def check(self, line: bytes) -> None:
        """Check the beginning of a line, or a complete one.

        Raises:
            RequestRefusedError: no continuation is valid.  The rule that it names depends only on
                the first invalid byte, not on later ones.
        """
        method, space, rest = line.partition(b" ")
        if method not in (METHODS if space else _METHOD_PREFIXES):
            raise _bad_method(method + space).refusal()
        target, space, end = rest.partition(b" ")
        self._check_target(method, target, bool(space))
        if space and not any(each.startswith(end) for each in _ENDS):
            raise _bad_end(end).refusal()

    def _check_target(self, method: bytes, target: bytes, complete: bool) -> None:
        """Check a target, or its beginning unless ``complete`` is true."""
        scheme = _SCHEME.match(target)
        if not target.startswith(b"/") and scheme is None:
            asterisk = target == b"*" and method == b"OPTIONS"
            start = target.lower()
            if not asterisk and (complete or not any(s.startswith(start) for s in _SCHEMES)):
                raise rules.BAD_TARGET.refusal()
        if scheme is not None:
            ended = complete and len(target) <= self._target_bytes
            _check_authority(target[scheme.end() : self._target_bytes], ended)
        match = _TARGET.match(target)
        good = 0 if match is None else match.end()
        if len(target) > self._target_bytes and good >= self._target_bytes:
            raise self.too_long()
        if good < len(target):
            raise (rules.FRAGMENT if target[good : good + 1] == b"#" else rules.UNESCAPED).refusal()

    def too_long(self) -> RequestRefusedError:
        """The error for a line that is too long."""
        return rules.target_too_long(self._target_bytes).refusal()

    def _parse(self, line: bytes) -> RequestLine:
        if len(line) > self.longest:
            raise self.too_long()
        words = line.split(b" ")
        if len(words) != 3 or not line.endswith(b"\r\n"):
            raise rules.BAD_LINE.refusal()
        method, target, version = words
        if len(target) > self._target_bytes:
            raise self.too_long()
        protocol = _ENDS.get(version)
        if protocol is None:
            raise rules.WRONG_VERSION.refusal()
        if method not in METHODS:
            raise _bad_method(method).refusal()
        text = method.decode("ascii")
        return RequestLine(text, target, protocol, *_split_target(text, target))


def _check_authority(rest: bytes, complete: bool) -> None:
    """Check the beginning of what follows ``http://``: a host, and perhaps a port."""
    parts = re.split(rb"[/?#]", rest, maxsplit=1)
    host = parts[0].decode("latin-1")
    ended = complete or len(parts) > 1
    if split_host(host) is None and (ended or not can_become_host(host)):
        raise rules.BAD_HOST.refusal()


def _bad_method(method: bytes) -> rules.Rule:
    """The rule that the first invalid byte of a method, or of its beginning, breaks."""
    good = len(method)
    while method[:good] not in _METHOD_PREFIXES:
        good -= 1
    seen = method[: good + 1]  # up to the first invalid byte
    if seen.endswith(b" ") and len(seen) > 1:
        return rules.UNKNOWN_METHOD
    if not TOKEN.fullmatch(seen.decode("latin-1")):
        return rules.NO_METHOD
    if b"CONNECT".startswith(seen):
        return rules.CONNECT
    if seen == b"PRI":  # RFC 9113 3.4: the preface of HTTP/2
        return rules.WRONG_VERSION
    return rules.UNKNOWN_METHOD


def _bad_end(end: bytes) -> rules.Rule:
    """The rule that the first invalid byte after the target breaks."""
    good = len(end)
    while not any(each.startswith(end[:good]) for each in _ENDS):
        good -= 1
    names_version = good >= len(b"HTTP/") and end[good] > 0x20
    return rules.WRONG_VERSION if names_version else rules.BAD_LINE


def _split_target(method: str, target: bytes) -> tuple[bytes, bytes, str | None]:
    """Path, query, and the host if the target is a URL (RFC 9112 3.2)."""
    if b"#" in target:
        raise rules.FRAGMENT.refusal()
    host = None
    absolute = _ABSOLUTE.match(target)
    if absolute is not None:
        host = absolute[1].decode("latin-1")
        target = target[absolute.end() :]
        if not target.startswith(b"/"):
            target = b"/" + target
    elif target == b"*" and method == "OPTIONS":
        target = b""
    elif not target.startswith(b"/"):
        raise rules.BAD_TARGET.refusal()
    path, _, query = target.partition(b"?")
    return path, query, host
