"""Handshakes between the reactor's thread and the worker threads, all named in one place.

Where one side may go to sleep, each side writes one thing and then reads another.  Without a lock
(the GIL is one) both may read the old state; then a job would wait for ever for a thread that
sleeps.  The queues are deques: ``append`` and ``popleft`` take the GIL, or, in a free-threaded
Python, the deque's own lock.  ``len`` and ``bool`` do not, so nothing rests on them.

=============================== ==================================================================
what crosses                    why no update is lost
=============================== ==================================================================
a job, to a thread              ``JobQueue``: under its lock, a thread parks only if there is no
                                job, and jobs are added; so a job finds the thread parked, or the
                                thread finds the job.
a result, to the reactor        ``Results``: a thread appends it, then reads the flag which says
                                that the reactor is going to look; the reactor clears the flag,
                                then pops until nothing is left.  In the order of the deque's lock
                                either the append comes first, and the result is popped, or the
                                last pop does, and the thread reads the flag that was cleared.
the first part of a stream,     ``Exchange.send`` and ``abandon``, under the lock of ``Results``:
and a client that leaves        either the window is closed, or ``send`` sees that the client
                                has left.  Later parts and room in the window: its own lock.
what an exchange has noted      ``began``, ``ended``, ``status``, ``connection`` are written before
                                the result is posted that makes the reactor read them.
an exchange that runs too long  ``worker`` is written before ``began``; the reactor reads ``worker``
                                only where ``began`` is not None, and only to describe and retire
                                it.  A thread that comes back meanwhile may run one job more.
what a thread is doing          ``Worker.job`` and ``began`` are for display: for a moment a job
                                may be shown with the time of the one before it.
``Worker.completed``            each thread counts for itself; a sum may be a moment old.
how long jobs usually take      a guess; when two threads correct it at once, one correction is
                                lost, and the next job makes it.
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

#: Seconds.  Waking a thread and passing it the interpreter costs some 20 to 50 us: worth
#: it from here on.
_LONG_JOB: Final = 0.000_1
#: The usual length of a job is its median, followed by steps: a mean would take one long
#: wait for the interpreter as a sign that jobs are long, and make it so.
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
        self._usual = _SHORTEST  # seconds that a job takes

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def parked(self) -> int:
        """How many threads wait for a job."""
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
        """Add jobs, and wake one thread if none of so many threads is going to look."""
        with self._lock:
            self._jobs.extend(jobs)
        if self._usual > _LONG_JOB or len(self._parked) == threads:
            self.wake_one()

    def wake_enough(self) -> None:
        """Wake a thread for each job that waits, as far as there are some."""
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
        """Return the next job, as soon as there is one; None when there will be no more."""
        jobs = self._jobs
        while not worker.retired:
            try:
                job = jobs.popleft()
            except IndexError:
                if not self._park(worker):
                    return None
                continue
            if self._usual > _LONG_JOB and jobs and self._parked:
                self.wake_one()  # each wakes the next
            return job
        return None

    def _park(self, worker: Worker) -> bool:
        """Sleep until there may be a job; returns False if there will be none."""
        with self._lock:
            if self._jobs:
                return True
            if self._closed:
                return False
            self._parked.append(worker)
        worker.parked.acquire()
        return True

    def note_length(self, seconds: float) -> None:
        """Learn how long a job has taken."""
        usual = self._usual
        if seconds > usual:
            self._usual = usual * _STEP_UP
        elif usual > _SHORTEST:
            self._usual = usual * _STEP_DOWN


class Results:
    """What worker threads have for the reactor, which they wake once for all that is ready.

    Args:
        reactor: where results are delivered.
    """

    __slots__ = ("_after", "_expected", "_reactor", "_ready", "_soon", "lock")

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        #: Guards what exchanges tell the other side.
        self.lock = threading.Lock()
        self._reactor = reactor
        self._ready: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._expected = False  # whether the reactor is going to look
        self._after: dict[Callable[[], None], None] = {}  # an ordered set
        self._soon: IDelayedCall | None = None

    # Any thread

    def post(self, function: Callable[..., None], *args: Any) -> None:
        """Have the reactor call ``function(*args)``, together with whatever else is ready."""
        self._ready.append((function, args))
        if not self._expected:  # after the append, see above
            self._expected = True
            self._reactor.callFromThread(self._deliver)

    # Reactor thread

    def post_here(self, function: Callable[..., None], *args: Any) -> None:
        """``post`` for the reactor's own thread: at the end of its turn, without being woken.

        What a turn has for its clients is sent together, so that they, too, come together.
        """
        self._ready.append((function, args))
        if self._soon is None:
            self._soon = self._reactor.callLater(0, self._deliver_here)

    def after_delivery(self, function: Callable[[], None]) -> None:
        """Call ``function`` once, when everything that is ready has been delivered."""
        self._after[function] = None

    def _deliver_here(self) -> None:
        self._soon = None
        self._deliver()

    def _deliver(self) -> None:
        """Call everything that was posted."""
        self._expected = False  # first: what is posted from here on wakes us again
        take = self._ready.popleft
        while True:
            try:
                function, args = take()  # not bool(): only this takes the deque's lock, see above
            except IndexError:
                break
            try:
                function(*args)
            except Exception:  # noqa: BLE001 - one bad delivery must not lose the others
                self._log_failure()
        if self._after:
            after, self._after = self._after, {}
            for function in after:
                try:
                    function()
                except Exception:  # noqa: BLE001
                    self._log_failure()

    def _log_failure(self) -> None:
        self._log.failure("a worker's result could not be delivered")
