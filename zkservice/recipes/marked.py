"""Writes with a mark, so that they are carried out exactly once even if a reply is lost.

The mark is an ephemeral node, created in the same transaction as the write, and deleted
when the outcome is known.  After a lost reply the mark exists if the write was carried out,
whatever other clients have done since.  If it does not exist, the write is sent again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, NamedTuple
from uuid import uuid4

from zkservice.errors import (
    ConnectionLossError,
    NoAuthError,
    NoNodeError,
    TransactionFailedError,
)
from zkservice.recipes.client_protocol import Transaction
from zkservice.recipes.retrying import Doubt, RetryingClient
from zkservice.wire.acl import ACL
from zkservice.znodes import join

#: The prefix of the marks' names, the same as that of Curator's protected nodes.
PREFIX: Final = "_c_"


class CannotMarkError(Exception):
    """No mark can be created; nothing was written."""


class MarkedOutcome(NamedTuple):
    """The outcome of a write that was carried out."""

    results: list[Any] | None  #: of its operations; None if the reply was lost
    zxid: int  #: of the transaction, if the reply was lost; else 0


async def _check_nothing() -> None:
    """The default of ``before_repeating``: always repeat the write."""


class MarkedWrites:
    """Sends each write in one transaction with a mark.

    Args:
        retrying: sends the requests, and repeats those that are safe to repeat.
        parent: of the marks; created before, unless the write itself creates it.
        acl: the ACL of the marks, and of their parent.
    """

    def __init__(self, retrying: RetryingClient, parent: str, acl: Iterable[ACL]) -> None:
        self._retrying = retrying
        self._parent = parent
        self._acl = tuple(acl)

    async def run(
        self,
        add_write: Callable[[Transaction], None],
        before_repeating: Callable[[], Awaitable[None]] = _check_nothing,
    ) -> MarkedOutcome:
        """Carry out a write exactly once.

        Args:
            add_write: adds the write's operations to a transaction; called for each attempt.
            before_repeating: called after a lost reply if there is no mark.  It must raise if
                another client may have deleted the mark together with the written node.

        Raises:
            CannotMarkError: the ACL allows no mark there.
            ConnectionLossError: the outcome is unknown: the session has ended.
            ZooKeeperError: the server refused the write.
        """
        mark = join(self._parent, PREFIX + uuid4().hex)
        session: int | None = None  # of the last attempt
        mark_may_exist = True

        async def attempt(doubt: Doubt) -> MarkedOutcome:
            nonlocal session, mark_may_exist
            if doubt.error is not None:
                if session is None or session != self._session:
                    raise doubt.error
                found = await self._retrying.stat_after_sync(mark)
                if found is not None:
                    return MarkedOutcome(None, found.czxid)
                await before_repeating()
                doubt.clear()
            session, mark_may_exist = self._session, True
            try:
                return MarkedOutcome(await self._commit(add_write, mark), 0)
            except ConnectionLossError:
                raise
            except Exception:
                mark_may_exist = False  # the server refused the transaction
                raise

        try:
            return await self._retrying.run(attempt, across_sessions=True)
        finally:
            if mark_may_exist:
                self._retrying.in_background(mark, self._retrying.delete(mark))

    @property
    def _session(self) -> int | None:
        identity = self._retrying.client.client_id
        return None if identity is None else identity[0]

    async def _commit(self, add_write: Callable[[Transaction], None], mark: str) -> list[Any]:
        """Send the transaction; once more if the parent of the marks is missing."""
        for may_make_parent in (True, False):
            transaction = self._retrying.client.transaction()
            add_write(transaction)
            transaction.create(mark, b"", self._acl, ephemeral=True)
            try:
                return await transaction.commit()
            except TransactionFailedError as error:
                cause = error.__cause__ or error
                mark_refused = error.failed == len(error.results) - 1
                if not mark_refused:
                    raise cause from None
                if not may_make_parent or not isinstance(cause, NoNodeError):
                    raise CannotMarkError(str(cause)) from cause
            await self._make_parent()
        raise AssertionError("the second attempt has an outcome")

    async def _make_parent(self) -> None:
        try:
            await self._retrying.client.ensure_path(self._parent, self._acl)
        except NoAuthError as error:
            raise CannotMarkError(str(error)) from error
