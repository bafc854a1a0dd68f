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

#: The prefix of the marks' names, as of Curator's protected nodes.
PREFIX: Final = "_c_"


class CannotMarkError(Exception):
    """No mark can be created; nothing was written."""


class MarkedOutcome(NamedTuple):
    """The outcome of a write that was carried out."""

    results: list[Any] | None  #: of its operations; None if the reply was lost
    zxid: int  #: of the transaction, if the reply was lost; else 0


async def _check_nothing() -> None:
    """Allow the write to be sent again if there is no mark."""


class MarkedWrites:
    """Sends each write in one transaction with a mark.

    Args:
        retrying: repeats what is safe to repeat.
        where: the parent of the marks; created if it is missing after the write.
        acl: the ACL of the marks, and of their parent.
    """

    def __init__(self, retrying: RetryingClient, where: str, acl: Iterable[ACL]) -> None:
        self._retrying = retrying
        self._where = where
        self._acl = tuple(acl)

    async def run(
        self,
        add: Callable[[Transaction], None],
        before_repeating: Callable[[], Awaitable[None]] = _check_nothing,
    ) -> MarkedOutcome:
        """Carry out a write exactly once.

        Args:
            add: adds the write's operations to a transaction; called for each attempt.
            before_repeating: called if there is no mark; raises if other clients may have
                deleted the mark together with the written node.

        Raises:
            CannotMarkError: the ACL allows no mark there.
            ConnectionLossError: the outcome is unknown: the session has ended.
            ZooKeeperError: the server refused the write.
        """
        mark = join(self._where, PREFIX + uuid4().hex)
        session: int | None = None  # of the last attempt
        marked = True  # the mark may exist

        async def once(doubt: Doubt) -> MarkedOutcome:
            nonlocal session, marked
            if doubt.error is not None:
                if session is None or session != self._session:
                    raise doubt.error
                found = await self._retrying.stat_after_sync(mark)
                if found is not None:
                    return MarkedOutcome(None, found.czxid)
                await before_repeating()
                doubt.clear()
            session, marked = self._session, True
            try:
                return MarkedOutcome(await self._commit(add, mark), 0)
            except ConnectionLossError:
                raise
            except Exception:
                marked = False  # it was refused
                raise

        try:
            return await self._retrying.run(once, across_sessions=True)
        finally:
            if marked:
                self._retrying.in_background(mark, self._retrying.delete(mark))

    @property
    def _session(self) -> int | None:
        identity = self._retrying.client.client_id
        return None if identity is None else identity[0]

    async def _commit(self, add: Callable[[Transaction], None], mark: str) -> list[Any]:
        """Send the transaction; once more if the parent of the marks is missing."""
        for may_make_parent in (True, False):
            change = self._retrying.client.transaction()
            add(change)
            change.create(mark, b"", self._acl, ephemeral=True)
            try:
                return await change.commit()
            except TransactionFailedError as error:
                cause = error.__cause__ or error
                if error.failed < len(error.results) - 1:
                    raise cause from None
                if not may_make_parent or not isinstance(cause, NoNodeError):
                    raise CannotMarkError(str(cause)) from cause
            await self._make_parent()
        raise AssertionError("the second attempt has an outcome")

    async def _make_parent(self) -> None:
        try:
            await self._retrying.client.ensure_path(self._where, self._acl)
        except NoAuthError as error:
            raise CannotMarkError(str(error)) from error
