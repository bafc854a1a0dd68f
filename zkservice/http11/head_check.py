"""Refuses a request head at its first byte that makes every ending of it unacceptable.

``HeadReader`` reads whole heads, fast, and in the order that suits it.  This reads byte by byte
what is not whole, so that a client which can no longer be served hears so at once.  It also says
which answer a whole head gets that ``HeadReader`` refused.  So the answer never depends on how
the network cut the head.
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

#: RFC 9110 5.3: the only fields that make sense once; repeated, two readers may each
#: believe another one.
SINGULAR: Final = frozenset(
    {"HTTP_HOST", "CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_TRANSFER_ENCODING", "HTTP_EXPECT"}
)
_FRAMINGS: Final = frozenset({"CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING"})

_TOKEN: Final = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]*")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_DIGITS: Final = re.compile(rb"[0-9]*")
#: The characters of a host's name but the last: what follows decides whether the host is valid.
_DECIDED: Final = re.compile(f"(?:{NAME})*(?={NAME})".encode("ascii"))
_COLON, _CR, _LF = b":\r\n"


class HeadCheck:
    """Checks one head that grows.

    Args:
        lines: the rules of request lines.
        names: what the fields are called in a WSGI environ.
        limits: the client's bounds.
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
        self._version = ""  # of the request line, once that is complete
        self._start = 0  # of the current name, or of what is not decided of a value
        self._at = 0  # the bytes before this index have been checked
        self._key: str | None = ""  # of the field whose value is coming; "" within a name
        self._fields = 0  # whose name is complete
        self._seen: set[str] = set()  # of SINGULAR

    def check(self, head: bytes) -> None:
        """Check the bytes of the head that are new.

        Args:
            head: all of it that is there, from its method on.

        Raises:
            RequestRefusedError: no head that begins so is acceptable.  Which rule it names
                depends on the first byte that makes it impossible, and not on those behind it.
        """
        if not self._version and not self._check_line(head):
            return
        while (self._key != "" or self._check_name(head)) and self._check_value(head):
            pass

    def _check_line(self, head: bytes) -> bool:
        """Check the request line; returns whether it is complete, as do the next two."""
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
        if head[self._start + 1 : self._start + 2] not in b"\n":
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
            # behind a blank there can only be blanks: the content has ended, too
            self._check_content(content, ended or content != value)
            # what is decided is not looked at again: a long host would cost its square
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
        """Check the beginning of a value that decides something, or all of it."""
        if self._key == "HTTP_HOST":
            text = content.decode("latin-1")
            if text and not (split_host(text) if ended else can_become_host(text)):
                raise rules.BAD_HOST.refusal()
        elif self._key == "CONTENT_LENGTH":
            self._check_length(content, ended)
        elif self._key == "HTTP_TRANSFER_ENCODING":
            if not _is_word(content, b"chunked", ended):
                raise rules.BAD_CODING.refusal()
        elif self._key == "HTTP_EXPECT":  # HTTP/1.0 has none, and so ignores it
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
    assert match is not None  # they match nothing, too
    return match.end()


def _is_word(content: bytes, word: bytes, ended: bool) -> bool:
    """Whether some content is a word, in whatever case, or can become it."""
    content = content.lower()
    return content == word if ended else word.startswith(content)
