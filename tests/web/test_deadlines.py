"""Tests for zkservice.web.deadlines: one clock for many time-outs."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.web.deadlines import Deadlines


class Patient:
    """Notes when it is overdue, and what time is left to it then."""

    def __init__(self, deadlines: Deadlines, again: float = inf) -> None:
        self.deadline = self.bucket = inf
        self.calls: list[float] = []
        self._deadlines = deadlines
        self._again = again

    def overdue(self, now: float) -> None:
        """Note it."""
        self.calls.append(now)
        if self._again < inf:
            self._deadlines.set(self, now + self._again)


class DeadlinesTests(SynchronousTestCase):
    """Deadlines that move."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)

    def test_an_overdue_call_comes_once_within_a_second(self) -> None:
        """The call comes after the deadline, a second later at most, and once."""
        patient = Patient(self.deadlines)
        self.deadlines.set(patient, 3.5)
        self.clock.pump([0.25] * 14)
        self.assertEqual(patient.calls, [])
        self.clock.pump([0.25] * 20)
        self.assertEqual(len(patient.calls), 1)
        self.assertTrue(3.5 <= patient.calls[0] <= 4.5)

    @given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 2)), max_size=20))
    def test_only_the_last_deadline_counts(self, moves: list[tuple[float, float]]) -> None:
        """However often and wherever it is moved, only the last deadline counts."""
        clock = Clock()
        deadlines = Deadlines(clock)
        patient = Patient(deadlines)
        for ahead, wait in moves:
            deadlines.set(patient, clock.seconds() + ahead)
            calls = len(patient.calls)
            clock.advance(min(wait, ahead * 0.99))
            self.assertEqual(len(patient.calls), calls)
        deadlines.set(patient, clock.seconds() + 5)
        calls, due = len(patient.calls), clock.seconds() + 5
        clock.pump([0.5] * 30)
        self.assertEqual(len(patient.calls), calls + 1)
        self.assertTrue(due <= patient.calls[-1] <= due + 1.5)
        deadlines.forget(patient)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_an_overdue_one_may_set_another_deadline(self) -> None:
        """Whoever sets another deadline when it is overdue is called again."""
        patient = Patient(self.deadlines, again=2)
        self.deadlines.set(patient, 1)
        self.clock.pump([0.5] * 20)
        self.assertEqual(len(patient.calls), 3)

    def test_a_forgotten_deadline_is_not_called(self) -> None:
        """What is forgotten is not called, and the clock stops with the last one."""
        first, second = Patient(self.deadlines), Patient(self.deadlines)
        self.deadlines.set(first, 1)
        self.deadlines.set(second, 9)
        self.deadlines.forget(first)
        self.clock.pump([1.0] * 5)
        self.assertEqual(first.calls, [])
        self.deadlines.forget(second)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_failing_one_does_not_stop_others(self) -> None:
        """One that fails does not take the others' deadlines with it."""

        class Broken(Patient):
            @override
            def overdue(self, now: float) -> None:
                raise ZeroDivisionError

        patient = Patient(self.deadlines)
        self.deadlines.set(Broken(self.deadlines), 1)
        self.deadlines.set(patient, 1)
        self.clock.pump([1.0] * 4)
        self.assertEqual(len(patient.calls), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
