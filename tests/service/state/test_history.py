"""Tests of ``zkservice.service.state.history``: the last ten minutes of what is counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.service.state.history import History, quantile
from zkservice.web import BOUNDS, Durations, LagProbe, ResponseTotals


class HistoryTests(SynchronousTestCase):
    """What happened between two samples."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.totals = ResponseTotals()
        self.history = History(self.clock, lambda: self.totals)

    def serve(self, count: int, seconds: float, status: int = 200) -> None:
        """Count some responses."""
        self.totals.responses["GET", status] += count
        self.totals.duration.add([seconds] * count)

    def test_nothing_is_known_before_the_start(self) -> None:
        """There is no period, and no history."""
        self.assertIsNone(self.history.last())
        self.assertEqual(self.history.periods(), [])

    def test_the_last_minute(self) -> None:
        """Rates and percentiles are those of the last minute, not of the time since the start."""
        self.history.start()
        self.serve(1000, 10.0)
        for _ in range(20):
            self.clock.advance(5)
        self.serve(90, 0.001)
        self.serve(30, 0.55, status=503)
        self.clock.advance(5)
        last = self.history.last()
        assert last is not None
        self.assertEqual((last.seconds, last.requests, last.errors), (60, 2.0, 0.5))
        assert last.p50 is not None and last.p99 is not None
        self.assertEqual((round(last.p50, 3), round(last.p99, 1)), (0.001, 0.6))

    def test_the_last_minute_goes_to_this_moment(self) -> None:
        """What was counted since the last sample is there."""
        self.history.start()
        self.clock.advance(5)
        self.clock.advance(1)
        self.serve(12, 0.1)
        last = self.history.last(1)
        assert last is not None
        self.assertEqual((last.seconds, last.requests, last.end), (1, 12, 1006))

    def test_ten_minutes_are_kept(self) -> None:
        """However long it runs, there are 120 periods of 5 s."""
        self.history.start()
        self.history.start()
        for number in range(500):
            self.serve(number, 0.1)
            self.clock.advance(5)
        periods = self.history.periods()
        self.assertEqual(len(periods), 120)
        self.assertEqual([period.requests for period in periods[-2:]], [498 / 5, 499 / 5])
        self.assertEqual({period.seconds for period in periods}, {5})
        self.history.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_period_without_requests_has_no_percentile(self) -> None:
        """It is not a time of 0."""
        self.history.start()
        self.clock.advance(5)
        [period] = self.history.periods()
        self.assertEqual(
            (period.requests, period.p50, period.p99, period.lag), (0, None, None, None)
        )

    def test_totals_that_fail_end_nothing(self) -> None:
        """They are logged, and the next sample is taken."""
        self.history.start()
        self.totals.duration.cells = None  # type: ignore[assignment]
        self.clock.advance(5)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.totals.duration.cells = Durations().cells
        self.clock.advance(5)
        self.assertEqual([period.seconds for period in self.history.periods()], [10])

    def test_a_clock_that_is_set_back(self) -> None:
        """No rate is negative or infinite."""
        self.history.start()
        self.clock.rightNow -= 500
        self.serve(5, 0.1)
        last = self.history.last()
        assert last is not None
        self.assertEqual(last.requests, 1)


class QuantileTests(SynchronousTestCase):
    """Percentiles of a histogram."""

    def test_without_times_there_is_none(self) -> None:
        """None is not 0."""
        self.assertIsNone(quantile([0] * (len(BOUNDS) + 1), 0.5))

    @given(st.lists(st.floats(0.0001, 63), min_size=1), st.sampled_from([0.5, 0.9, 0.99, 1]))
    def test_it_is_near_the_exact_one(self, times: list[float], share: float) -> None:
        """At most the width of a cell away."""
        durations = Durations()
        durations.add(times)
        found = quantile(durations.cells, share)
        assert found is not None
        exact = sorted(times)[max(0, -(-len(times) * int(share * 100) // 100) - 1)]
        self.assertLessEqual(found / 1.27, exact)
        self.assertGreaterEqual(found * 1.27, exact)

    def test_beyond_the_last_bound_it_is_the_last_bound(self) -> None:
        """More is not known."""
        durations = Durations()
        durations.add([1e6])
        self.assertEqual(quantile(durations.cells, 0.5), 64)


class LagTests(SynchronousTestCase):
    """How late the reactor is."""

    def test_a_reactor_that_is_late(self) -> None:
        """A turn that takes 2 s is seen, the time before the reactor runs is not."""
        clock, lag = Clock(), Durations()
        probe = LagProbe(clock, clock.seconds, lambda: lag)
        probe.start()
        clock.advance(30)  # everything is loaded
        self.assertEqual(sum(lag.cells), 0)
        for _ in range(3):
            clock.advance(0.5)
        self.assertEqual((sum(lag.cells), lag.cells[0], lag.total), (3, 3, 0))
        with capturedLogs() as logs:
            clock.advance(2.5)
            self.assertEqual((sum(lag.cells), lag.total), (4, 2.0))
            clock.advance(2.0)  # logged within the minute, and not longer
            clock.advance(3.5)
        self.assertEqual([log["seconds"] for log in logs], [2.0, 3.0])
        self.assertIn("this process stood still for 2.0 s", formatEvent(logs[0]))
        probe.stop()
        self.assertEqual(clock.getDelayedCalls(), [])
