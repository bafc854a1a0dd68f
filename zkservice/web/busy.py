"""Log when all threads have been busy for long, so that other requests have to wait."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from zkservice.web.worker import Job
from zkservice.web.workers import Workers

__all__ = ["BusyWatch"]

#: Requests that a log line names, and characters of each.
_MAX_JOBS: Final = 8
_MAX_TEXT: Final = 120


class BusyWatch:
    """Logs once when all threads have been in a job for long, and once when a thread is free.

    It polls the threads, so that requests cost nothing more.

    Args:
        workers: the threads.
        clock: schedules the polls.
        patience: seconds for which every thread must have been in its job.
    """

    _log = Logger()

    def __init__(self, workers: Workers, clock: IReactorTime, patience: float = 1.0) -> None:
        self._workers = workers
        self._patience = patience
        self._clock = clock
        # When the last thread became busy; None until that is logged.
        self._since: float | None = None
        self._loop = LoopingCall(self._check)
        self._loop.clock = clock

    def start(self) -> None:
        """Start to poll."""
        self._loop.start(self._patience / 2, now=False).addErrback(
            lambda failure: self._log.failure("the threads are no longer watched", failure)
        )

    def stop(self) -> None:
        """Stop polling."""
        if self._loop.running:
            self._loop.stop()

    def _check(self) -> None:
        jobs = self._workers.busy_with()
        shortest = min((seconds for _, seconds in jobs), default=0.0)
        if shortest >= self._patience:
            if self._since is None:
                self._since = self._clock.seconds() - shortest
                self._log_busy(jobs)
        elif self._since is not None:
            seconds, self._since = self._clock.seconds() - self._since, None
            self._log.info(
                "a thread is free again: all of them were busy for {seconds:.1f} s",
                seconds=seconds,
            )

    def _log_busy(self, jobs: list[tuple[Job, float]]) -> None:
        self._log.warn(
            "all {threads} threads have been busy for over {patience:g} s, requests in the queue: "
            "{queued}; if that is usual, raise --threads.  They run {jobs}",
            threads=len(jobs),
            patience=self._patience,
            queued=self._workers.queued,
            jobs="; ".join(_descriptions(sorted(jobs, key=lambda each: -each[1]))),
        )


def _descriptions(jobs: list[tuple[Job, float]]) -> Iterable[str]:
    for job, seconds in jobs[:_MAX_JOBS]:
        text = str(job)
        yield f"{text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + '...'} for {seconds:.1f} s"
    if len(jobs) > _MAX_JOBS:
        yield f"and {len(jobs) - _MAX_JOBS} more"
