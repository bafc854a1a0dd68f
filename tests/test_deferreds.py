"""Tests of ``zkservice.deferreds``: waiters, alarms, back-off, reconciling, time limits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.deferreds import Alarm, Backoff, Reconciler, Waiters, time_limit


class WaitersTests(SynchronousTestCase):
    """Deferreds that wait for one event."""

    @override
    def setUp(self) -> None:
        self.waiters: Waiters[int] = Waiters()

    def test_all_fire_in_the_order_in_which_they_came(self) -> None:
        """An event reaches every waiter, the oldest first."""
        seen: list[tuple[str, int]] = []

        def fired(value: int, name: str) -> None:
            seen.append((name, value))

        for name in "abc":
            self.waiters.add().addCallback(fired, name)
        self.waiters.fire(7)
        self.assertEqual(seen, [("a", 7), ("b", 7), ("c", 7)])
        self.assertEqual(len(self.waiters), 0)

    def test_a_cancelled_waiter_leaves(self) -> None:
        """It fails with CancelledError, and nothing of it is kept."""
        waiter = self.waiters.add()
        waiter.cancel()
        self.failureResultOf(waiter, CancelledError)
        self.assertEqual(len(self.waiters), 0)
        self.waiters.fire(1)

    def test_a_waiter_may_cancel_another_while_they_fire(self) -> None:
        """The cancelled one fails with CancelledError, those behind it still fire."""
        first, second, third = (self.waiters.add() for _ in range(3))
        first.addCallback(lambda _: second.cancel())
        self.waiters.fire(1)
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.successResultOf(third), 1)

    def test_a_waiter_that_is_added_while_others_fire_waits_for_the_next_event(self) -> None:
        """A waiter added in a callback does not fire with the current event."""
        later: list[Deferred[int]] = []
        self.waiters.add().addCallback(lambda _: later.append(self.waiters.add()))
        self.waiters.fire(1)
        self.assertNoResult(later[0])
        self.waiters.fire(2)
        self.assertEqual(self.successResultOf(later[0]), 2)

    def test_all_fail_with_one_error(self) -> None:
        """An exception is shared."""
        first, second = self.waiters.add(), self.waiters.add()
        error = ValueError("no")
        self.waiters.fail(error)
        self.assertIs(self.failureResultOf(first).value, error)
        self.assertIs(self.failureResultOf(second).value, error)

    def test_each_fails_with_an_error_of_its_own(self) -> None:
        """A function makes one error for each waiter."""
        first, second = self.waiters.add(), self.waiters.add()
        self.waiters.fail(lambda: ValueError("no"))
        errors = [self.failureResultOf(waiter, ValueError).value for waiter in (first, second)]
        self.assertIsNot(*errors)

    def test_those_that_are_added_again_come_first(self) -> None:
        """Waiters that were removed and not fired keep their place; cancelled ones are dropped."""
        order: list[str] = []
        kept, cancelled = self.waiters.add(), self.waiters.add()
        kept.addCallback(lambda _: order.append("old"))
        removed = self.waiters.remove_all()
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.waiters.add().addCallback(lambda _: order.append("new"))
        self.waiters.add_again(removed)
        self.waiters.fire(1)
        self.assertEqual(order, ["old", "new"])


class AlarmTests(SynchronousTestCase):
    """One call that is due later, or none."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.rang: list[float] = []
        self.alarm = Alarm(self.clock, lambda: self.rang.append(self.clock.seconds()))

    def test_it_rings_once_and_is_off_then(self) -> None:
        """After it has rung nothing is due."""
        self.alarm.set(2)
        self.assertTrue(self.alarm.is_set)
        self.clock.advance(2)
        self.clock.advance(2)
        self.assertEqual(self.rang, [2])
        self.assertFalse(self.alarm.is_set)

    def test_setting_it_replaces_what_was_due(self) -> None:
        """Setting an alarm again replaces its time."""
        self.alarm.set(1)
        self.alarm.set(3)
        self.clock.pump([1, 2])
        self.assertEqual(self.rang, [3])

    def test_set_no_later_keeps_the_sooner_time(self) -> None:
        """``set_no_later`` brings it forward, and never puts it off."""
        self.alarm.set_no_later(5)
        self.alarm.set_no_later(2)
        self.alarm.set_no_later(4)
        self.clock.advance(2)
        self.assertEqual(self.rang, [2])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelling_leaves_nothing_in_the_clock(self) -> None:
        """Twice is fine."""
        self.alarm.set(1)
        self.alarm.cancel()
        self.alarm.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_can_be_set_again_while_it_rings(self) -> None:
        """The call may set the alarm again."""

        def ring() -> None:
            self.rang.append(self.clock.seconds())
            alarm.set(1)

        alarm = Alarm(self.clock, ring)
        alarm.set(1)
        self.clock.pump([1, 1])
        self.assertEqual(self.rang, [1, 2])
        alarm.cancel()


class BackoffTests(SynchronousTestCase):
    """Pauses that double."""

    def test_pauses_double_up_to_the_longest(self) -> None:
        """From the first on, and from there again after a reset."""
        backoff = Backoff(0.5, 3)
        self.assertEqual([backoff.next() for _ in range(5)], [0.5, 1, 2, 3, 3])
        backoff.reset()
        self.assertEqual(backoff.next(), 0.5)

    def test_a_counted_failure_makes_the_next_pause_longer(self) -> None:
        """Counting alone has the effect of a pause that was taken."""
        backoff = Backoff(0.5, 3)
        backoff.count_failure()
        self.assertEqual((backoff.failures, backoff.next()), (1, 1))

    @given(st.integers(0, 10_000), st.floats(0, 1))
    def test_jitter_takes_half_at_most(self, failures: int, drawn: float) -> None:
        """Every pause is within its bounds, after any number of failures."""
        backoff = Backoff(0.1, 30, lambda: drawn)
        backoff.failures = failures
        pause = backoff.next()
        self.assertTrue(0.05 <= pause <= 30)


