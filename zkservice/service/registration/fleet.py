"""Limits how many members of a fleet, the processes registered at one path, recycle at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from zkservice.client import ZooKeeperClient
from zkservice.recipes import Lease, Semaphore
from zkservice.supervisor import Permission

__all__ = ["recycling_permission"]

#: Appended to the service's path.  A child of that path would look like a registered address.
_SUFFIX = "-recycling"


def recycling_permission(
    client: ZooKeeperClient, path: str, together: int, reactor: Any
) -> Permission:
    """The permission to recycle a process, which only so many members of the fleet have at a time.

    It is a lease of a semaphore in ZooKeeper.  If a member dies, the end of its session releases
    the lease.  While ZooKeeper is away no member gets one, and nothing is recycled.

    Args:
        client: the service's client.
        path: the path at which the fleet is registered.
        together: the number of members that may recycle at a time.
        reactor: tells the time.
    """
    semaphore = Semaphore(client, path + _SUFFIX, together, reactor=reactor)

    def permission() -> Deferred[Callable[[], object]]:
        return Deferred.fromCoroutine(acquire())

    async def acquire() -> Callable[[], object]:
        lease: Lease = await semaphore.acquire()
        return lambda: lease.release().addErrback(lambda failure: None)

    return permission
