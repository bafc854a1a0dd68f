"""What a registration is and what it is to be, and how long it waits before it retries."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

from twisted.logger import Logger

from zkservice.client import Subscription
from zkservice.client.subscribers import Subscribers

#: Seconds, at most, by which registering after an expiry is delayed, so that many processes
#: that lost their sessions together do not register in the same moment.
JITTER: Final = 0.05
#: Seconds: the longest pause after the first time that ZooKeeper refuses, and after many.
RETRY: Final = 0.2
RETRY_MAX: Final = 30.0
#: Races that may be lost in a row before it counts as a refusal.
RACES: Final = 3


class Goal(Enum):
    """What the owner of a registration wants.  Nothing leads back from GONE."""

    PRESENT = "present"
    SUSPENDED = "suspended"
    FROZEN = "frozen"
    GONE = "gone"


class RegistrationState(Enum):
    """What a registration is at the moment."""

    WAITING = "waiting for a ZooKeeper session"
    WORKING = "being registered"
    REGISTERED = "registered"
    CONTESTED = "held by another process"
    FAILING = "refused by ZooKeeper"
    OUT = "taken out"
    WITHDRAWN = "withdrawn"


class Change(NamedTuple):
    """A new state of a registration and, where there is one, its reason."""

    state: RegistrationState
    reason: str


_WARNINGS: Final = (RegistrationState.CONTESTED, RegistrationState.FAILING)


class Status:
    """The state of a registration: logs each change once, and reports it to subscribers.

    Args:
        log: of the registration.
        subject: returns the text that stands for the registration in the log.
    """

    def __init__(self, log: Logger, subject: Callable[[], str]) -> None:
        self.state = RegistrationState.WAITING
        self.reason = ""
        self._log = log
        self._subject = subject
        self._listeners: Subscribers[Change] = Subscribers(log)

    @property
    def ended(self) -> bool:
        """Whether the state is the last one."""
        return self.state is RegistrationState.WITHDRAWN

    def become(self, state: RegistrationState, reason: str = "") -> None:
        """Change the state, unless it is the last one or the same as before."""
        if self.ended or (state, reason) == (self.state, self.reason):
            return
        self.state, self.reason = state, reason
        log = self._log.warn if state in _WARNINGS else self._log.info
        log(
            "{subject}: {state}{detail}",
            subject=self._subject(),
            state=state.value,
            detail=f" ({reason})" if reason else "",
        )
        self._listeners.tell(Change(state, reason))

    def subscribe(self, callback: Callable[[Change], object]) -> Subscription:
        """Call back with each change, until the subscription is cancelled."""
        return self._listeners.add(callback)
