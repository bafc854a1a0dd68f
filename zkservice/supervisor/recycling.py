"""When a worker is due to be replaced by a fresh one: requests, age, memory."""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from zkservice.deferreds import Alarm
from zkservice.supervisor.process import WorkerProcess

__all__ = ["Permission", "Recycling", "RecyclingSettings", "SelfRecycling", "resident_bytes"]

#: The share of a bound by which workers differ, so that they are not all due together.
_JITTER: Final = 0.1
#: Seconds between two checks of the ages.
_CHECK_INTERVAL: Final = 1.0

#: Called before a worker is recycled; fires with a function that gives the permission back.
Permission = Callable[[], "Deferred[Callable[[], object]]"]


def always_permitted() -> Deferred[Callable[[], object]]:
    """The permission of a service that shares no permits with other processes."""
    return succeed(lambda: None)


def share_of(random: Callable[[], float]) -> float:
    """The random share of the bounds that one process uses, so that not all are due together."""
    return 1 - _JITTER * random()


@dataclass(frozen=True)
class RecyclingSettings:
    """Bounds after which a worker is replaced; 0: no bound."""

    max_requests: int = 0
    max_age: float = 0.0  #: seconds
    max_rss: int = 0  #: bytes of memory

    @property
    def wanted(self) -> bool:
        """Whether there is a bound."""
        return bool(self.max_requests or self.max_age or self.max_rss)

    def reached(self, share: float, requests: int, age: float, rss: int) -> str:
        """Which bound a process has reached, as text; "" if none.

        Args:
            share: the share of the bounds on requests and age that this process uses.
            requests: since its start.
            age: seconds.
            rss: bytes of memory.
        """
        if self.max_requests and requests >= self.max_requests * share:
            return f"{requests} requests"
        if self.max_age and age >= self.max_age * share:
            return f"{age:.0f} s of age"
        if self.max_rss and rss >= self.max_rss:
            return f"{rss >> 20} MB of memory"
        return ""


class SelfRecycling:
    """Ends a process without workers when it has reached a bound.

    Its supervisor (systemd, a container's runtime) starts it again.

    Args:
        settings: the bounds.
        clock: tells the time.
        random: returns a number from 0 to 1.
        figures: returns the requests since the start, and the bytes of memory.
        end: called once, with the reason.
    """

    def __init__(
        self,
        settings: RecyclingSettings,
        clock: Any,
        random: Callable[[], float],
        figures: Callable[[], tuple[int, int]],
        end: Callable[[str], object],
    ) -> None:
        self.permission: Permission = always_permitted
        self._settings = settings
        self._clock = clock
        self._share = share_of(random)
        self._figures = figures
        self._end = end
        self._since = clock.seconds()
        self._alarm = Alarm(clock, self._check)

    def start(self) -> None:
        """Start to check, if there is a bound."""
        if self._settings.wanted:
            self._alarm.set(_CHECK_INTERVAL)

    def stop(self) -> None:
        """Stop checking."""
        self._alarm.cancel()

    def _check(self) -> None:
        requests, rss = self._figures()
        age = self._clock.seconds() - self._since
        bound = self._settings.reached(self._share, requests, age, rss)
        if bound:
            # The permit is not given back here: it ends with the session, after the process.
            self.permission().addCallbacks(
                lambda _: self._end(f"recycling: {bound}"),
                lambda _: self._alarm.set(_CHECK_INTERVAL),
            )
        else:
            self._alarm.set(_CHECK_INTERVAL)


class Recycling:
    """Replaces workers that have reached a bound, one at a time.

    Args:
        settings: the bounds.
        clock: tells the time.
        random: returns a number from 0 to 1.
        replace: starts another worker to replace one; False if it cannot be done now.
        permission: called before each replacement; several processes may share a permit.
    """

    _log = Logger()

    def __init__(
        self,
        settings: RecyclingSettings,
        clock: Any,
        random: Callable[[], float],
        replace: Callable[[WorkerProcess], bool],
        permission: Permission | None = None,
    ) -> None:
        self.settings = settings
        self.permission = permission or always_permitted
        self._clock = clock
        self._random = random
        self._replace = replace
        self._shares: dict[WorkerProcess, float] = {}  # the share of the bounds for each worker
        self._current: WorkerProcess | None = None  # that is being replaced
        self._give_back: Callable[[], object] | None = None
        self._alarm = Alarm(clock, self._check)

    def began(self, worker: WorkerProcess) -> None:
        """Start to count: a worker serves, or could not be replaced and serves on."""
        if self.settings.wanted:
            self._shares[worker] = share_of(self._random)
            self._alarm.set_no_later(_CHECK_INTERVAL)
        if worker is self._current:  # its successor has failed
            self._end_current()

    def ended(self, worker: WorkerProcess) -> None:
        """Forget a worker that has ended."""
        self._shares.pop(worker, None)
        if worker is self._current:
            self._end_current()

    def beat(self, worker: WorkerProcess) -> None:
        """Check a worker that has sent its figures."""
        share = self._shares.get(worker)
        if share is not None and self._current is None and self._due(worker, share):
            self._recycle(worker)

    def stop(self) -> None:
        """Stop recycling."""
        self._alarm.cancel()
        self._shares.clear()
        self._end_current()

    def _check(self) -> None:
        for worker in list(self._shares):
            self.beat(worker)
        if self._shares:
            self._alarm.set(_CHECK_INTERVAL)

    def _due(self, worker: WorkerProcess, share: float) -> str:
        age = self._clock.seconds() - worker.since
        return self.settings.reached(share, worker.figures.requests, age, worker.figures.rss)

    def _recycle(self, worker: WorkerProcess) -> None:
        self._current = worker
        bound = self._due(worker, self._shares.get(worker, 1.0))

        def permitted(give_back: Callable[[], object]) -> None:
            self._give_back = give_back
            if worker is not self._current:
                self._end_current()
                return
            self._log.info(
                "recycling {name}: it has reached {bound}", name=worker.name, bound=bound
            )
            if not self._replace(worker):
                self._end_current()

        def refused(_: object) -> None:
            if worker is self._current:
                self._end_current()

        self.permission().addCallbacks(permitted, refused)

    def _end_current(self) -> None:
        """End the current replacement, and give its permit back."""
        self._current = None
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()


def resident_bytes() -> int:
    """Bytes of memory that this process has in use; 0 where there is no /proc."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0
