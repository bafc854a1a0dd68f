"""An ephemeral node with a fixed path that is created again in each session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, fail, succeed
from twisted.logger import Logger
from typing_extensions import Self, override

from zkservice.errors import (
    BadVersionError,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
)
from zkservice.recipes.blocks import BlockExit, EnterDeferred
from zkservice.recipes.client_protocol import Client
from zkservice.recipes.lease import Lease, hold
from zkservice.recipes.persistent_ephemeral import PersistentEphemeral
from zkservice.recipes.recipe import Recipe
from zkservice.recipes.retrying import SESSION_OVER, cancel_watch
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE
from zkservice.wire.records import Stat
from zkservice.znodes import EarlierSessions


class PersistentEphemeralNode(Recipe, BlockExit):
    """An ephemeral node that is created again in each session of the client.

    In a new session, and a second after another client has deleted it, it is created again with
    its latest data and ACL.  A node that an earlier session of this object has left is replaced.
    A node of another client is left alone; this object waits until it is deleted.

    Args:
        client: need not be connected yet.
        path: the node; only one object of a client can keep it.
        data: the data of the node, until `set` changes them.
        acl: the ACL of the node, until `set_acl` changes it, and of its parents if they
            have to be created.
        reactor: schedules timers; the installed one if None.

    Raises:
        InvalidPathError: the path is invalid.
    """

    _log = Logger()

    def __init__(
        self,
        client: Client,
        path: str,
        data: bytes = b"",
        *,
        acl: Iterable[ACL] = OPEN_ACL_UNSAFE,
        reactor: Any = None,
    ) -> None:
        super().__init__(client, path, acl=acl, reactor=reactor)
        self.data = data
        self.acl = self._acl  # `_acl` stays the ACL of the parents
        self._creating: Deferred[Self] | None = None
        self._kept: PersistentEphemeral | None = None
        self._cleaning_up: Deferred[None] | None = None  # after a creation that failed
        self._sessions = EarlierSessions()  # the sessions that may have created it
        self._one_at_a_time = DeferredLock()  # serialises creation and deletion

    def __repr__(self) -> str:
        return f"<PersistentEphemeralNode {self.path} {'present' if self.present else 'absent'}>"

    @property
    def present(self) -> bool:
        """Whether it exists, as far as is known here."""
        return self._kept is not None and self._kept.present

    def create(self) -> EnterDeferred[Self]:
        """Create it, and create it again whenever it is lost, until `delete`.

        Returns:
            Fires with this object when its node exists.  Cancelling it deletes the node.  A
            cancelled call fails when the node is gone, or after a second if there is no
            connection.

        Fails with:
            NodeExistsError: this object has created it already, or another object of this
                client (a `PersistentEphemeralNode` or a registration) keeps it.
            SessionExpiredError: the session expired, and the client starts no new one.
            ClientClosedError: the client was closed.
            NoAuthError: nodes may not be created there.
        """
        if self._wanted:
            return EnterDeferred(
                fail(NodeExistsError(self.path, "this object has created it already"))
            )
        try:
            self._retrying.client.claims.take(self, [self.path])
        except NodeExistsError:
            problem = "another object of this client keeps this node already"
            return EnterDeferred(fail(NodeExistsError(self.path, problem)))
        creating = self._creating = Deferred.fromCoroutine(self._create())
        if creating.called:  # it failed at once
            self._creating = None
            self._release_claim()
        return EnterDeferred(creating)

    def set(self, data: bytes) -> Deferred[None]:
        """Change its data, now and for later creations.

        Returns:
            Fires when they are stored; at once if it is not `present`.

        Fails with:
            NoAuthError: the node may not be written; the next creation uses these data.
        """
        self.data = data
        return Deferred.fromCoroutine(self._write(self._send_data))

    def set_acl(self, acl: Iterable[ACL]) -> Deferred[None]:
        """Change its ACL, now and for later creations, but not that of its parents.

        Returns:
            Fires when it is stored; at once if it is not `present`.

        Fails with:
            NoAuthError: the ACL may not be changed; the next creation uses this one.
            InvalidACLError: the server refuses this ACL, and will refuse a creation with it.
        """
        self.acl = tuple(acl)
        return Deferred.fromCoroutine(self._write(self._send_acl))

    def delete(self) -> Deferred[None]:
        """Delete it until the next `create`.  You can call it again.

        Returns:
            Fires when it is gone; without a connection it waits for one.  Cancelling it stops
            the waiting, not the deletion.  A `create` in progress is cancelled.
        """
        if self._creating is not None:
            self._creating.cancel()
        kept, self._kept = self._kept, None
        if kept is not None:  # even if the caller stops waiting
            self._wait_until_gone(kept).addBoth(lambda _: self._release_claim())
        return self._wait_until_gone(kept)

    @override
    async def leave_block(self, error: BaseException | None) -> None:
        """Delete it."""
        await self.delete()

    async def __aenter__(self) -> Self:
        return await self.create()

    # -- internals --------------------------------------------------------------------

    @property
    def _wanted(self) -> bool:
        return self._creating is not None or self._kept is not None

    def _release_claim(self) -> None:
        """Release the claim on the node, unless it was created again."""
        if not self._wanted:
            self._retrying.client.claims.release(self, [self.path])

    async def _create(self) -> Self:
        try:
            lease = await self._enter()
        except Exception as error:
            self._creating = None  # so that `create` can be called again from an errback
            cleaning, self._cleaning_up = self._cleaning_up, None
            if cleaning is not None and not isinstance(error, SESSION_OVER):
                await self._retrying.wait_briefly(cleaning)
            raise
        self._creating = None
        self._kept = PersistentEphemeral(self._retrying, self.path, lease, self._enter, self._ended)
        return self

    def _ended(self) -> None:
        self._kept = None
        self._release_claim()

    def _wait_until_gone(self, kept: PersistentEphemeral | None) -> Deferred[None]:
        leaving = succeed(None) if kept is None else kept.leave()

        async def in_turn() -> None:
            # The clean-up of a cancelled creation waits for the same lock, and comes first.
            await self._one_at_a_time.acquire()
            try:
                await leaving
            finally:
                self._one_at_a_time.release()

        return Deferred.fromCoroutine(in_turn())

    async def _enter(self) -> Lease:
        await self._one_at_a_time.acquire()
        try:
            return await self._retrying.retry_until_entered(self._enter_once)
        except BaseException:
            # Begin before `_one_at_a_time` is released, to be the next that acquires it.
            self._cleaning_up = self._retrying.in_background(self.path, self._delete_ours())
            raise
        finally:
            self._one_at_a_time.release()

    async def _enter_once(self) -> Lease | None:
        data, acl = self.data, self.acl
        try:
            self._remember_session()
            await self._retrying.create_own(self.path, data, acl, self._acl)
            lease = await hold(self._retrying, self.path)
        finally:
            self._remember_session()
        if lease is None:
            await self._remove_or_await_other_node()
        else:
            await self._write_changes(lease, data, acl)
        return lease

    async def _write_changes(self, lease: Lease, data: bytes, acl: tuple[ACL, ...]) -> None:
        """Store changes that were made during the creation; release the node if that fails."""
        try:
            if data != self.data:
                await self._send_data()
            if acl != self.acl:
                await self._send_acl()
        except BaseException:
            lease.release().addErrback(lambda failure: None)  # the session's end deletes it
            raise

    async def _send_data(self) -> None:
        client = self._retrying.client
        await self._send(lambda stat: client.set(self.path, self.data, stat.version))

    async def _send_acl(self) -> None:
        client = self._retrying.client
        await self._send(lambda stat: client.set_acl(self.path, self.acl, stat.aversion))

    async def _send(self, write: Callable[[Stat], Deferred[Stat]]) -> None:
        """Write to the node if this session still owns it."""
        client = self._retrying.client

        async def attempt() -> None:
            stat = await client.exists(self.path)
            identity = client.client_id
            if stat is not None and identity is not None and stat.ephemeral_owner == identity[0]:
                await write(stat)

        while True:
            try:
                return await self._retrying.retry(attempt)
            except BadVersionError:
                continue  # another client has written meanwhile

    def _remember_session(self) -> None:
        identity = self._retrying.client.client_id
        if identity is not None:
            self._sessions.add(identity[0])

    async def _remove_or_await_other_node(self) -> None:
        """Delete the node if an earlier session has left it, else wait until it is gone."""
        client = self._retrying.client
        stat, watch = await self._retrying.read_and_watch(
            lambda: client.exists_and_watch(self.path)
        )
        if stat is None:
            cancel_watch(watch)
        elif stat.ephemeral_owner in self._sessions:
            cancel_watch(watch)
            await self._retrying.delete_node(self.path, stat.czxid)
        else:
            self._log.info(
                "{path} belongs to another client: waiting until it is deleted", path=self.path
            )
            await watch

    async def _delete_ours(self) -> None:
        await self._one_at_a_time.acquire()
        try:
            stat = await self._retrying.retry(lambda: self._retrying.client.exists(self.path))
            if stat is not None and stat.ephemeral_owner in self._sessions:
                await self._retrying.delete_node(self.path, stat.czxid)
        finally:
            self._one_at_a_time.release()
            self._release_claim()

    async def _write(self, send: Callable[[], Awaitable[None]]) -> None:
        if self.present:
            try:
                await send()
            except (NoNodeError, SessionExpiredError):
                return  # the next creation uses the latest data and ACL
