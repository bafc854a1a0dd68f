"""The goals and states of a registration, and its delays before retries."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

from twisted.logger import Logger

from zkservice.client import Subscription
from zkservice.client.subscribers import Subscribers

#: Seconds: the longest delay before registering after an expiry.  This jitter keeps many
#: processes that lost their sessions together from registering at the same moment.
JITTER: Final = 0.05
#: Seconds: the longest pause after the first refusal, and after many.
RETRY: Final = 0.2
RETRY_MAX: Final = 30.0
#: Races with other clients that may be lost in a row; the next one counts as a refusal.
RACES: Final = 3


class Goal(Enum):
    """What the owner of a registration wants.  STOPPING only changes to GONE, which is final."""

    PRESENT = "present"
    MARKED = "present, but marked as out of service"
    STOPPING = "present, but marked as about to stop"
    SUSPENDED = "suspended"
    FROZEN = "frozen"
    GONE = "gone"


#: Goals with which the znodes exist.
VISIBLE: Final = (Goal.PRESENT, Goal.MARKED, Goal.STOPPING)


class RegistrationState(Enum):
    """The state of a registration; the value is the text for logs."""

    WAITING = "waiting for a ZooKeeper session"  #: the client is not connected
    WORKING = "being registered"  #: requests are under way
    REGISTERED = "registered"  #: all znodes are held and have the latest properties
    CONTESTED = "held by another process"  #: waits until a znode of another session is deleted
    FAILING = "refused by ZooKeeper"  #: the server refuses it; it is tried again
    OUT = "suspended"  #: there are no znodes, or they mark the address as out of service
    WITHDRAWN = "withdrawn"  #: `Registration.unregister` was called


class Change(NamedTuple):
    """A new state of a registration, and its reason or an empty string."""

    state: RegistrationState  #: the new one
    reason: str  #: why; empty for states without a reason


_WARNINGS: Final = (RegistrationState.CONTESTED, RegistrationState.FAILING)


class Status:
    """The state of a registration: logs each change once, and reports it to subscribers.

    Args:
        log: the registration's logger.
        subject: returns the name of the registration for the log.
    """

    def __init__(self, log: Logger, subject: Callable[[], str]) -> None:
        self.state = RegistrationState.WAITING
        self.reason = ""
        self._log = log
        self._subject = subject
        self._listeners: Subscribers[Change] = Subscribers(log)

    @property
    def ended(self) -> bool:
        """Whether the registration has ended."""
        return self.state is RegistrationState.WITHDRAWN

    def change_to(self, state: RegistrationState, reason: str = "") -> None:
        """Change the state, unless the registration has ended or the state is the same."""
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
        self._listeners.notify(Change(state, reason))

    def subscribe(self, callback: Callable[[Change], object]) -> Subscription:
        """Call back with each change until the subscription is cancelled."""
        return self._listeners.add(callback)
