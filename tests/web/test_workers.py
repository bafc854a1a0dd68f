"""Tests for zkservice.web.workers: real threads, a reactor that the test turns by hand."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from queue import Empty, Queue
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.web.worker import Worker
from zkservice.web.workers import Workers

PATIENCE = 120.0  # seconds until a test that waits for a thread has failed


class HandReactor(Clock):
    """A clock that also takes calls from threads; ``turn`` runs them."""

    def __init__(self) -> None:
        super().__init__()
        self.from_threads: Queue[tuple[Callable[..., None], tuple[Any, ...]]] = Queue()
        self.wakes = 0

    def callFromThread(self, function: Callable[..., None], *args: Any) -> None:  # noqa: N802
        """Keep a call for ``turn``."""
        self.wakes += 1
        self.from_threads.put((function, args))

    def turn(self) -> None:
        """Wait for a thread to call, and run what it called."""
        try:
            function, args = self.from_threads.get(timeout=PATIENCE)
        except Empty:
            raise AssertionError("no thread called in time") from None
        function(*args)

    def turn_until(self, condition: Callable[[], bool]) -> None:
        """Run calls until the condition holds."""
        while not condition():
            self.turn()


class Call:
    """A job that calls a function."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function

    def run(self, worker: Worker) -> None:
        """Call it."""
        self.function()


