"""Tests for zkservice.web.busy: one line when all threads are busy, one when it is over."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.web import BusyWatch


class FakeWorkers:
    """Threads whose jobs the test decides."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.began: dict[str, float | None] = {}
        self.queued = 0

    def run(self, *jobs: str) -> None:
        """Each thread begins a job; ``-`` is an idle one."""
        self.began = {job: None if job == "-" else self._clock.seconds() for job in jobs}

    def busy_with(self) -> list[tuple[str, float]]:
        """As `Workers.busy_with`."""
        now = self._clock.seconds()
        busy = [(job, now - since) for job, since in self.began.items() if since is not None]
        return busy if len(busy) == len(self.began) else []


class BusyWatchTests(SynchronousTestCase):
    """What is logged."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.workers = FakeWorkers(self.clock)
        workers: Any = self.workers
        self.watch = BusyWatch(workers, self.clock)
        self.watch.start()
        self.addCleanup(self.watch.stop)

    def said(self, seconds: float) -> list[str]:
        """What is logged in the next seconds."""
        with capturedLogs() as seen:
            self.clock.pump([0.125] * int(seconds / 0.125))
        return [formatEvent(each) or "" for each in seen]

    def test_once_at_the_begin_and_once_at_the_end(self) -> None:
        """All threads in long jobs are logged once, with the jobs, and so is the end of it."""
        self.workers.run("GET /a", "GET /b")
        self.workers.queued = 3
        (line,) = self.said(7)
        self.assertEqual(
            line,
            "all 2 threads have been busy for over 1 s, requests in the queue: 3; if that is "
            "usual, raise --threads.  They run GET /a for 1.0 s; GET /b for 1.0 s",
        )
        self.workers.run("GET /a", "-")
        (line,) = self.said(7)
        self.assertEqual(line, "a thread is free again: all of them were busy for 7.5 s")

    def test_an_idle_thread_logs_nothing(self) -> None:
        """As long as a thread is idle nothing is said."""
        self.workers.run("GET /a", "-")
        self.assertEqual(self.said(10), [])

    def test_short_jobs_are_not_stuck(self) -> None:
        """Threads that take one short job after the other are not stuck."""
        for _ in range(10):
            self.workers.run("GET /a", "GET /b")
            self.assertEqual(self.said(0.875), [])

    def test_the_log_line_is_bounded(self) -> None:
        """The line is bounded, however many threads there are and however long their paths."""
        self.workers.run(*(f"GET /{number:0300}" for number in range(200)))
        (line,) = self.said(2)
        self.assertLess(len(line), 1500)
        self.assertTrue(line.endswith("; and 192 more"))

    def test_stopping_leaves_no_timer(self) -> None:
        """After it has stopped nothing is left in the reactor."""
        self.watch.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
