"""``/-/ready``: whether this process should receive requests now, and why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from zkservice.errors import ViewError
from zkservice.registry import Registration, RegistrationState
from zkservice.service.state.availability import Availability, describe
from zkservice.web import HTTPFactory, TextView, View

#: Where readiness probes look.
READY: Final = "/-/ready"


def reason_not_registered(registration: Registration, availability: Availability) -> str:
    """Return in one line why the service is not registered; "" if it is.

    A lost connection to ZooKeeper does not count: the address stays registered until the session
    expires.  Otherwise an outage of ZooKeeper would make all processes unready at the same time.
    """
    if availability.reasons:
        return "; ".join(availability.reasons.values())
    if registration.state is not RegistrationState.REGISTERED:
        return f"not registered: {describe(registration)}"
    return ""


def reason_not_serving(factory: HTTPFactory) -> str:
    """Return in one line why a front end should receive no requests; "" if it should."""
    if factory.server.draining:
        return "draining"
    if factory.server.queue.reached:
        return f"overloaded: {factory.server.workers.queued} requests wait for a thread"
    return ""


def ready_view(why_not: Callable[[], str]) -> View:
    """The view at `READY`: 200 with ``ready``, or 503 with the reason as text."""

    def ready(environ: dict[str, Any]) -> str:
        reason = why_not()
        if reason:
            raise ViewError("503 Service Unavailable", f"{reason}\n")
        return "ready\n"

    return TextView(ready)
