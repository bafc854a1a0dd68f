"""Read, write and delete the znodes of a registration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from twisted.logger import Logger
from twisted.python.failure import Failure

from zkservice.client import ZooKeeperClient
from zkservice.errors import NoAuthError, NoNodeError, TransactionFailedError
from zkservice.following.lookup import gather_all
from zkservice.following.watch_set import EXISTS, WatchSet
from zkservice.registry.contents import Contents
from zkservice.registry.decision import ObservedNode, ReconcilePlan, decide
from zkservice.wire.acl import ACL, Permission
from zkservice.wire.records import Stat
from zkservice.znodes import EarlierSessions, session_name

__all__ = ["OwnedNodes"]


class OwnedNodes:
    """Changes the znodes of a registration, and remembers the sessions that may own them.

    Args:
        client: its session owns the znodes.
        contents: their paths and data.
        acl: the ACL of the znodes.
        changed: called when one of them was created, changed or deleted.

    Attributes:
        outdated: whether existing znodes hold old data.

    Raises:
        NodeExistsError: another registration of this client wants one of the znodes.
    """

    _log = Logger()

    def __init__(
        self,
        client: ZooKeeperClient,
        contents: Contents,
        acl: Sequence[ACL],
        changed: Callable[[], object],
    ) -> None:
        client.claims.take(self, contents.paths)
        self.contents: Final = contents
        self.outdated = False
        self._client = client
        self._acl = tuple(acl)
        # The default ACL lets no client write, not even the owner.  Then a change replaces the
        # znode: one transaction deletes it and creates it again.
        self._writable = any(entry.perms & Permission.WRITE for entry in self._acl)
        self._watches = WatchSet(client, changed)
        self._sessions = EarlierSessions()  # the sessions that may have created znodes
        self._predecessor = 0  # another process's session, whose znodes may be replaced; or 0
        self._created_by = 0  # the session of the last creation; 0 after a deletion
        self._in_doubt = False

    @property
    def session(self) -> int:
        """The id of the client's session; 0 while it has none."""
        identity = self._client.client_id
        return 0 if identity is None else identity[0]

    @property
    def may_exist(self) -> bool:
        """Whether znodes may have been created."""
        return bool(self._sessions)

    @property
    def created_by_session(self) -> bool:
        """Whether the present session has created znodes that this process has not deleted."""
        return self._created_by != 0 and self._created_by == self.session

    @property
    def session_is_new(self) -> bool:
        """Whether the present session cannot have created any of the znodes."""
        return self.session not in self._sessions

    def move(self, parent: str) -> None:
        """Move to another parent; the znodes below the old one are to be deleted.

        Raises:
            NodeExistsError: another registration of this client wants one of them.
        """
        self._client.claims.take(self, self.contents.paths_below(parent))
        self.contents.move(parent)

    def allow_replacing(self, session: int) -> None:
        """Let `plan` replace the znodes of another process's session; 0 for none."""
        self._predecessor = session

    def connection_lost(self) -> None:
        """Note that the connection was lost: earlier requests may have been carried out."""
        self._in_doubt = True

    async def catch_up(self) -> None:
        """After a lost connection, wait for the server to catch up with the leader.

        A server that is behind may still have znodes that were deleted through another one.
        """
        if self._in_doubt:
            await self._client.sync(self.contents.parent)
            self._in_doubt = False

    async def read(self) -> list[ObservedNode]:
        """Read all znodes concurrently, each with a watch."""
        paths = self.contents.paths
        stats = await gather_all(self._watches.read(EXISTS, path) for path in paths)
        return [_observed(path, stat) for path, stat in zip(paths, stats, strict=True)]

    def plan(
        self, nodes: Sequence[ObservedNode], session: int, *, replace: bool, partly: bool
    ) -> ReconcilePlan:
        """Decide what to change about these znodes; the arguments are those of `decide`."""
        return decide(
            nodes,
            session=session,
            # 0 is the owner of every persistent znode.
            earlier={*self._sessions, self._predecessor} - {0},
            replace=replace,
            partly=partly,
            write=self.outdated,
        )

    async def apply(self, plan: ReconcilePlan, session: int) -> None:
        """Apply a plan in one transaction: a replaced znode is never missing.

        Raises:
            ZooKeeperError: the error of the first operation that was refused.
        """
        self._sessions.add(session)
        self._created_by = session
        data = self.contents.data
        replace, write = plan.replace, plan.write
        if not self._writable:
            replace, write = (*replace, *write), ()
        transaction = self._client.transaction()
        for node in replace:
            self._log_replaced(node)
            transaction.delete(node.path, node.version)
        for path in (*plan.create, *(node.path for node in replace)):
            transaction.create(path, data[path], self._acl, ephemeral=True)
        for node in write:
            transaction.set(node.path, data[node.path], node.version)
        try:
            await transaction.commit()
        except TransactionFailedError as error:
            cause = error.results[error.failed]
            if isinstance(cause, NoAuthError) and write:
                self._writable = False  # the ACL lets others write, but not this client
                return await self.apply(plan, session)
            raise cause or error from None
        # Replace the other process's znodes only once.  It may create them again, to keep them.
        # If this process replaced those as well, they would be deleted when it ends.
        self._predecessor = 0
        if data is self.contents.data:  # no update meanwhile
            self.outdated = False

    async def delete_ours(self, nodes: Iterable[ObservedNode], session: int) -> None:
        """Delete those of the znodes that the present session or an earlier one owns."""
        ours = {session, *self._sessions}
        deleting = [
            self._client.delete(node.path, node.version).addErrback(_ignore_missing)
            for node in nodes
            if node.owner in ours
        ]
        await gather_all(deleting)

    async def delete_current(self, nodes: Iterable[ObservedNode], session: int) -> None:
        """Delete our znodes at the current paths; `created_by_session` is False then."""
        await self.delete_ours(nodes, session)
        self._created_by = 0

    async def delete_abandoned(self, session: int) -> None:
        """Delete our znodes below earlier parents."""
        paths = sorted(self.contents.abandoned)
        if not paths:
            return
        stats = await gather_all(self._client.exists(path) for path in paths)
        nodes = [_observed(path, stat) for path, stat in zip(paths, stats, strict=True)]
        await self.delete_ours(nodes, session)
        self.contents.abandoned.difference_update(paths)
        self._client.claims.release(self, paths)
        self._watches.forget(paths)

    def release(self) -> None:
        """Cancel the watches, and release the claims on the paths."""
        self._watches.cancel()
        self._client.claims.release(self, (*self.contents.paths, *self.contents.abandoned))

    def _log_replaced(self, node: ObservedNode) -> None:
        if node.owner not in (*self._sessions, self._predecessor):
            self._log.warn(
                "{path} was left by session {owner}: it is replaced",
                path=node.path,
                owner=session_name(node.owner or 0),
            )


def _observed(path: str, stat: Stat | None) -> ObservedNode:
    if stat is None:
        return ObservedNode(path, None)
    return ObservedNode(path, stat.ephemeral_owner, stat.version)


def _ignore_missing(failure: Failure) -> None:
    failure.trap(NoNodeError)
