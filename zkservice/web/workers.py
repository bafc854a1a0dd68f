"""The application's threads: long-lived loops in a Twisted thread pool, and two queues.

Work crosses to the threads in batches, one for each turn of the reactor, and results
cross back in batches: a worker wakes the reactor once for all that is ready.

No lock guards the queues.  Each rests on two facts: ``append`` and ``popleft`` of a deque
are atomic, and whoever goes to sleep says so first and looks again afterwards.

How many threads to wake for a batch?  An application that only computes is fastest in one
thread, for the threads would only take the interpreter from each other; one that waits
needs as many as there are jobs.  So one thread is woken for a batch, and the others as
soon as jobs are known to take long: from experience, or because some still wait when the
reactor looks a moment later.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

__all__ = ["Job", "Running", "Worker", "Workers", "WorkersStatistics"]


#: Seconds.  Waking a thread and passing it the interpreter costs some 20 to 50 us: worth
#: it from here on.
_LONG_JOB: Final = 0.000_1
#: Seconds after which jobs that wait get threads of their own, if nothing has moved.
_PATIENCE: Final = 0.001
#: The usual length of a job is its median, followed by steps: a mean would take one long
#: wait for the interpreter as a sign that jobs are long, and make it so.
_STEP_UP: Final = 1.2
_STEP_DOWN: Final = 1 / _STEP_UP
_SHORTEST: Final = 0.000_001


class Job(Protocol):
    """Something to do in a worker thread.  ``str`` of it is for the administrator."""

    def run(self, worker: Worker) -> None:
        """Do it (worker thread)."""
        ...


class Worker:
    """One worker thread, as the others see it."""

    __slots__ = ("began", "job", "memory", "parked", "retired", "thread")

    def __init__(self) -> None:
        self.job: Job | None = None
        #: When the job began, by the clock of the workers.
        self.began = 0.0
        #: The thread's own objects, by who keeps them.
        self.memory: dict[object, Any] = {}
        #: Whether another thread has taken its place; it ends with its job.
        self.retired = False
        self.parked = threading.Lock()
        self.parked.acquire()
        self.thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        """The thread's name."""
        return "(not started)" if self.thread is None else self.thread.name

    def stack(self) -> str:
        """Where the thread is at this moment, the innermost call last."""
        ident = None if self.thread is None else self.thread.ident
        frame = None if ident is None else sys._current_frames().get(ident)
        return "" if frame is None else "".join(traceback.format_stack(frame))


@dataclass(frozen=True)
class Running:
    """What one thread is doing at this moment."""

    thread: str
    job: Job | None  #: None if it is idle
    seconds: float  #: since the job began
    stuck: bool  #: whether another thread has taken its place
    stack: str


@dataclass(frozen=True)
class WorkersStatistics:
    """What the worker threads are doing at this moment."""

    threads: int  #: threads that take requests
    busy: int  #: of them, those that run the application
    queued: int  #: requests that wait for a thread
    completed: int  #: requests that threads have finished since the start
    stuck: int  #: threads that were replaced and are still in the application


