"""Coarse time-outs for many connections: moving one costs an attribute, not a timer."""

from __future__ import annotations

from math import inf
from typing import Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

__all__ = ["Deadlines", "Watched"]

_TICK: Final = 1.0  # seconds; how late a deadline may be noticed


class Watched(Protocol):
    """Something that must not wait for ever."""

    #: When ``overdue`` is due, in the reactor's seconds; ``inf`` for never.
    deadline: float
    #: Where ``Deadlines`` keeps it; nobody else's business.
    bucket: float

    def overdue(self, now: float) -> None:
        """The deadline has passed; set another, or be watched no more."""
        ...


class Deadlines:
    """Calls ``overdue`` of whatever has passed its deadline, a second later at most.

    Each watched object lies in the bucket of the second in which it was due when it was
    put there.  When the bucket's time comes and the deadline has moved on, so does the
    object.  The clock runs only while something is watched.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._buckets: dict[float, set[Watched]] = {}
        self._tick: IDelayedCall | None = None

    def set(self, watched: Watched, deadline: float) -> None:
        """Move the deadline of ``watched``, wherever it was."""
        watched.deadline = deadline
        if deadline < watched.bucket:
            self._take(watched)
            self._put(watched)

    def forget(self, watched: Watched) -> None:
        """Watch it no more."""
        watched.deadline = inf
        self._take(watched)
        if not self._buckets and self._tick is not None:
            self._tick.cancel()
            self._tick = None

    def _put(self, watched: Watched) -> None:
        watched.bucket = float(int(watched.deadline) + 1)
        self._buckets.setdefault(watched.bucket, set()).add(watched)
        if self._tick is None:
            self._tick = self._reactor.callLater(_TICK, self._look)

    def _take(self, watched: Watched) -> None:
        bucket = self._buckets.get(watched.bucket)
        if bucket is not None:
            bucket.discard(watched)
            if not bucket:
                del self._buckets[watched.bucket]
        watched.bucket = inf

    def _look(self) -> None:
        self._tick = None
        now = self._reactor.seconds()
        for time in [time for time in self._buckets if time <= now]:
            for watched in list(self._buckets.get(time, ())):
                self._take(watched)
                if watched.deadline <= now:
                    self._call(watched, now)
                if watched.bucket == inf and now < watched.deadline < inf:
                    self._put(watched)
        if self._buckets and self._tick is None:
            self._tick = self._reactor.callLater(_TICK, self._look)

    def _call(self, watched: Watched, now: float) -> None:
        try:
            watched.overdue(now)
        except Exception:  # noqa: BLE001 - one failure must not stop the clock for all
            self._log.failure("what is overdue could not be dealt with")