class ReconcilerTests(SynchronousTestCase):
    """Passes, one at a time."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.passes: list[Deferred[None]] = []
        self.crashes: list[Failure] = []
        self.ready = True
        self.reconciler = Reconciler(
            self.make_pass, self.clock, self.crashes.append, lambda: self.ready
        )

    async def make_pass(self) -> None:
        """A pass that lasts until the test ends it."""
        self.passes.append(Deferred())
        await self.passes[-1]

    def test_a_trigger_starts_a_pass(self) -> None:
        """At once, if none runs."""
        self.reconciler.trigger()
        self.assertEqual(len(self.passes), 1)

    def test_triggers_during_a_pass_lead_to_one_more(self) -> None:
        """A trigger during a pass causes another pass, and passes never overlap."""
        self.reconciler.trigger()
        self.reconciler.trigger()
        self.reconciler.trigger()
        self.assertEqual(len(self.passes), 1)
        self.passes[0].callback(None)
        self.assertEqual(len(self.passes), 2)
        self.passes[1].callback(None)
        self.assertEqual(len(self.passes), 2)

    def test_passes_in_a_row_are_counted(self) -> None:
        """A pass that nothing followed begins a new row."""
        self.reconciler.trigger()
        self.reconciler.trigger()
        self.passes[0].callback(None)
        self.assertEqual(self.reconciler.passes, 2)
        self.passes[1].callback(None)
        self.reconciler.trigger()
        self.assertEqual(self.reconciler.passes, 1)

    def test_a_trigger_is_kept_until_a_pass_makes_sense(self) -> None:
        """Triggers while it is not ready cause one pass with the next trigger."""
        self.ready = False
        self.reconciler.trigger()
        self.assertEqual(self.passes, [])
        self.assertTrue(self.reconciler.triggered)
        self.ready = True
        self.reconciler.trigger()
        self.assertEqual(len(self.passes), 1)

    def test_idle_is_when_the_last_pass_has_ended(self) -> None:
        """`when_idle` fires after a pass, also if it raised, and at once if none runs."""
        self.successResultOf(self.reconciler.when_idle())
        self.reconciler.trigger()
        self.reconciler.trigger()
        idle = self.reconciler.when_idle()
        self.passes[0].callback(None)
        self.assertNoResult(idle)
        self.passes[1].errback(ZeroDivisionError())
        self.successResultOf(idle)

    def test_the_sooner_of_two_later_passes_is_made(self) -> None:
        """Two triggers in time are one pass, at the earlier time."""
        self.reconciler.trigger_in(5)
        self.reconciler.trigger_in(1)
        self.assertTrue(self.reconciler.pass_scheduled)
        self.clock.advance(1)
        self.assertEqual(len(self.passes), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_pass_that_raises_is_reported_and_another_can_run(self) -> None:
        """An unexpected error neither blocks the reconciler nor is swallowed."""
        self.reconciler.trigger()
        self.passes[0].errback(ValueError("bug"))
        self.assertEqual([crash.type for crash in self.crashes], [ValueError])
        self.reconciler.trigger()
        self.assertEqual(len(self.passes), 2)

    def test_a_cancelled_timer_makes_no_pass(self) -> None:
        """A cancelled Deferred leaves no timer."""
        self.reconciler.trigger_in(1)
        self.reconciler.cancel_timer()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class TimeLimitTests(SynchronousTestCase):
    """A Deferred that may take so long."""

    def test_a_timeout_fails_with_the_given_error(self) -> None:
        """The Deferred is cancelled, and fails with the error for the seconds."""
        clock = Clock()
        cancelled: list[Deferred[int]] = []
        waiting: Deferred[int] = Deferred(cancelled.append)
        time_limit(waiting, 2, clock, lambda seconds: TimeoutError(f"{seconds} s"))
        clock.advance(2)
        self.assertEqual(cancelled, [waiting])
        self.assertEqual(str(self.failureResultOf(waiting, TimeoutError).value), "2 s")

    def test_in_time_nothing_is_left_in_the_clock(self) -> None:
        """The result is passed on."""
        clock = Clock()
        waiting: Deferred[int] = Deferred()
        time_limit(waiting, 2, clock, TimeoutError)
        waiting.callback(1)
        self.assertEqual(self.successResultOf(waiting), 1)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_a_limit_that_is_no_number_is_refused(self) -> None:
        """The Deferred is cancelled: its caller never gets it."""
        cancelled: list[Deferred[int]] = []
        waiting: Deferred[int] = Deferred(cancelled.append)
        with self.assertRaisesRegex(TypeError, "a number of seconds, not '2'"):
            time_limit(waiting, "2", Clock(), TimeoutError)  # type: ignore[arg-type]
        self.assertEqual(cancelled, [waiting])

    def test_none_is_no_limit(self) -> None:
        """Without a limit, no timer is set."""
        clock = Clock()
        waiting: Deferred[int] = Deferred()
        self.assertIs(time_limit(waiting, None, clock, TimeoutError), waiting)
        self.assertEqual(clock.getDelayedCalls(), [])
