"""Tests of ``zkservice.wire.session``: every state and every event."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zkservice.errors import ImpossibleEventError
from zkservice.wire.session import TRANSITIONS, SessionEvent, State, next_state

NEVER = None
CONNECTING, CONNECTED, READ_ONLY, SUSPENDED, EXPIRED, AUTH_FAILED, CLOSED = State

# A column for each event, in the order of SessionEvent:
# accepted, accepted read-only, lost, refused, auth refused, close
TABLE: dict[State, tuple[State | None, ...]] = {
    CONNECTING: (CONNECTED, READ_ONLY, CONNECTING, EXPIRED, AUTH_FAILED, CLOSED),
    CONNECTED: (NEVER, NEVER, SUSPENDED, EXPIRED, AUTH_FAILED, CLOSED),
    READ_ONLY: (NEVER, NEVER, SUSPENDED, EXPIRED, AUTH_FAILED, CLOSED),
    SUSPENDED: (CONNECTED, READ_ONLY, SUSPENDED, EXPIRED, AUTH_FAILED, CLOSED),
    EXPIRED: (NEVER, NEVER, NEVER, NEVER, NEVER, CLOSED),
    AUTH_FAILED: (NEVER, NEVER, NEVER, NEVER, NEVER, CLOSED),
    CLOSED: (NEVER, NEVER, NEVER, NEVER, NEVER, CLOSED),
}


class TableTests(SynchronousTestCase):
    """The life of a session."""

    def test_every_event_in_every_state_is_defined(self) -> None:
        """Each event in each state leads where it must, or is refused by name."""
        for state in State:
            for event, expected in zip(SessionEvent, TABLE[state], strict=True):
                if expected is not None:
                    self.assertIs(next_state(state, event), expected)
                    continue
                with self.assertRaisesRegex(
                    ImpossibleEventError, f"{event.name} while {state.name}"
                ):
                    next_state(state, event)

    def test_every_state_can_be_reached(self) -> None:
        """Every state has a row, and every state but the first can be reached from it."""
        self.assertEqual(set(TRANSITIONS), set(State))
        reached, todo = set[State](), [State.CONNECTING]
        while todo:
            state = todo.pop()
            if state not in reached:
                reached.add(state)
                todo.extend(TRANSITIONS[state].values())
        self.assertEqual(reached, set(State))

    def test_dead_stays_dead(self) -> None:
        """From the three ends no event leads back to life."""
        ends = {State.EXPIRED, State.AUTH_FAILED, State.CLOSED}
        for end in ends:
            self.assertLessEqual(set(TRANSITIONS[end].values()), ends)
