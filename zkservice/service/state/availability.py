"""The reasons for deregistering a service that goes on running."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.interfaces import IReactorTime

from zkservice.formats import Unavailable
from zkservice.registry import Change, Registration, RegistrationState

T = TypeVar("T")

#: The parties that can have a reason.
OPERATOR = "operator"
HEALTH = "health"
FRONT = "front"

#: Seconds that an operator's command waits for ZooKeeper to confirm it.
CONFIRM: Final = 5.0


class Availability:
    """Blocks the registration for as long as there is a reason to.

    Each party (the operator, the health check) has at most one reason at a time, and removes only
    its own.
    """

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}
        #: Called when the reasons have changed.
        self.changed: Callable[[], object] = lambda: None
        self._registration: Registration | None = None

    def attach(self, registration: Registration) -> None:
        """Apply the present reasons and all later ones to a registration."""
        self._registration = registration
        self.apply()

    def block(self, party: str, reason: str) -> None:
        """Block the registration for a reason."""
        self.reasons[party] = reason
        self.apply()

    def unblock(self, party: str) -> None:
        """Remove the reason of a party."""
        self.reasons.pop(party, None)
        self.apply()

    async def confirmed(self, clock: IReactorTime) -> str:
        """Wait until the registration is in the state that the reasons require.

        Waits `CONFIRM` seconds at most.

        Returns:
            The state that it is in instead, if that took too long; else "".
        """
        registration = self._registration
        if registration is None:
            return ""
        wanted = _OUT if self.reasons else _IN
        try:
            await when_in(registration, wanted).addTimeout(CONFIRM, clock)
        except TimeoutError:
            return f"not confirmed within {CONFIRM:g} s: {describe(registration)}"
        return ""

    def apply(self) -> None:
        """Bring the registration into the state that the reasons require."""
        self.changed()
        if self._registration is None:
            return
        if self.reasons:
            # If only the operator has a reason, the znode may stay, with a state that says so.  For
            # an address that does not work it is deleted, because some readers ignore the state.
            stored = Unavailable.OUT if self.reasons.keys() == {OPERATOR} else None
            self._registration.suspend("; ".join(self.reasons.values()), stored)
        else:
            self._registration.resume()


#: No client should use the address: there is no znode, or its state says so.
_OUT: Final = (RegistrationState.OUT, RegistrationState.WITHDRAWN)
#: Clients may use the address; or it is withdrawn for good, and waiting would not help.
_IN: Final = (RegistrationState.REGISTERED, RegistrationState.WITHDRAWN)


def describe(registration: Registration) -> str:
    """The state of a registration, and the reason if there is one."""
    reason = f" ({registration.reason})" if registration.reason else ""
    return f"{registration.state.value}{reason}"


def when_in(registration: Registration, states: Iterable[RegistrationState]) -> Deferred[None]:
    """Fires when the registration is in one of these states; it can be cancelled."""
    if registration.state in states:
        return succeed(None)
    reached: Deferred[None] = Deferred()

    def changed(change: Change) -> None:
        if change.state in states and not reached.called:
            reached.callback(None)

    subscription = registration.subscribe(changed)

    def stop(result: T) -> T:
        subscription.cancel()
        return result

    return reached.addBoth(stop)
