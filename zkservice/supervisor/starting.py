"""How workers are started: under which name, with which settings, and when again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from zkservice.deferreds import Alarm, Backoff
from zkservice.supervisor.process import Command, WorkerEvents, WorkerProcess

__all__ = ["Releases", "Restarts", "Starter"]

#: Seconds between two starts when workers die young, from and to.
_PAUSE: Final = 0.1
_PAUSE_MAX: Final = 30.0
#: Seconds that a worker has to live to be replaced at once when it dies.
_YOUNG: Final = 5.0
#: Starts that fail before no more is tried, if none has succeeded before.
_MAX_FAILURES: Final = 3


class Releases:
    """What workers are started with: the settings of now, and those that a reload tries.

    Args:
        make: returns how a worker is started; asked anew for each reload.
    """

    def __init__(self, make: Callable[[], Command]) -> None:
        self._make = make
        self._next: Command | None = None
        self.current = make()
        self.reload_again = False  #: another reload was asked for during this one

    @property
    def next(self) -> Command:
        """What the reload that is under way tries."""
        return self.current if self._next is None else self._next

    def prepare(self) -> None:
        """A reload begins."""
        self._next = self._make()

    def finish(self, *, accepted: bool) -> bool:
        """The reload is over; returns whether another one was asked for."""
        if accepted:
            self.current = self.next
        self._next = None
        again, self.reload_again = self.reload_again, False
        return again


class Restarts:
    """When to start a worker again after one has died.

    Args:
        clock: tells the time.
        random: returns a number from 0 to 1.
        start: called when a pause is over.
    """

    def __init__(
        self, clock: Any, random: Callable[[], float], start: Callable[[], object]
    ) -> None:
        self._clock = clock
        self._backoff = Backoff(_PAUSE, _PAUSE_MAX, random)
        self._pause = Alarm(clock, start)
        self._has_served = False

    @property
    def pausing(self) -> bool:
        """Whether it is too early to start one."""
        return self._pause.is_set

    def served(self) -> None:
        """A worker serves: whatever kept others from it is over."""
        self._has_served = True
        self._backoff.reset()

    def age(self, worker: WorkerProcess) -> float:
        """Seconds since a worker was started."""
        return float(self._clock.seconds() - worker.since)

    def died(self, worker: WorkerProcess, size: int) -> bool:
        """A worker has died; returns whether there is any hope for the next one.

        Args:
            worker: one that was to serve on.
            size: how many are started side by side.
        """
        if worker.has_served and self.age(worker) >= _YOUNG:
            return True
        pause = self._backoff.next()
        if not self._has_served and self._backoff.failures >= max(_MAX_FAILURES, size):
            return False
        self._pause.set_no_later(pause)
        return True

    def stop(self) -> None:
        """Start no more."""
        self._pause.cancel()


class Starter:
    """Starts workers, each with a name of its own.

    Args:
        reactor: spawns the processes.
        events: hears what becomes of them.
        worker_timeout: seconds without a beat after which a worker is killed; 0 is never.
        start_timeout: seconds for a worker to serve.
        make_worker: makes the parent's side of a worker.
    """

    def __init__(
        self,
        reactor: Any,
        events: WorkerEvents,
        worker_timeout: float,
        start_timeout: float,
        make_worker: Callable[..., WorkerProcess],
    ) -> None:
        self._reactor = reactor
        self._events = events
        self._worker_timeout = worker_timeout
        self._start_timeout = start_timeout
        self._make_worker = make_worker
        self._started = 0

    def configure(self, worker_timeout: float, start_timeout: float) -> None:
        """Watch workers that start from now on in another way."""
        self._worker_timeout, self._start_timeout = worker_timeout, start_timeout

    def make(self) -> WorkerProcess:
        """A worker that has not been started yet."""
        self._started += 1
        return self._make_worker(
            f"worker {self._started}", self._reactor, self._events, self._worker_timeout
        )

    def start(self, worker: WorkerProcess, command: Command) -> None:
        """Start it; if there can be no process, it is as one that has ended."""
        try:
            worker.start(command, self._start_timeout)
        except OSError as error:
            worker.fail(f"the process cannot be started: {error}")
