"""Elect one of several candidates as the leader."""

from __future__ import annotations

from functools import cached_property

from twisted.internet.defer import Deferred
from typing_extensions import override

from zkservice.recipes.blocks import Block, EnterDeferred
from zkservice.recipes.lease import Lease
from zkservice.recipes.lock import Lock
from zkservice.recipes.recipe import NamedRecipe


class Election(NamedRecipe, Block[Lease]):
    """Candidates queue, and the first one leads; interoperates with kazoo's ``Election``.

    ``async with election`` waits to be elected, and resigns at its end; so does ``async with
    election.lead(timeout)``.  The arguments are those of `zkservice.recipes.Lock`.
    """

    def lead(self, timeout: float | None = None) -> EnterDeferred[Lease]:
        """Become a candidate, and wait to be elected.

        Leadership ends when the lease is released or `Lease.lost` fires; call this again to
        become a candidate again.  Arguments, cancellation and errors are those of `Lock.acquire`.
        """
        return self._lock.acquire(timeout)

    def contenders(self) -> Deferred[list[str]]:
        """The identifiers of all candidates, beginning with the leader's."""
        return self._lock.contenders()

    # -- internals --------------------------------------------------------------------

    @override
    def _enter_block(self) -> EnterDeferred[Lease]:
        return self.lead()

    @cached_property
    def _lock(self) -> Lock:
        retrying = self._retrying
        return Lock(
            retrying.client, self.path, self.identifier, acl=self._acl, reactor=retrying.reactor
        )
