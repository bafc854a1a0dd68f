"""The application's threads: long-lived loops, and two queues (see ``handover``).

Work crosses to the threads in batches, one for each turn of the reactor, and results
cross back in batches: a worker wakes the reactor once for all that is ready.

How many threads are woken for a batch?  An application that only computes is fastest in one
thread, because several would contend for the GIL.  One that waits for I/O needs a thread for
each job.  So one thread is woken for a batch.  The others are woken as soon as jobs are known
to take long: earlier jobs did, or some are still queued when the reactor checks a moment later.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from time import perf_counter
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from zkservice.deferreds import Alarm, Waiters
from zkservice.web.handover import JobQueue, Results
from zkservice.web.worker import Job, Running, Worker

__all__ = ["Workers", "WorkersStatistics"]

#: Seconds after which more threads are woken for queued jobs, if no job was completed.
_POLL_INTERVAL: Final = 0.001


@dataclass(frozen=True)
class WorkersStatistics:
    """What the worker threads are doing at this moment."""

    threads: int  #: threads that take requests
    busy: int  #: of them, those that run the application
    queued: int  #: requests that wait for a thread
    completed: int  #: requests that threads have finished since the start
    stuck: int  #: threads that were replaced and are still in the application


class Workers:
    """Threads that run jobs.  Nothing starts before ``start``.

    Args:
        reactor: where results are delivered.
        threads: how many jobs run at a time.
        spares: how many stuck threads are replaced; as many as ``threads`` by default.
        now: a clock in seconds, for the duration of jobs.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        threads: int = 4,
        *,
        spares: int | None = None,
        now: Callable[[], float] = perf_counter,
    ) -> None:
        if threads < 1:
            raise ValueError(f"there must be at least one worker thread, not {threads}")
        self.threads = threads
        self.now = now
        #: Passes results of the jobs to the reactor.
        self.results = Results(reactor)
        self._reactor = reactor
        self._spares = threads if spares is None else spares
        self._queue = JobQueue()
        self._batch: list[Job] = []  # jobs that were submitted in this turn of the reactor
        self._hand_over_call: IDelayedCall | None = None
        self._poll_alarm = Alarm(reactor, self._poll)
        self._completed_at_poll = 0  # the count when the poll was scheduled
        self._workers: set[Worker] = set()
        self._stuck: set[Worker] = set()
        self._completed = 0  # by threads that have ended or were abandoned
        self._numbers = count()  # of the threads
        self._stopped: Waiters[int] = Waiters()

    # Reactor thread

    def start(self) -> None:
        """Start the threads (not before the process has daemonized)."""
        if not self._queue.closed or self._workers or self._stuck:
            return
        self._queue.open()
        for _ in range(self.threads):
            self._add_worker()

    def submit(self, job: Job) -> None:
        """Have a worker run ``job``; jobs of one reactor turn are handed over together."""
        self._batch.append(job)
        if self._hand_over_call is None:
            self._hand_over_call = self._reactor.callLater(0, self._hand_over)

    def replace(self, worker: Worker) -> bool:
        """Have another thread take the place of one that is stuck in its job.

        Returns:
            False if as many were replaced as there are spares: then there is one thread
            less until a stuck one comes back.
        """
        if worker not in self._workers:
            return True
        worker.retired = True
        self._workers.discard(worker)
        self._stuck.add(worker)
        if len(self._stuck) > self._spares:
            return False
        self._add_worker()
        return True

    def stop(self, timeout: float) -> Deferred[int]:
        """Let the running jobs finish, and end the threads.

        Args:
            timeout: seconds to wait for jobs that run or are queued.

        Returns:
            Fires with the number of threads that are still stuck in the application.
            They are abandoned: they delay neither the reactor nor the end of the process.
        """
        finished = self._stopped.add()
        self._hand_over()
        self._queue.close()
        give_up = Alarm(self._reactor, self._abandon)
        give_up.set(timeout)
        finished.addBoth(_cancel, give_up)
        self._maybe_stopped()
        return finished

    @property
    def queued(self) -> int:
        """How many jobs wait for a thread."""
        return len(self._queue) + len(self._batch)

    def statistics(self) -> WorkersStatistics:
        """What the threads are doing."""
        threads = len(self._workers)
        return WorkersStatistics(
            threads=threads,
            busy=max(0, threads - self._queue.parked),
            queued=self.queued,
            completed=self._count_completed(),
            stuck=len(self._stuck),
        )

    def busy_with(self) -> list[tuple[Job, float]]:
        """The job of each thread and its seconds; empty unless all threads are busy."""
        now = self.now()
        jobs = [(worker.job, now - worker.began) for worker in self._workers]
        busy = [(job, seconds) for job, seconds in jobs if job is not None]
        return busy if len(busy) == len(jobs) else []

    def all_workers(self) -> list[Worker]:
        """The threads, including those that are stuck, sorted by name."""
        return sorted(self._workers | self._stuck, key=lambda each: each.name)

    def running(self) -> list[Running]:
        """What each thread is doing, and where in its code it is."""
        now = self.now()
        return [
            Running(
                thread=worker.name,
                job=worker.job,
                seconds=now - worker.began,
                stuck=worker.retired,
                stack=worker.stack(),
            )
            for worker in self.all_workers()
        ]

    def _add_worker(self) -> None:
        worker = Worker()
        # A daemon: a thread that is stuck in the application must not keep the process alive.
        worker.thread = threading.Thread(
            target=self._work,
            args=(worker,),
            name=f"application-{next(self._numbers)}",
            daemon=True,
        )
        self._workers.add(worker)
        worker.thread.start()

    def _hand_over(self) -> None:
        if self._hand_over_call is not None:
            if self._hand_over_call.active():
                self._hand_over_call.cancel()
            self._hand_over_call = None
        if not self._batch:
            return
        self._queue.put(self._batch, len(self._workers))
        self._batch.clear()
        self._maybe_poll()

    def _maybe_poll(self) -> None:
        """Schedule a poll if jobs are queued while threads are parked."""
        if len(self._queue) and self._queue.parked and not self._poll_alarm.is_set:
            self._completed_at_poll = self._count_completed()
            self._poll_alarm.set(_POLL_INTERVAL)

    def _poll(self) -> None:
        """Wake threads for the queued jobs, unless jobs were completed since this was scheduled."""
        if self._count_completed() == self._completed_at_poll:
            self._queue.wake_enough()
        self._maybe_poll()

    def _count_completed(self) -> int:
        total = self._completed
        for workers in (self._workers, self._stuck):
            for worker in workers:
                total += worker.completed
        return total

    def _ended(self, worker: Worker) -> None:
        """Forget a thread that has ended, possibly long after it was abandoned."""
        if worker in self._workers or worker in self._stuck:
            self._workers.discard(worker)
            self._stuck.discard(worker)
            self._completed += worker.completed
        if worker.retired:
            self._log.info("thread {thread} has come back from its request", thread=worker.name)
            if not self._queue.closed and len(self._workers) < self.threads:
                self._add_worker()
        self._maybe_stopped()

    def _maybe_stopped(self) -> None:
        """Report the end of ``stop`` if all threads have ended."""
        if self._queue.closed and not self._workers and not self._stuck:
            self._report_stopped(0)

    def _abandon(self) -> None:
        """Report the end of ``stop`` although threads are still in the application."""
        left = self._workers | self._stuck
        for worker in left:
            worker.retired = True
            self._log.warn(
                "thread {thread} is still in the application; it is abandoned",
                thread=worker.name,
            )
        self._completed = self._count_completed()
        self._workers.clear()
        self._stuck.clear()
        self._report_stopped(len(left))

    def _report_stopped(self, stuck: int) -> None:
        self._poll_alarm.cancel()
        self._stopped.fire(stuck)

    # Worker threads

    def _work(self, worker: Worker) -> None:
        queue, now = self._queue, self.now
        while True:
            job = queue.take(worker)
            if job is None:
                break
            worker.began = began = now()
            worker.job = job
            try:
                job.run(worker)
            except BaseException:  # noqa: BLE001 - nothing may end the loop
                self._log.failure("a job failed outside the application")
            # the thread may sleep for long now; it must not keep the request alive
            worker.job = job = None
            worker.completed += 1
            queue.note_length(now() - began)
        self.results.post(self._ended, worker)


def _cancel(result: int, alarm: Alarm) -> int:
    alarm.cancel()
    return result
