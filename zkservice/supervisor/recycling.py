"""When a worker is due to be replaced by a fresh one: requests, age, memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from zkservice.deferreds import Alarm
from zkservice.supervisor.process import WorkerProcess

__all__ = ["Permission", "Recycling", "RecyclingSettings"]

#: The share of a bound by which workers differ, so that they are not all due together.
_JITTER: Final = 0.1
#: Seconds between two looks at ages, which no beat announces.
_LOOK: Final = 1.0

#: Asked before a worker is recycled; fires with what gives the permission back.
Permission = Callable[[], "Deferred[Callable[[], object]]"]


@dataclass(frozen=True)
class RecyclingSettings:
    """Bounds after which a worker is replaced; 0 is none."""

    max_requests: int = 0
    max_age: float = 0.0  #: seconds
    max_rss: int = 0  #: bytes of memory

    @property
    def wanted(self) -> bool:
        """Whether there is a bound."""
        return bool(self.max_requests or self.max_age or self.max_rss)


class Recycling:
    """Replaces workers that have reached a bound, one at a time.

    Args:
        settings: the bounds.
        clock: tells the time.
        random: returns a number from 0 to 1.
        replace: starts another worker in the place of one; False if it cannot be done now.
        permission: asked first; several processes may share a permit.
    """

    _log = Logger()

    def __init__(
        self,
        settings: RecyclingSettings,
        clock: Any,
        random: Callable[[], float],
        replace: Callable[[WorkerProcess], bool],
        permission: Permission = lambda: succeed(lambda: None),
    ) -> None:
        self.settings = settings
        self.permission = permission
        self._clock = clock
        self._random = random
        self._replace = replace
        self._shares: dict[WorkerProcess, float] = {}  # of the bounds, by worker
        self._current: WorkerProcess | None = None
        self._give_back: Callable[[], object] | None = None
        self._alarm = Alarm(clock, self._look)

    def began(self, worker: WorkerProcess) -> None:
        """A worker serves, or serves on although it was due."""
        if self.settings.wanted:
            self._shares[worker] = 1 - _JITTER * self._random()
            self._alarm.set_no_later(_LOOK)
        if worker is self._current:  # its successor has failed
            self._finished()

    def ended(self, worker: WorkerProcess) -> None:
        """A worker has ended."""
        self._shares.pop(worker, None)
        if worker is self._current:
            self._finished()

    def beat(self, worker: WorkerProcess) -> None:
        """A worker has told its figures."""
        share = self._shares.get(worker)
        if share is not None and self._current is None and self._due(worker, share):
            self._recycle(worker)

    def stop(self) -> None:
        """Recycle no more."""
        self._alarm.cancel()
        self._shares.clear()
        self._finished()

    def _look(self) -> None:
        for worker in list(self._shares):
            self.beat(worker)
        if self._shares:
            self._alarm.set(_LOOK)

    def _due(self, worker: WorkerProcess, share: float) -> str:
        """Which bound it has reached; empty if none."""
        settings, figures = self.settings, worker.figures
        age = self._clock.seconds() - worker.since
        if settings.max_requests and figures.requests >= settings.max_requests * share:
            return f"{figures.requests} requests"
        if settings.max_age and age >= settings.max_age * share:
            return f"{age:.0f} s of age"
        if settings.max_rss and figures.rss >= settings.max_rss:
            return f"{figures.rss >> 20} MB of memory"
        return ""

    def _recycle(self, worker: WorkerProcess) -> None:
        self._current = worker
        why = self._due(worker, self._shares.get(worker, 1.0))

        def permitted(give_back: Callable[[], object]) -> None:
            self._give_back = give_back
            if worker is not self._current:
                self._finished()
                return
            self._log.info("recycling {name}: it has had {why}", name=worker.name, why=why)
            if not self._replace(worker):
                self._finished()

        def refused(_: object) -> None:
            if worker is self._current:
                self._finished()

        self.permission().addCallbacks(permitted, refused)

    def _finished(self) -> None:
        self._current = None
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()
