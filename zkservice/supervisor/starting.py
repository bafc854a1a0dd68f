"""Starting workers: their names, their settings, and the pauses after failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from zkservice.deferreds import Alarm, Backoff
from zkservice.supervisor.process import Command, WorkerEvents, WorkerProcess

__all__ = ["Restarts", "StartCommands", "Starter"]

#: Seconds between two starts when workers die young: the shortest and the longest pause.
_PAUSE: Final = 0.1
_PAUSE_MAX: Final = 30.0
#: A worker that dies before it is so many seconds old is replaced only after a pause.
_YOUNG: Final = 5.0
#: Failed starts after which the pool gives up, if no start has ever succeeded.
_MAX_FAILURES: Final = 3


class StartCommands:
    """What workers are started with: the current settings, and those that a reload tries.

    Args:
        make: returns how to start a worker; called again for each reload.
    """

    def __init__(self, make: Callable[[], Command]) -> None:
        self._make = make
        self._next: Command | None = None
        self.current = make()
        self.reload_again = False  #: whether another reload was requested during this one

    @property
    def next(self) -> Command:
        """The settings that the running reload tries; the current ones without a reload."""
        return self.current if self._next is None else self._next

    def prepare(self) -> None:
        """Begin a reload."""
        self._next = self._make()

    def finish(self, *, accepted: bool) -> bool:
        """End the reload; return whether another one was requested meanwhile."""
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
        """Whether it is too early to start a worker."""
        return self._pause.is_set

    def served(self) -> None:
        """Reset the pauses, because a worker serves."""
        self._has_served = True
        self._backoff.reset()

    def age(self, worker: WorkerProcess) -> float:
        """Seconds since a worker was started."""
        return float(self._clock.seconds() - worker.since)

    def died(self, worker: WorkerProcess, size: int) -> bool:
        """Plan the next start after a worker has died; return False to give up.

        Args:
            worker: a worker that was still wanted.
            size: the number of workers that are started side by side.
        """
        if worker.has_served and self.age(worker) >= _YOUNG:
            return True
        pause = self._backoff.next()
        if not self._has_served and self._backoff.failures >= max(_MAX_FAILURES, size):
            return False
        self._pause.set_no_later(pause)
        return True

    def stop(self) -> None:
        """Stop starting workers."""
        self._pause.cancel()


class Starter:
    """Starts workers, each with a name of its own.

    Args:
        reactor: spawns the processes.
        events: receives what happens to the workers.
        worker_timeout: seconds without a beat after which a worker is killed; 0: never.
        start_timeout: seconds until a worker must serve.
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
        """Replace the time-outs for workers that start from now on."""
        self._worker_timeout, self._start_timeout = worker_timeout, start_timeout

    def make(self) -> WorkerProcess:
        """Return a worker that has not been started yet."""
        self._started += 1
        return self._make_worker(
            f"worker {self._started}", self._reactor, self._events, self._worker_timeout
        )

    def start(self, worker: WorkerProcess, command: Command) -> None:
        """Start a worker; a failure is reported as the worker's end."""
        try:
            worker.start(command, self._start_timeout)
        except OSError as error:
            worker.fail(f"the process cannot be started: {error}")
