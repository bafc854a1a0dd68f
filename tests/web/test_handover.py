"""Tests for zkservice.web.handover: two sides that go to sleep, and never miss each other.

They matter most in a free-threaded Python, where the threads really run at the same time.
"""

from __future__ import annotations

import threading
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.web.test_workers import PATIENCE, Call, HandReactor
from zkservice.web.handover import JobQueue, Results
from zkservice.web.worker import Worker

ROUNDS = 2000


class JobQueueTests(SynchronousTestCase):
    """Jobs and threads that park."""

    def test_no_job_waits_for_a_sleeping_thread(self) -> None:
        """Each job is taken, although each finds the only thread just about to park."""
        queue, worker = JobQueue(), Worker()
        queue.open()
        taken = threading.Semaphore(0)

        def take_all() -> None:
            while queue.take(worker) is not None:
                taken.release()

        thread = threading.Thread(target=take_all, daemon=True)
        thread.start()
        for _ in range(ROUNDS):
            queue.put([Call(int)], 1)
            self.assertTrue(taken.acquire(timeout=PATIENCE), "a job was not taken")
        queue.close()
        thread.join(PATIENCE)
        self.assertFalse(thread.is_alive())

    def test_each_job_is_taken_once(self) -> None:
        """Four threads take what another one adds: nothing is lost, and nothing comes twice."""
        queue = JobQueue()
        queue.open()
        taken: list[list[Any]] = [[], [], [], []]

        def take_all(into: list[Any]) -> None:
            worker = Worker()
            while (job := queue.take(worker)) is not None:
                into.append(job)

        threads = [threading.Thread(target=take_all, args=(each,), daemon=True) for each in taken]
        for thread in threads:
            thread.start()
        jobs = [Call(int) for _ in range(ROUNDS)]
        for at in range(0, ROUNDS, 10):
            queue.put(jobs[at : at + 10], 4)
        queue.close()
        for thread in threads:
            thread.join(PATIENCE)
            self.assertFalse(thread.is_alive())
        together = [id(job) for each in taken for job in each]
        self.assertEqual(sorted(together), sorted(map(id, jobs)))

    def test_closed_queue_is_emptied_first(self) -> None:
        """Threads end when there is no job left, not before."""
        queue, worker = JobQueue(), Worker()
        job = Call(int)
        queue.put([job], 1)
        self.assertIs(queue.take(worker), job)
        self.assertIsNone(queue.take(worker))

    def test_retired_thread_takes_nothing(self) -> None:
        """A thread that was replaced leaves the jobs to the others."""
        queue, worker = JobQueue(), Worker()
        queue.put([Call(int)], 1)
        worker.retired = True
        self.assertIsNone(queue.take(worker))
        self.assertEqual(len(queue), 1)


class ResultsTests(SynchronousTestCase):
    """Results and a reactor that sleeps."""

    def test_each_result_wakes_the_reactor_or_is_seen(self) -> None:
        """Results of four threads are all delivered, each thread's in its order."""
        reactor = HandReactor()
        results = Results(reactor)
        delivered: list[tuple[int, int]] = []

        def post_all(thread: int) -> None:
            for number in range(ROUNDS):
                results.post(delivered.append, (thread, number))

        threads = [
            threading.Thread(target=post_all, args=(number,), daemon=True) for number in range(4)
        ]
        for thread in threads:
            thread.start()
        reactor.turn_until(lambda: len(delivered) == 4 * ROUNDS)
        for number in range(4):
            mine = [each for thread, each in delivered if thread == number]
            self.assertEqual(mine, list(range(ROUNDS)))

    def test_reactor_is_woken_for_what_comes_while_it_delivers(self) -> None:
        """A result that is posted by a delivery is delivered, too."""
        reactor = HandReactor()
        results = Results(reactor)
        delivered: list[int] = []
        results.post(lambda: results.post(delivered.append, 1))
        reactor.turn_until(lambda: bool(delivered))
        self.assertEqual(delivered, [1])
