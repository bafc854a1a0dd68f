"""Who says that the service shall not be registered, and why."""

from __future__ import annotations

from zkservice.registry import Registration

OPERATOR = "operator"
HEALTH = "health"


class Availability:
    """Reasons against being registered; without any, the service is registered.

    Each party (the operator, the health check) has one reason at a time, and takes back
    only its own.
    """

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}
        self._registration: Registration | None = None

    def govern(self, registration: Registration) -> None:
        """Apply what was said so far, and all that will be said."""
        self._registration = registration
        self._apply()

    def object(self, party: str, reason: str) -> None:
        """Say why it shall not be registered."""
        self.reasons[party] = reason
        self._apply()

    def consent(self, party: str) -> None:
        """Take the objection back."""
        self.reasons.pop(party, None)
        self._apply()

    def _apply(self) -> None:
        if self._registration is None:
            return
        if self.reasons:
            self._registration.take_out("; ".join(self.reasons.values()))
        else:
            self._registration.put_back()
