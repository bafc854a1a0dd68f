"""What the members of a fleet, all that are registered at one path, do one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from zkservice.client import ZooKeeperClient
from zkservice.recipes import Lease, Semaphore
from zkservice.supervisor import Permission

__all__ = ["recycling_permission"]

#: Behind the service's path, not below it: what is below it is taken for an address.
_SUFFIX = "-recycling"


def recycling_permission(
    client: ZooKeeperClient, path: str, together: int, reactor: Any
) -> Permission:
    """The permission to recycle a process, as one of so many in the fleet.

    It is a lease of a semaphore in ZooKeeper.  A member that dies gives it back with its
    session.  While ZooKeeper is away no member gets it, and nothing is recycled.

    Args:
        client: of the service.
        path: at which the fleet is registered.
        together: how many may be recycled at a time.
        reactor: tells the time.
    """
    semaphore = Semaphore(client, path + _SUFFIX, together, reactor=reactor)

    def permission() -> Deferred[Callable[[], object]]:
        return Deferred.fromCoroutine(acquire())

    async def acquire() -> Callable[[], object]:
        lease: Lease = await semaphore.acquire()
        return lambda: lease.release().addErrback(lambda failure: None)

    return permission
