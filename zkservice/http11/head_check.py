"""Refuse a request head at the first byte after which no continuation could be valid.

``HeadReader`` parses complete heads, fast and in any order.  This module checks incomplete heads
byte by byte, so that an invalid request is refused at once.  It also chooses the error for a
complete head that ``HeadReader`` has refused.  So the error does not depend on how the network
splits the head.
"""

from __future__ import annotations

import re
from typing import Final

from zkservice.http11 import rules
from zkservice.http11.hosts import NAME, can_become_host, split_host
from zkservice.http11.limits import Limits
from zkservice.http11.lines import RequestLines
from zkservice.http11.names import EnvironNames

__all__ = ["SINGULAR", "HeadCheck"]

#: Fields that may occur only once (RFC 9110 5.3).  If they were repeated, two parsers could each
#: use another one.
SINGULAR: Final = frozenset(
    {"HTTP_HOST", "CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_TRANSFER_ENCODING", "HTTP_EXPECT"}
)
_FRAMINGS: Final = frozenset({"CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING"})

_TOKEN: Final = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]*")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_DIGITS: Final = re.compile(rb"[0-9]*")
#: All characters of a host name except the last one.  Later bytes cannot make them invalid, so they
#: need not be checked again.
_DECIDED: Final = re.compile(f"(?:{NAME})*(?={NAME})".encode("ascii"))
_COLON, _CR, _LF = b":\r\n"


class HeadCheck:
    """Checks one head while it is received.

    Args:
        lines: the rules of request lines.
        names: the keys of the fields in a WSGI environ.
        limits: the limits for clients.
    """

    __slots__ = (
        "_at",
        "_fields",
        "_key",
        "_limits",
        "_lines",
        "_names",
        "_seen",
        "_start",
        "_version",
    )

    def __init__(self, lines: RequestLines, names: EnvironNames, limits: Limits) -> None:
        self._lines = lines
        self._names = names
        self._limits = limits
        self._version = ""  # the version in the request line, once that is complete
        self._start = 0  # the index of the current name, or of the unchecked part of a value
        self._at = 0  # the bytes before this index have been checked
        # The key of the field whose value is being read; None for a field that is dropped, "" while
        # the name is being read.
        self._key: str | None = ""
        self._fields = 0  # the number of fields with a complete name
        self._seen: set[str] = set()  # the fields of SINGULAR that have occurred

    def check(self, head: bytes) -> None:
        """Check the new bytes of the head.

        Args:
            head: everything that was received, from the method on.

        Raises:
            RequestRefusedError: no continuation of this head is valid.  The rule that it names
                depends only on the first invalid byte, not on later ones.
        """
        if not self._version and not self._check_line(head):
            return
        while True:
            if self._key == "" and not self._check_name(head):
                return
            if not self._check_value(head):
                return

    def _check_line(self, head: bytes) -> bool:
        """Check the request line; like the next two methods, return whether it is complete."""
        line = head[: self._lines.longest]
        line = line[: line.find(b"\n") + 1] or line
        self._lines.check(line)
        if not line.endswith(b"\n"):
            return False
        self._version = self._lines.read(line).protocol
        self._start = self._at = len(line)
        return True

    def _check_name(self, head: bytes) -> bool:
        line = self._start
        if line == len(head):
            return False
        end = _end_of(_TOKEN, head, self._at)
        if end > line and self._fields == self._limits.head_fields:
            raise rules.too_many_fields(self._limits.head_fields).refusal()
        if end == line and head[line] == _CR:
            self._check_end(head)
            return False
        self._at = end
        if end == len(head):
            return False
        if end == line or head[end] != _COLON:
            raise rules.BAD_NAME.refusal()
        self._fields += 1
        self._begin_value(head[line:end])
        self._start = self._at = end + 1
        return True

    def _check_end(self, head: bytes) -> None:
        """Check the empty line that ends the head, from its CR on."""
        if self._version == "HTTP/1.1" and "HTTP_HOST" not in self._seen:
            raise rules.NO_HOST.refusal()
        if head[self._start + 1 : self._start + 2] not in (b"", b"\n"):
            raise rules.BAD_END.refusal()

    def _begin_value(self, name: bytes) -> None:
        self._key = key = self._names[name]
        if key not in SINGULAR:
            return
        if key in self._seen:
            raise rules.repeated(name).refusal()
        self._seen.add(key)
        if self._seen >= _FRAMINGS:
            raise rules.TWO_FRAMINGS.refusal()
        if key == "HTTP_TRANSFER_ENCODING" and self._version == "HTTP/1.0":
            raise rules.CODING_IN_1_0.refusal()

    def _check_value(self, head: bytes) -> bool:
        end = _end_of(_VALUE, head, self._at)
        ended = end < len(head) and head[end] == _CR
        if self._key in SINGULAR:
            value = head[self._start : end].lstrip(b" \t")
            content = value.rstrip(b" \t")
            # only blanks can follow a blank, so the content has ended, too
            self._check_content(content, ended or content != value)
            # skip what was checked: otherwise a long host would take quadratic time
            decided = _DECIDED.match(value) if self._key == "HTTP_HOST" else None
            self._start = end - len(value) + (decided.end() if decided else 0)
        self._at = end
        if end == len(head):
            return False
        if not ended:
            raise (rules.BAD_END if head[end] == _LF else rules.BAD_VALUE).refusal()
        if end + 1 == len(head):
            return False
        if head[end + 1] != _LF:
            raise rules.BAD_END.refusal()
        self._key = ""
        self._start = self._at = end + 2
        return True

    def _check_content(self, content: bytes, ended: bool) -> None:
        """Check a value that matters for the server, or the part of it that was received."""
        if self._key == "HTTP_HOST":
            text = content.decode("latin-1")
            if text and not (split_host(text) if ended else can_become_host(text)):
                raise rules.BAD_HOST.refusal()
        elif self._key == "CONTENT_LENGTH":
            self._check_length(content, ended)
        elif self._key == "HTTP_TRANSFER_ENCODING":
            if not _is_word(content, b"chunked", ended):
                raise rules.BAD_CODING.refusal()
        elif self._key == "HTTP_EXPECT":  # HTTP/1.0 does not have it, so it is ignored there
            expected = self._version == "HTTP/1.0" or _is_word(content, b"100-continue", ended)
            if not expected:
                raise rules.BAD_EXPECTATION.refusal()

    def _check_length(self, content: bytes, ended: bool) -> None:
        digits = content[: _end_of(_DIGITS, content, 0)]
        number = digits.lstrip(b"0")[:20] or b"0"
        if len(number) > 19 or int(number) > self._limits.body_bytes:
            raise rules.body_too_long(self._limits.body_bytes).refusal()
        if digits != content or (ended and not content):
            raise rules.BAD_LENGTH.refusal()


def _end_of(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    match = pattern.match(data, at)
    assert match is not None  # the patterns also match an empty text
    return match.end()


def _is_word(content: bytes, word: bytes, ended: bool) -> bool:
    """Whether a content is a word in any case, or a prefix of it that may go on."""
    content = content.lower()
    return content == word if ended else word.startswith(content)