class WorkersTests(SynchronousTestCase):
    """Jobs out, results back."""

    @override
    def setUp(self) -> None:
        self.reactor = HandReactor()
        self.results: list[Any] = []
        self.release = threading.Event()
        self.addCleanup(self.release.set)

    def workers(self, threads: int, **arguments: Any) -> Workers:
        """Workers that end with the test."""
        workers = Workers(self.reactor, threads, **arguments)
        workers.start()
        self.addCleanup(self.stop, workers)
        return workers

    def stop(self, workers: Workers) -> int:
        """Stop workers that have nothing left to do."""
        self.release.set()
        stopped: list[int] = []
        workers.stop(PATIENCE).addCallback(stopped.append)
        self.reactor.turn_until(lambda: bool(stopped))
        return stopped[0]

    def submit(self, workers: Workers, *functions: Callable[[], object]) -> None:
        """Submit jobs in one turn of the reactor."""
        for function in functions:
            workers.submit(Call(function))
        self.reactor.advance(0)

    def await_idle(self, workers: Workers) -> None:
        """Wait until every thread waits for work."""
        for _ in range(1_000_000):
            if not workers.statistics().busy:
                return
            os.sched_yield()
        self.fail("a thread is busy with nothing")

    def test_nothing_starts_by_itself(self) -> None:
        """Making workers starts no thread: the process may still daemonize."""
        before = threading.active_count()
        workers = Workers(self.reactor, 4)
        self.assertEqual(threading.active_count(), before)
        self.assertEqual(workers.statistics().threads, 0)
        self.assertEqual(self.successResultOf(workers.stop(1)), 0)

    def test_threads_are_needed(self) -> None:
        """No threads would mean no answers."""
        self.assertRaises(ValueError, Workers, self.reactor, 0)

    def test_every_job_runs_once(self) -> None:
        """A thousand jobs in batches of all sizes, four threads, none lost, none twice."""
        workers = self.workers(4)
        sizes = [1, 2, 5, 40, 200, 1, 700, 51]
        number = 0
        for size in sizes:
            batch = [
                lambda number=number: workers.results.post(self.results.append, number)
                for number in range(number, number + size)
            ]
            number += size
            self.submit(workers, *batch)
        self.reactor.turn_until(lambda: len(self.results) >= number)
        self.assertEqual(sorted(self.results), list(range(1000)))
        self.assertEqual(self.stop(workers), 0)
        self.assertEqual(workers.statistics().completed, 1000)

    def meeting(self, workers: Workers) -> Callable[[], None]:
        """A job that only ends when four threads are in it at the same time."""
        barrier = threading.Barrier(4, timeout=PATIENCE)

        def meet() -> None:
            barrier.wait()
            workers.results.post(self.results.append, "met")

        return meet

    def test_short_jobs_are_done_by_one_thread(self) -> None:
        """No thread is woken as long as one gets on with it."""
        workers = self.workers(4, now=lambda: 0.0)
        self.await_idle(workers)
        threads: set[str] = set()
        for _ in range(5):
            self.submit(workers, *[lambda: threads.add(threading.current_thread().name)] * 50)
        for _ in range(1_000_000):  # a stop wakes the other threads for what is left
            if workers.statistics().completed == 250:
                break
            os.sched_yield()
        self.stop(workers)
        self.assertEqual(len(threads), 1)

    def test_jobs_of_a_batch_do_not_wait_for_a_busy_thread(self) -> None:
        """What still waits a moment after its batch gets all the threads there are."""
        workers = self.workers(4)
        self.submit(workers, *[self.meeting(workers)] * 4)
        self.reactor.advance(0.001)
        self.reactor.turn_until(lambda: len(self.results) == 4)

    def occupy(self, workers: Workers, threads: int, jobs: int) -> None:
        """Submit jobs that run until the end of the test; wait until all threads have one."""
        running = threading.Semaphore(0)

        def block() -> None:
            running.release()
            self.release.wait(PATIENCE)

        self.submit(workers, *[block] * jobs)
        self.reactor.advance(0.001)
        for _ in range(threads):
            self.assertTrue(running.acquire(timeout=PATIENCE))

    def test_no_clock_runs_for_nothing(self) -> None:
        """Once every thread is busy, the reactor has no reason to look at the queue."""
        workers = self.workers(2)
        self.await_idle(workers)
        self.occupy(workers, 2, jobs=5)
        self.reactor.advance(0.001)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_long_jobs_get_threads_at_once(self) -> None:
        """If jobs usually take long, the reactor need not look again."""
        hours = itertools.count()
        workers = self.workers(4, now=lambda: 3600.0 * next(hours))
        self.submit(workers, *[lambda: None] * 30)
        self.stop(workers)  # which waits for the jobs' very end
        workers.start()
        self.submit(workers, *[self.meeting(workers)] * 4)
        self.reactor.turn_until(lambda: len(self.results) == 4)

    def test_one_wake_for_all_that_is_ready(self) -> None:
        """However much is posted before the reactor looks, it is woken once."""
        workers = self.workers(1)
        done = threading.Event()

        def post_many() -> None:
            for number in range(100):
                workers.results.post(self.results.append, number)
            done.set()

        self.submit(workers, post_many)
        self.assertTrue(done.wait(PATIENCE))
        self.assertEqual(self.reactor.wakes, 1)
        self.reactor.turn()
        self.assertEqual(self.results, list(range(100)))

    def test_posting_from_the_reactor(self) -> None:
        """What the reactor posts to itself is delivered at its turn's end, with no wake."""
        workers = self.workers(1)
        for number in range(3):
            workers.results.post_here(self.results.append, number)
        self.assertEqual((self.results, self.reactor.wakes), ([], 0))
        self.reactor.advance(0)
        self.assertEqual((self.results, self.reactor.wakes), ([0, 1, 2], 0))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_busy_and_queued_are_counted(self) -> None:
        """Busy and queued are what they say."""
        workers = self.workers(2)
        self.occupy(workers, 2, jobs=5)
        statistics = workers.statistics()
        self.assertEqual((statistics.threads, statistics.busy, statistics.queued), (2, 2, 3))

    def test_nothing_ends_a_worker(self) -> None:
        """A job that fails, even with SystemExit, is logged, and the next one runs."""
        workers = self.workers(1)

        def fail() -> None:
            raise SystemExit

        self.submit(workers, fail, lambda: workers.results.post(self.results.append, 1))
        self.reactor.turn_until(lambda: bool(self.results))
        self.assertEqual(len(self.flushLoggedErrors(SystemExit)), 1)

    def test_a_bad_delivery_loses_no_other(self) -> None:
        """A result that cannot be delivered is logged, and the next one is delivered."""
        workers = self.workers(1)

        def post() -> None:
            workers.results.post(self.results.remove, 1)
            workers.results.post(self.results.append, 2)

        self.submit(workers, post)
        self.reactor.turn_until(lambda: bool(self.results))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_stop_finishes_what_was_submitted(self) -> None:
        """Jobs that are queued when it stops still run."""
        workers = self.workers(1)
        for number in range(10):
            workers.submit(Call(lambda number=number: self.results.append(number)))  # type: ignore[misc]
        self.assertEqual(self.stop(workers), 0)
        self.assertEqual(self.results, list(range(10)))

    def test_stop_does_not_wait_for_ever(self) -> None:
        """A thread that is stuck is counted and abandoned; it cannot keep the process."""
        workers = self.workers(2)
        running = threading.Event()
        thread: list[threading.Thread] = []

        def block() -> None:
            thread.append(threading.current_thread())
            running.set()
            self.release.wait(PATIENCE)

        self.submit(workers, block)
        self.assertTrue(running.wait(PATIENCE))
        stopped = workers.stop(5)
        self.reactor.turn()  # the idle thread ends
        self.reactor.advance(4.9)
        self.assertNoResult(stopped)
        self.reactor.advance(0.2)
        self.assertEqual(self.successResultOf(stopped), 1)
        self.assertTrue(thread[0].daemon)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_both_deferreds_of_stop_fire(self) -> None:
        """Each call of stop returns a Deferred that fires."""
        workers = self.workers(1)
        results: list[int] = []
        workers.stop(5).addCallback(results.append)
        workers.stop(5).addCallback(results.append)
        self.reactor.turn_until(lambda: len(results) == 2)
        self.assertEqual(results, [0, 0])

    def test_stopped_workers_start_again(self) -> None:
        """Workers that were stopped can start again."""
        workers = self.workers(1)
        self.stop(workers)
        workers.start()
        self.submit(workers, lambda: workers.results.post(self.results.append, 1))
        self.reactor.turn_until(lambda: bool(self.results))
