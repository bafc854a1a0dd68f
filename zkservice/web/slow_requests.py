"""Log slow requests, with their stacks."""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from zkservice.deferreds import Alarm
from zkservice.web.exchange import Exchange
from zkservice.web.worker import Job, Worker
from zkservice.web.workers import Workers

__all__ = ["SlowRequests"]

#: Stacks that are logged in an interval of so many seconds.
_MAX_LOGGED: Final = 10
_INTERVAL: Final = 60.0
#: Seconds between two polls of the threads: the shortest and the longest interval.
_MIN_INTERVAL: Final = 0.05
_MAX_INTERVAL: Final = 1.0


class SlowRequests:
    """Logs each slow request once while it is still in the application.

    It polls the threads, so that requests cost nothing more.  At most ten requests a minute are
    logged; the others are counted.

    Args:
        workers: the threads.
        clock: schedules the polls.
        seconds: the time from which a request is slow; 0: never.
    """

    _log = Logger()

    def __init__(self, workers: Workers, clock: IReactorTime, seconds: float) -> None:
        self._workers = workers
        self._clock = clock
        self._seconds = seconds
        self._alarm = Alarm(clock, self._check)
        self._seen: dict[Worker, Job] = {}  # the slow jobs at the last poll
        self._since = 0.0  # when the interval began
        self._logged = 0  # in the interval
        self._unlogged = 0

    def start(self) -> None:
        """Start to poll."""
        if self._seconds:
            self._alarm.set(min(max(self._seconds / 4, _MIN_INTERVAL), _MAX_INTERVAL))

    def stop(self) -> None:
        """Stop polling."""
        self._alarm.cancel()

    def _check(self) -> None:
        self.start()
        now = self._workers.now()
        slow: dict[Worker, Job] = {}
        for worker in self._workers.all_workers():
            job, ran = worker.job, now - worker.began
            if job is None or ran < self._seconds:
                continue
            slow[worker] = job
            if self._seen.get(worker) is not job and self._may_log():
                self._log_slow(worker, job, ran)
        self._seen = slow

    def _may_log(self) -> bool:
        now = self._clock.seconds()
        if not 0 <= now - self._since < _INTERVAL:
            if self._unlogged:
                self._log.warn("{count} more requests were slow", count=self._unlogged)
            self._since, self._logged, self._unlogged = now, 0, 0
        if self._logged == _MAX_LOGGED:
            self._unlogged += 1
            return False
        self._logged += 1
        return True

    def _log_slow(self, worker: Worker, job: Job, ran: float) -> None:
        self._log.warn(
            "{request} has run for {seconds:.1f} s in {thread} (request {request_id}), which is "
            "at\n{stack}",
            request=str(job),
            seconds=ran,
            thread=worker.name,
            request_id=_request_id_of(job) or "-",
            stack=worker.stack().rstrip("\n"),
        )


def _request_id_of(job: Job) -> str:
    """The request id of a job; "" without one."""
    if not isinstance(job, Exchange):
        return ""
    return job.request.fields.get("HTTP_X_REQUEST_ID", "")