class _DaemonThread(threading.Thread):
    """A thread that does not keep the process alive."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, daemon=True, **kwargs)


class _DaemonPool(ThreadPool):
    threadFactory = _DaemonThread  # noqa: N815 - Twisted's name


class Workers:
    """Threads that run jobs.  Nothing starts before ``start``.

    Args:
        reactor: where results are delivered.
        threads: how many jobs run at a time.
        spares: how many stuck threads are replaced; as many as ``threads`` if not said.
        now: seconds of a clock that tells how long jobs take.
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
        self._spares = threads if spares is None else spares
        self._reactor = reactor
        self._waiting: deque[Job] = deque()
        self._parked: list[Worker] = []
        self._ready: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._reactor_knows = False
        self._after: dict[Callable[[], None], None] = {}  # an ordered set
        self._stopping = False
        self._turn: list[Job] = []
        self._flushing: IDelayedCall | None = None
        self._looking: IDelayedCall | None = None
        self._delivering: IDelayedCall | None = None
        self._completed_before = 0  # at the last look
        self._usual = _SHORTEST  # seconds that a job takes
        self._workers: set[Worker] = set()
        self._stuck: set[Worker] = set()
        self._completed = 0
        self._pool: ThreadPool | None = None
        self._stopped: list[Deferred[int]] = []

    # Reactor thread

    def start(self) -> None:
        """Start the threads (not before the process has daemonized)."""
        if self._pool is not None:
            return
        self._stopping = False
        self._pool = _DaemonPool(0, self.threads + self._spares, name="application")
        self._pool.start()
        for _ in range(self.threads):
            self._add_worker()

    def submit(self, job: Job) -> None:
        """Have a worker run ``job``; jobs of one reactor turn are handed over together."""
        self._turn.append(job)
        if self._flushing is None:
            self._flushing = self._reactor.callLater(0, self._hand_over)

    def post_here(self, function: Callable[..., None], *args: Any) -> None:
        """``post`` for the reactor's own thread: at the end of its turn, without being woken.

        What a turn has for its clients is sent together, so that they, too, come together.
        """
        self._ready.append((function, args))
        if self._delivering is None:
            self._delivering = self._reactor.callLater(0, self._deliver_here)

    def after_delivery(self, function: Callable[[], None]) -> None:
        """Call ``function`` once, when everything that is ready has been delivered."""
        self._after[function] = None

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
            They are abandoned: they hold up neither the reactor nor the process's end.
        """
        finished: Deferred[int] = Deferred()
        if self._pool is None:
            finished.callback(0)
            return finished
        self._hand_over()
        self._stopping = True
        self._stopped.append(finished)
        give_up = self._reactor.callLater(timeout, self._abandon)
        finished.addBoth(_cancel, give_up)
        while self._parked:
            self._wake_one()
        self._maybe_stopped()
        return finished

    @property
    def queued(self) -> int:
        """How many jobs wait for a thread."""
        return len(self._waiting) + len(self._turn)

    def statistics(self) -> WorkersStatistics:
        """What the threads are doing."""
        threads = len(self._workers)
        return WorkersStatistics(
            threads=threads,
            busy=max(0, threads - len(self._parked)),
            queued=self.queued,
            completed=self._completed,
            stuck=len(self._stuck),
        )

    def busy_with(self) -> list[tuple[Job, float]]:
        """The job of each thread and its seconds, if all threads have one; else nothing."""
        now = self.now()
        jobs = [(worker.job, now - worker.began) for worker in self._workers]
        busy = [(job, seconds) for job, seconds in jobs if job is not None]
        return busy if len(busy) == len(jobs) else []

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
            for worker in sorted(self._workers | self._stuck, key=lambda each: each.name)
        ]

    def _add_worker(self) -> None:
        assert self._pool is not None
        worker = Worker()
        self._workers.add(worker)
        self._pool.callInThread(self._work, worker)

    def _hand_over(self) -> None:
        if self._flushing is not None:
            if self._flushing.active():
                self._flushing.cancel()
            self._flushing = None
        if not self._turn:
            return
        self._waiting.extend(self._turn)
        self._turn.clear()
        # after the jobs are there: a thread that parks now sees them, or we see it parked
        if self._usual > _LONG_JOB or len(self._parked) == len(self._workers):
            self._wake_one()
        self._maybe_look_again()

    def _maybe_look_again(self) -> None:
        """Look a moment later, if jobs wait while threads sleep."""
        if self._looking is None and self._waiting and self._parked:
            self._completed_before = self._completed
            self._looking = self._reactor.callLater(_PATIENCE, self._look_again)

    def _look_again(self) -> None:
        """Wake threads for the jobs that still wait, unless they are being worked off."""
        self._looking = None
        if self._completed == self._completed_before:
            for _ in range(min(len(self._waiting), len(self._parked))):
                self._wake_one()
        self._maybe_look_again()

    def _deliver_here(self) -> None:
        self._delivering = None
        self._deliver()

    def _deliver(self) -> None:
        """Call everything that workers have posted."""
        self._reactor_knows = False  # first: what is posted from here on wakes us again
        ready = self._ready
        while ready:
            function, args = ready.popleft()
            self._call(function, args)
        if self._after:
            after, self._after = self._after, {}
            for function in after:
                self._call(function, ())

    def _call(self, function: Callable[..., None], args: tuple[Any, ...]) -> None:
        try:
            function(*args)
        except Exception:  # noqa: BLE001 - one bad delivery must not lose the others
            self._log.failure("a worker's result could not be delivered")

    def _ended(self, worker: Worker) -> None:
        self._workers.discard(worker)
        self._stuck.discard(worker)
        if worker.retired:
            self._log.info("thread {thread} has come back from its request", thread=worker.name)
            if self._pool is not None and not self._stopping and len(self._workers) < self.threads:
                self._add_worker()
        self._maybe_stopped()

    def _maybe_stopped(self) -> None:
        if self._stopping and not self._workers and not self._stuck:
            self._report_stopped(0)

    def _abandon(self) -> None:
        left = self._workers | self._stuck
        for worker in left:
            worker.retired = True
            self._log.warn(
                "thread {thread} is still in the application; it is abandoned",
                thread=worker.name,
            )
        self._workers.clear()
        self._stuck.clear()
        self._report_stopped(len(left))

    def _report_stopped(self, stuck: int) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.threads.clear()  # or stop() would join the stuck ones
            pool.stop()
        stopped, self._stopped = self._stopped, []
        for finished in stopped:
            finished.callback(stuck)

    # Any thread

    def post(self, function: Callable[..., None], *args: Any) -> None:
        """Have the reactor call ``function(*args)``, together with whatever else is ready."""
        self._ready.append((function, args))
        if not self._reactor_knows:
            self._reactor_knows = True
            self._reactor.callFromThread(self._deliver)

    def _wake_one(self) -> None:
        try:
            worker = self._parked.pop()
        except IndexError:
            return
        worker.parked.release()

    # Worker threads

    def _work(self, worker: Worker) -> None:
        worker.thread = threading.current_thread()
        while True:
            job = self._take(worker)
            if job is None:
                break
            worker.began = began = self.now()
            worker.job = job
            try:
                job.run(worker)
            except BaseException:  # noqa: BLE001 - nothing may end the loop
                self._log.failure("a job failed outside the application")
            # the thread may sleep long now; nothing of the request should stay with it
            worker.job = job = None
            self._completed += 1
            usual = self._usual
            step = _STEP_UP if self.now() - began > usual else _STEP_DOWN
            self._usual = max(usual * step, _SHORTEST)
        self.post(self._ended, worker)

    def _take(self, worker: Worker) -> Job | None:
        """The next job, as soon as there is one; None when there will be no more."""
        while not worker.retired:
            try:
                job = self._waiting.popleft()
            except IndexError:
                if self._stopping:
                    return None
                self._parked.append(worker)
                if self._waiting or self._stopping:  # they came before we were seen parked
                    self._wake_one()
                worker.parked.acquire()
                continue
            if self._usual > _LONG_JOB and self._waiting and self._parked:
                self._wake_one()  # each wakes the next
            return job
        return None


def _cancel(result: int, call: IDelayedCall) -> int:
    if call.active():
        call.cancel()
    return result
