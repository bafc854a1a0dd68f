"""A lock for many readers or one writer."""

from __future__ import annotations

from functools import cached_property
from typing import Final

from zkservice.recipes.lock import LOCK, Lock
from zkservice.recipes.queue_order import LockKind
from zkservice.recipes.recipe import NamedRecipe

#: What kazoo calls the nodes of its readers.
READ: Final = "__rlock__"


class ReadWriteLock(NamedRecipe):
    """A pair of locks on one path; interoperates with kazoo's ``ReadLock`` and ``WriteLock``.

    A writer waits for all contenders before it, a reader only for writers.  Readers that come
    after a waiting writer wait for it, so neither starves.  The arguments are those of
    `zkservice.recipes.Lock`.
    """

    def read(self) -> Lock:
        """The lock that any number of readers can hold while there is no writer."""
        return self._read

    def write(self) -> Lock:
        """The lock that only one writer can hold, without readers."""
        return self._write

    # -- internals --------------------------------------------------------------------

    @cached_property
    def _read(self) -> Lock:
        return self._lock(LockKind(READ, (LOCK,)))

    @cached_property
    def _write(self) -> Lock:
        return self._lock(LockKind(LOCK, (LOCK, READ)))

    def _lock(self, kind: LockKind) -> Lock:
        lock = _LockOfKind(
            self._retrying.client,
            self.path,
            self.identifier,
            acl=self._acl,
            reactor=self._retrying.reactor,
        )
        lock.set_kind(kind)
        return lock


class _LockOfKind(Lock):
    """A lock whose kind is not one of those that the arguments of `Lock` can describe."""

    def set_kind(self, kind: LockKind) -> None:
        """Set the kind; call this before the lock is used."""
        self._set_kind(kind)
