"""Coarse time-outs for many connections: moving one costs an attribute, not a timer."""

from __future__ import annotations

from math import inf
from typing import Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

__all__ = ["Deadlines", "HasDeadline"]

_TICK: Final = 1.0  # seconds; how late a deadline may be noticed


class HasDeadline(Protocol):
    """A client of ``Deadlines``, such as a connection."""

    #: When ``overdue`` is due, in the reactor's seconds; ``inf`` for never.
    deadline: float
    #: The second in whose bucket it is, ``inf`` for none; only ``Deadlines`` uses it.
    bucket: float

    def overdue(self, now: float) -> None:
        """React to the passed deadline; may set another one."""
        ...


class Deadlines:
    """Calls ``overdue`` of each item at most a second after its deadline.

    An item stays in the bucket of the second for which it was first set, even if its deadline
    moves.  When that second comes, an item with a later deadline moves on to the bucket of that.
    The clock runs only while there are items.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        # The inner dicts serve as sets that remember their order.
        self._buckets: dict[float, dict[HasDeadline, None]] = {}
        self._tick: IDelayedCall | None = None

    def set(self, item: HasDeadline, deadline: float) -> None:
        """Move the deadline of ``item``, wherever it was."""
        item.deadline = deadline
        if deadline < item.bucket:
            self._remove(item)
            self._insert(item)

    def forget(self, item: HasDeadline) -> None:
        """Drop the deadline of ``item``."""
        item.deadline = inf
        self._remove(item)
        if not self._buckets and self._tick is not None:
            self._tick.cancel()
            self._tick = None

    def _insert(self, item: HasDeadline) -> None:
        item.bucket = float(int(item.deadline) + 1)
        self._buckets.setdefault(item.bucket, {})[item] = None
        if self._tick is None:
            self._tick = self._reactor.callLater(_TICK, self._check)

    def _remove(self, item: HasDeadline) -> None:
        bucket = self._buckets.get(item.bucket)
        if bucket is not None:
            bucket.pop(item, None)
            if not bucket:
                del self._buckets[item.bucket]
        item.bucket = inf

    def _check(self) -> None:
        self._tick = None
        now = self._reactor.seconds()
        for time in [time for time in self._buckets if time <= now]:
            for item in list(self._buckets.get(time, ())):
                self._remove(item)
                if item.deadline <= now:
                    self._call(item, now)
                # Insert it again if its deadline had moved to a later second, unless overdue() has
                # just set a new one.
                if item.bucket == inf and now < item.deadline < inf:
                    self._insert(item)
        if self._buckets and self._tick is None:
            self._tick = self._reactor.callLater(_TICK, self._check)

    def _call(self, item: HasDeadline, now: float) -> None:
        try:
            item.overdue(now)
        except Exception:  # noqa: BLE001 - one failure must not stop the clock for all
            self._log.failure("a time limit could not be enforced")
