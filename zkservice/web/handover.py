"""Handshakes between the reactor's thread and the worker threads, all described in one place.

A side that is about to sleep sets its flag, then looks for work.  The other side adds work, then
reads the flag.  Without a lock, each side could miss what the other has just written: the job would
be queued, and its thread would sleep for ever.  The queues are deques.  Their ``append`` and
``popleft`` hold a lock: the GIL or, in a free-threaded Python, that of the deque.  ``len`` and
``bool`` hold none in a free-threaded Python, so no handshake relies on them.

=============================== ==================================================================
what is passed                  why no update is lost
=============================== ==================================================================
a job, to a thread              ``JobQueue``: under its lock, a thread parks only if there is no
                                job, and jobs are added; so a job finds the thread parked, or the
                                thread finds the job.
a result, to the reactor        ``Results``: a thread appends the result, then reads the flag which
                                says that the reactor was woken.  The reactor clears the flag, then
                                pops until the deque is empty.  The deque's lock orders the two:
                                if the append comes before the last pop, the result is popped; if
                                it comes after, the thread sees the cleared flag.
the first part of a stream,     ``Exchange.send`` and ``abandon``, under the lock of ``Results``:
and a client that leaves        either the window is closed, or ``send`` sees that the client
                                has left.  Later parts and room in the window: its own lock.
the attributes of an exchange   ``began``, ``ended``, ``status``, ``connection`` are written before
                                the result is posted that makes the reactor read them.
an exchange that runs too long  ``worker`` is written before ``began``; the reactor reads ``worker``
                                only where ``began`` is not None, and only to describe and retire
                                it.  A thread that comes back meanwhile may run one job more.
the job of a thread             ``Worker.job`` and ``began`` are for display: for a moment a job
                                may be shown with the time of the previous one.
``Worker.completed``            each thread counts its own jobs; a sum may be slightly old.
the usual length of a job       an estimate; if two threads correct it at the same time, one
                                correction is lost, and a later job makes it again.
``RequestHandler.draining``     a response that begins at that moment may still say keep-alive;
                                such connections get ``Limits.drain_linger``.
=============================== ==================================================================

Request bodies (``BodyStorage``), spill files and log files have locks of their own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from zkservice.web.worker import Job, Worker

__all__ = ["JobQueue", "Results"]

#: Seconds from which a job is worth a thread of its own: waking a thread and passing it the
#: interpreter costs 20 to 50 us.
_LONG_JOB: Final = 0.000_1
#: The usual length of a job is an estimate of the median, adjusted in steps.  A mean would react to
#: a single long wait for the interpreter by waking more threads, which makes such waits longer.
_STEP_UP: Final = 1.2
_STEP_DOWN: Final = 1 / _STEP_UP
_SHORTEST: Final = 0.000_001


class JobQueue:
    """Jobs that wait for a thread, and threads that wait for a job; closed at first."""

    __slots__ = ("_closed", "_jobs", "_lock", "_parked", "_usual")

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._parked: list[Worker] = []
        self._lock = threading.Lock()  # guards the decision to park
        self._closed = True
        self._usual = _SHORTEST  # the estimated seconds of a job

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def parked(self) -> int:
        """The number of threads that wait for a job."""
        return len(self._parked)

    @property
    def closed(self) -> bool:
        """Whether threads end when there is no job left."""
        return self._closed

    # Reactor thread

    def open(self) -> None:
        """Have threads wait for jobs from now on."""
        self._closed = False

    def close(self) -> None:
        """Have each thread end when there is no job left."""
        with self._lock:
            self._closed = True
        while self._parked:
            self.wake_one()

    def put(self, jobs: Iterable[Job], threads: int) -> None:
        """Add jobs; wake a thread if jobs usually take long, or if all ``threads`` are parked."""
        with self._lock:
            self._jobs.extend(jobs)
        if self._usual > _LONG_JOB or len(self._parked) == threads:
            self.wake_one()

    def wake_enough(self) -> None:
        """Wake a thread for each waiting job, while there are parked threads."""
        for _ in range(min(len(self._jobs), len(self._parked))):
            self.wake_one()

    # Any thread

    def wake_one(self) -> None:
        """Wake a thread, if one is parked."""
        try:
            worker = self._parked.pop()
        except IndexError:
            return
        worker.parked.release()

    # Worker threads

    def take(self, worker: Worker) -> Job | None:
        """Wait for the next job and return it; None when the queue is closed and empty."""
        jobs = self._jobs
        while not worker.retired:
            try:
                job = jobs.popleft()
            except IndexError:
                if not self._park(worker):
                    return None
                continue
            if self._usual > _LONG_JOB and jobs and self._parked:
                self.wake_one()  # each thread wakes the next, which costs the reactor no time
            return job
        return None

    def _park(self, worker: Worker) -> bool:
        """Sleep until there may be a job; return False if the thread must end."""
        with self._lock:
            if self._jobs:
                return True
            if self._closed:
                return False
            self._parked.append(worker)
        worker.parked.acquire()
        return True

    def note_length(self, seconds: float) -> None:
        """Adjust the usual length by the time of a job."""
        usual = self._usual
        if seconds > usual:
            self._usual = usual * _STEP_UP
        elif usual > _SHORTEST:
            self._usual = usual * _STEP_DOWN


class Results:
    """Results for the reactor, which is woken once for all that are ready.

    Args:
        reactor: delivers the results.
    """

    __slots__ = (
        "_after_delivery",
        "_delivery_call",
        "_reactor",
        "_ready",
        "_wakeup_pending",
        "lock",
    )

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        #: Guards the attributes by which exchanges open and close their windows.
        self.lock = threading.Lock()
        self._reactor = reactor
        self._ready: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._wakeup_pending = False  # whether the reactor was woken and has not started to deliver
        self._after_delivery: dict[Callable[[], None], None] = {}  # an ordered set
        self._delivery_call: IDelayedCall | None = None  # of post_here

    # Any thread

    def post(self, function: Callable[..., None], *args: Any) -> None:
        """Have the reactor call ``function(*args)``, together with all other results."""
        self._ready.append((function, args))
        if not self._wakeup_pending:  # after the append, see above
            self._wakeup_pending = True
            self._reactor.callFromThread(self._deliver)

    # Reactor thread

    def post_here(self, function: Callable[..., None], *args: Any) -> None:
        """``post`` for the reactor's own thread: at the end of its turn, without a wake-up.

        Responses of one turn are sent together, so that the clients' next requests arrive together.
        """
        self._ready.append((function, args))
        if self._delivery_call is None:
            self._delivery_call = self._reactor.callLater(0, self._deliver_here)

    def after_delivery(self, function: Callable[[], None]) -> None:
        """Call ``function`` once, when everything that is ready has been delivered."""
        self._after_delivery[function] = None

    def _deliver_here(self) -> None:
        self._delivery_call = None
        self._deliver()

    def _deliver(self) -> None:
        """Call everything that was posted."""
        self._wakeup_pending = False  # first: later results wake the reactor again
        take = self._ready.popleft
        while True:
            try:  # not "while self._ready": bool() does not hold the deque's lock, see above
                function, args = take()
            except IndexError:
                break
            try:
                function(*args)
            except Exception:  # noqa: BLE001 - one bad delivery must not lose the others
                self._log_failure()
        if self._after_delivery:
            after, self._after_delivery = self._after_delivery, {}
            for function in after:
                try:
                    function()
                except Exception:  # noqa: BLE001
                    self._log_failure()

    def _log_failure(self) -> None:
        self._log.failure("a worker's result could not be delivered")
