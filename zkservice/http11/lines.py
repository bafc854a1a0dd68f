"""Request lines (RFC 9112 3), strictly: llhttp takes more protocols and versions than there are."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from zkservice.errors import RequestRefusedError

__all__ = ["TOKEN", "RequestLine", "RequestLines"]

TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")

_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]+)", re.IGNORECASE)
_VERSIONS: Final = {b"HTTP/1.1\r\n": "HTTP/1.1", b"HTTP/1.0\r\n": "HTTP/1.0"}

#: Remembered lines, and the longest worth remembering; inventions must not grow the memory.
_MOST_LINES: Final = 1024
_LONGEST_REMEMBERED: Final = 256


class RequestLine(NamedTuple):
    """A request line and the parts of its target."""

    method: str
    target: bytes  #: as it was sent
    protocol: str  #: "HTTP/1.1" or "HTTP/1.0"
    path: bytes  #: still percent-encoded, ``//`` kept; empty for ``*``
    query: bytes
    host: str | None  #: of a target that is a URL; it counts instead of the Host field


class RequestLines:
    """Reads request lines; most are like one that was read before.

    Args:
        target_bytes: the longest target.
    """

    def __init__(self, target_bytes: int) -> None:
        self._target_bytes = target_bytes
        #: Bytes: a target, and what else a request line can have.
        self.longest = target_bytes + 64
        self._known: dict[bytes, RequestLine] = {}

    def read(self, line: bytes) -> RequestLine:
        """Read a line, its end included.

        Raises:
            RequestRefusedError: it breaks a rule.  That the method is known is llhttp's.
        """
        known = self._known.get(line)
        if known is not None:
            return known
        fresh = self._parse(line)
        if len(line) <= _LONGEST_REMEMBERED:
            if len(self._known) == _MOST_LINES:
                self._known.clear()
            self._known[line] = fresh
        return fresh

    def too_long(self) -> RequestRefusedError:
        """What a client gets whose line is too long."""
        return RequestRefusedError(414, f"the request target is over {self._target_bytes} bytes")

    def _parse(self, line: bytes) -> RequestLine:
        if len(line) > self.longest:
            raise self.too_long()
        words = line.split(b" ")
        if len(words) != 3 or not line.endswith(b"\r\n"):
            raise RequestRefusedError(
                400, "the request line must be a method, a target and HTTP/1.1"
            )
        method, target, version = words[0].decode("latin-1"), words[1], words[2]
        if len(target) > self._target_bytes:
            raise self.too_long()
        protocol = _VERSIONS.get(version)
        if protocol is None:
            raise _wrong_version(version)
        if not TOKEN.fullmatch(method):
            raise RequestRefusedError(400, "the request method is no token")
        if method == "CONNECT":
            raise RequestRefusedError(501, "CONNECT is for proxies; this is none")
        return RequestLine(method, target, protocol, *_split_target(method, target))


def _wrong_version(version: bytes) -> RequestRefusedError:
    if version.startswith(b"HTTP/"):
        return RequestRefusedError(505, "this server speaks HTTP/1.1 and HTTP/1.0")
    return RequestRefusedError(400, "the request line must end in HTTP/1.1")


def _split_target(method: str, target: bytes) -> tuple[bytes, bytes, str | None]:
    """Path, query, and the host if the target is a URL (RFC 9112 3.2)."""
    if b"#" in target:
        raise RequestRefusedError(400, "a request target has no fragment (#)")
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
        raise RequestRefusedError(400, "the request target must be a path or an http URL")
    path, _, query = target.partition(b"?")
    return path, query, host
