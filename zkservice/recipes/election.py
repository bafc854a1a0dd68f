"""Choose one among several to lead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred
from typing_extensions import override

from zkservice.recipes.blocks import Block, Entering
from zkservice.recipes.client_protocol import Client
from zkservice.recipes.lease import Lease
from zkservice.recipes.lock import Lock
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE


class Election(Block[Lease]):
    """Candidates line up, and the first one leads; kazoo's ``Election`` on the path takes part.

    ``async with election`` waits to be elected, and resigns at its end; so does ``async with
    election.lead(timeout)``.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        identifier: str = "",
        *,
        acl: Iterable[ACL] = OPEN_ACL_UNSAFE,
        reactor: Any = None,
    ) -> None:
        """Make it; arguments as for `zkservice.recipes.Lock`."""
        super().__init__()
        self.path = path
        self._lock = Lock(client, path, identifier, acl=acl, reactor=reactor)

    def lead(self, timeout: float | None = None) -> Entering[Lease]:
        """Stand as a candidate, and wait until we are elected.

        Leadership ends when the lease is released or `Lease.lost` fires; then call this
        again to stand again.  Arguments, cancellation and errors are `Lock.acquire`'s.
        """
        return self._lock.acquire(timeout)

    def contenders(self) -> Deferred[list[str]]:
        """The identifiers of all candidates, the leader's first."""
        return self._lock.contenders()

    @override
    def _enter_block(self) -> Entering[Lease]:
        return self.lead()
