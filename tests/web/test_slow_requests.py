"""Tests of ``zkservice.web.slow_requests``."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.web import SlowRequests


class FakeThread:
    """A thread that runs what a test says."""

    name: ClassVar = "application-1"

    def __init__(self) -> None:
        self.job: Any = None
        self.began = 0.0

    def stack(self) -> str:
        """A place."""
        return '  File "app.py", line 7, in wait\n'


class FakeThreads:
    """Threads as ``Workers`` tells of them."""

    def __init__(self, clock: Clock, count: int) -> None:
        self.now = clock.seconds
        self.threads = [FakeThread() for _ in range(count)]

    def all_workers(self) -> list[FakeThread]:
        """All of them."""
        return self.threads


class SlowRequestTests(SynchronousTestCase):
    """Each slow request is logged once, and not too many are."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(100)
        self.workers = FakeThreads(self.clock, 30)
        self.slow = self.watch(1.0)
        captured = capturedLogs()
        self.events = captured.__enter__()
        self.addCleanup(captured.__exit__, None, None, None)

    def watch(self, seconds: float) -> SlowRequests:
        """A watch on the threads."""
        watch = SlowRequests(cast(Any, self.workers), self.clock, seconds)
        watch.start()
        self.addCleanup(watch.stop)
        return watch

    def run_in(self, thread: FakeThread, job: object) -> None:
        """Have a thread begin with a job."""
        thread.job, thread.began = job, self.clock.seconds()

    def pass_time(self, seconds: float) -> None:
        """Let time pass in small steps."""
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)

    def test_a_slow_request_is_logged_once(self) -> None:
        """With its stack, and again only if the thread is slow with another one."""
        thread = self.workers.threads[0]
        self.run_in(thread, "GET /a")
        self.pass_time(0.9)
        self.assertEqual(list(self.events), [])
        self.pass_time(5)
        [event] = self.events
        self.assertEqual((event["request"], event["request_id"]), ("GET /a", "-"))
        self.assertIn("line 7", event["stack"])
        self.run_in(thread, "GET /b")
        self.pass_time(2)
        self.assertEqual([each["request"] for each in self.events], ["GET /a", "GET /b"])

    def test_quick_requests_are_not_logged(self) -> None:
        """However many there are."""
        for number in range(20):
            self.run_in(self.workers.threads[0], str(number))
            self.pass_time(0.5)
        self.assertEqual(list(self.events), [])

    def test_at_most_ten_a_minute(self) -> None:
        """The others are counted."""
        for thread in self.workers.threads:
            self.run_in(thread, object())
        self.pass_time(3)
        self.assertEqual(len(self.events), 10)
        self.pass_time(60)
        self.run_in(self.workers.threads[0], "another")
        self.pass_time(2)
        self.assertEqual([each.get("count") for each in self.events[10:]], [20, None])

    def test_0_is_never(self) -> None:
        """Nothing is looked at."""
        self.slow.stop()
        self.watch(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
