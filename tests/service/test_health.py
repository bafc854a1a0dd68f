"""Tests for `zkservice.service.health`."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zkservice.errors import UnhealthyError
from zkservice.service.health import HealthCheck, HealthSettings, HealthTracker


class TrackerTests(SynchronousTestCase):
    """How answers become a verdict."""

    def verdicts(self, answers: str, rise: int = 2, fall: int = 3) -> str:
        """The verdict after each answer: + healthy, - ill, ? unknown."""
        verdict = HealthTracker(rise, fall)
        signs = {None: "?", True: "+", False: "-"}
        said = ""
        for answer in answers:
            verdict.record(answer == "+")
            said += signs[verdict.healthy]
        return said

    def test_first_success_is_enough(self) -> None:
        """A start does not wait for a second answer."""
        self.assertEqual(self.verdicts("-+"), "?+")

    def test_rise_and_fall(self) -> None:
        """Three failures in a row, then two successes in a row."""
        self.assertEqual(self.verdicts("+--+---+-++"), "++++++----+")

    def test_never_well(self) -> None:
        """Failures from the start are a verdict too."""
        self.assertEqual(self.verdicts("---"), "??-")

    @given(st.text("+-", max_size=40), st.integers(1, 4), st.integers(1, 4))
    def test_changes_only_after_a_row(self, answers: str, rise: int, fall: int) -> None:
        """A verdict changes only at the end of a row of that length."""
        verdicts = self.verdicts(answers, rise, fall)
        for at in range(1, len(verdicts)):
            before, now = verdicts[at - 1], verdicts[at]
            if before != now and before != "?":
                length = rise if now == "+" else fall
                self.assertEqual(answers[at + 1 - length : at + 1], now * length)


class HealthCheckTests(SynchronousTestCase):
    """Asking at intervals."""

    def setUp(self) -> None:
        """A check whose answers the test gives."""
        self.clock = Clock()
        self.asked: list[Deferred[Any]] = []
        self.said: list[tuple[bool, str]] = []
        self.check = HealthCheck(
            HealthSettings("/", interval=2.0, timeout=1.0, rise=2, fall=2),
            self.ask,
            lambda good, reason: self.said.append((good, reason)),
            self.clock,
        )

    def ask(self) -> Deferred[Any]:
        """One question."""
        self.asked.append(Deferred())
        return self.asked[-1]

    def test_changes_are_said_once(self) -> None:
        """Only a change of the verdict is reported, with its reason."""
        self.check.start()
        self.asked[-1].callback(None)
        for _ in range(3):
            self.clock.advance(2.0)
            self.asked[-1].errback(UnhealthyError("status 500"))
        self.assertEqual(self.said, [(True, ""), (False, "status 500")])
        self.check.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_silence_is_failure(self) -> None:
        """No answer within the time-out counts, and the question is cancelled."""
        self.check.start()
        self.clock.pump([1.0, 1.0, 1.0])
        self.assertEqual(self.said, [(False, "no answer within 1.0 s")])
        self.check.stop()

    def test_stopped_while_asking(self) -> None:
        """A question that is open when it stops says nothing any more."""
        self.check.start()
        self.check.stop()
        self.assertEqual(self.said, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
