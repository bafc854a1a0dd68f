"""What clients have seen of one znode each, and the checks of it.

The server numbers the writes of a znode (``version``) and all transactions (``mzxid``), so no
search for an order is needed: the order is given, and checked against the times at which
calls were made and ended.  A value is written once in a run, so a version has one value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from zkservice.wire.records import Stat

Violated = Callable[[str, str], None]


@dataclass
class Write:
    """One call of ``set``."""

    value: bytes
    expected: int  # version; -1 is any
    floor: int  # the highest mzxid that was known to anybody when it was called
    impossible: bool = False  # it certainly was not carried out


class Register:
    """The history of one znode.

    Args:
        path: its path.
        violated: called with the name of an invariant, and why it does not hold.
    """

    def __init__(self, path: str, violated: Violated) -> None:
        self.path = path
        self._violated = violated
        self._writes: dict[bytes, Write] = {}
        self._versions: dict[tuple[int, int], bytes] = {}
        self._known = 0  # the highest mzxid of calls that have ended

    def called(self) -> int:
        """A call is made now: what it must see at least."""
        return self._known

    def writing(self, value: bytes, expected: int) -> Write:
        """A write is called."""
        write = self._writes[value] = Write(value, expected, self._known)
        return write

    def written(self, write: Write, stat: Stat) -> None:
        """A write was confirmed."""
        if stat.mzxid <= write.floor:
            self._violated(
                "linear", f"{write.value!r} is older than what was there before it was called"
            )
        if write.expected >= 0 and stat.version != write.expected + 1:
            self._violated("linear", f"{write.value!r} made {stat.version} of {write.expected}")
        self._is(write.value, stat)

    def not_written(self, write: Write) -> None:
        """A write was certainly not carried out."""
        write.impossible = True

    def read(self, value: bytes, stat: Stat, floor: int) -> None:
        """A value was read by a call."""
        if stat.mzxid < floor:
            self._violated("linear", f"{value!r} was read after it was known to be replaced")
        if value:
            write = self._writes.get(value)
            if write is None:
                self._violated("linear", f"{value!r} was never written")
            elif write.impossible:
                self._violated("linear", f"{value!r} was read, but its write had failed")
        self._is(value, stat)

    def _is(self, value: bytes, stat: Stat) -> None:
        key = stat.czxid, stat.version
        if self._versions.setdefault(key, value) != value:
            self._violated("linear", f"{self._versions[key]!r} and {value!r} are both {key}")
        self._known = max(self._known, stat.mzxid)


@dataclass
class Seen:
    """What one client has seen.

    Attributes:
        watching: for each path the mzxid at which its watch was set.
    """

    who: str
    violated: Violated
    _called: int = 0
    _ended: int = -1
    _zxids: dict[str, int] = field(default_factory=dict)
    watching: dict[str, int] = field(default_factory=dict)

    def call(self) -> int:
        """A call is made; its number."""
        self._called += 1
        return self._called - 1

    def ended(self, number: int, path: str, stat: Stat) -> None:
        """A call has ended well, and shows a znode."""
        if number < self._ended:
            self.violated("order", f"{self.who}: call {number} ends after call {self._ended}")
        self._ended = number
        if stat.mzxid < self._zxids.get(path, 0):
            self.violated("zxid", f"{self.who}: {path} goes back to {stat.mzxid:#x}")
        self._zxids[path] = stat.mzxid
        watched = self.watching.get(path)
        if watched is not None and stat.mzxid > watched:
            self.violated(
                "event first", f"{self.who} sees {path} at {stat.mzxid:#x} before the event"
            )
