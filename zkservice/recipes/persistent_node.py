"""An ephemeral node that comes back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, fail, succeed
from twisted.logger import Logger
from typing_extensions import Self

from zkservice.errors import (
    BadVersionError,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
)
from zkservice.recipes.blocks import Entering
from zkservice.recipes.client_protocol import Client
from zkservice.recipes.lease import Lease, hold
from zkservice.recipes.persistent_ephemeral import PersistentEphemeral
from zkservice.recipes.retrying import RetryingClient, cancel_watch
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE
from zkservice.wire.records import Stat
from zkservice.znodes import validate


class PersistentEphemeralNode:
    """A node that goes when our process dies, but not for good when its session expires.

    It is made again, with its latest data and ACL, under the next session, and a second after
    somebody has deleted it.  What an earlier session of ours has left is replaced; what is
    another's is left alone, and waited for until it is gone.
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
        """Make the object; nothing is asked of the client yet.

        Args:
            client: connected, or going to be.
            path: the node.
            data: what it holds, until `set` says otherwise.
            acl: of the node, until `set_acl` says otherwise, and of its parents if they
                have to be made.
            reactor: tells the time; the installed one if None.

        Raises:
            InvalidPathError: the path is none.
        """
        self.path = validate(path)
        self.data = data
        self.acl = self._parents_acl = tuple(acl)
        self._retrying = RetryingClient(client, reactor)
        self._creating: Deferred[Self] | None = None
        self._staying: PersistentEphemeral | None = None
        self._sessions: set[int] = set()  # under which we may have made it
        self._one_at_a_time = DeferredLock()  # making it, and taking it away

    def __repr__(self) -> str:
        return f"<PersistentEphemeralNode {self.path} {'present' if self.present else 'absent'}>"

    @property
    def present(self) -> bool:
        """Whether it is there, as far as is known here."""
        return self._staying is not None and self._staying.present

    def create(self) -> Entering[Self]:
        """Make it, and go on making it until `delete`.

        Returns:
            Fires with this object when the node is there, and ours.  Cancelling it takes
            it away again.

        Fails with:
            NodeExistsError: this object has made it already.
            SessionExpiredError: and the client begins no other session.
            ClientClosedError: the client was closed.
            NoAuthError: nodes may not be created there.
        """
        if self._creating is not None or self._staying is not None:
            return Entering(fail(NodeExistsError(self.path)))
        creating = self._creating = Deferred.fromCoroutine(self._create())
        if creating.called:  # a refusal
            self._creating = None
        return Entering(creating)

    def set(self, data: bytes) -> Deferred[None]:
        """Change its data, now and for whenever it is made again.

        Returns:
            Fires when they are stored; at once while it is not `present`.

        Fails with:
            NoAuthError: the node may not be written; it is made again with these data.
        """
        self.data = data
        return Deferred.fromCoroutine(self._write(self._send_data))

    def set_acl(self, acl: Iterable[ACL]) -> Deferred[None]:
        """Change its ACL, now and for whenever it is made again; not that of its parents.

        Returns:
            Fires when it is stored; at once while it is not `present`.

        Fails with:
            NoAuthError: the ACL may not be changed; it is made again with this one.
            InvalidACLError: the server refuses it, and will refuse to make the node with it.
        """
        self.acl = tuple(acl)
        return Deferred.fromCoroutine(self._write(self._send_acl))

    def delete(self) -> Deferred[None]:
        """Take it away for good, or until `create`; twice is fine.

        Returns:
            Fires when it is gone; waits for a connection, if there is none.  Cancelling it
            stops the waiting, not the deletion.  A `create` that is under way is cancelled.
        """
        if self._creating is not None:
            self._creating.cancel()
        staying, self._staying = self._staying, None
        if staying is None:
            return succeed(None)
        return Deferred.fromCoroutine(self._gone(staying.leave()))

    async def __aenter__(self) -> Self:
        return await self.create()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take it away."""
        await self.delete()

    # -- how --------------------------------------------------------------------------

    async def _create(self) -> Self:
        try:
            lease = await self._enter()
        finally:
            self._creating = None
        self._staying = PersistentEphemeral(self._retrying, self.path, lease, self._enter)
        return self

    async def _gone(self, leaving: Deferred[None]) -> None:
        await self._one_at_a_time.acquire()
        try:
            await leaving
        finally:
            self._one_at_a_time.release()

    async def _enter(self) -> Lease:
        await self._one_at_a_time.acquire()
        try:
            while True:
                lease = await self._retrying.retry_across_sessions(self._enter_once)
                if lease is not None:
                    return lease
        except BaseException:
            self._retrying.in_background(
                self.path, self._delete_ours()
            )  # before the next one enters
            raise
        finally:
            self._one_at_a_time.release()

    async def _enter_once(self) -> Lease | None:
        data, acl = self.data, self.acl
        try:
            self._remember_session()
            await self._retrying.create_own(self.path, data, acl, self._parents_acl)
            lease = await hold(self._retrying, self.path)
        finally:
            self._remember_session()
        if lease is None:
            await self._make_room()
        else:
            await self._write_changes(lease, data, acl)
        return lease

    async def _write_changes(self, lease: Lease, data: bytes, acl: tuple[ACL, ...]) -> None:
        """Store what was changed while the node was made; release it if that fails."""
        try:
            if data != self.data:
                await self._send_data()
            if acl != self.acl:
                await self._send_acl()
        except BaseException:
            lease.release().addErrback(lambda failure: None)  # it goes with the session
            raise

    async def _send_data(self) -> None:
        client = self._retrying.client
        await self._send(lambda stat: client.set(self.path, self.data, stat.version))

    async def _send_acl(self) -> None:
        client = self._retrying.client
        await self._send(lambda stat: client.set_acl(self.path, self.acl, stat.aversion))

    async def _send(self, write: Callable[[Stat], Deferred[Stat]]) -> None:
        """Store what is wanted, if the node is ours still."""
        client = self._retrying.client

        async def once() -> None:
            stat = await client.exists(self.path)
            identity = client.client_id
            if stat is not None and identity is not None and stat.ephemeral_owner == identity[0]:
                await write(stat)

        while True:
            try:
                return await self._retrying.retry(once)
            except BadVersionError:
                continue  # somebody has written meanwhile

    def _remember_session(self) -> None:
        identity = self._retrying.client.client_id
        if identity is not None:
            self._sessions.add(identity[0])

    async def _make_room(self) -> None:
        """Wait until another's node is gone; delete one that we have left ourselves."""
        client = self._retrying.client
        stat, watch = await self._retrying.and_watch(lambda: client.exists_and_watch(self.path))
        if stat is None:
            cancel_watch(watch)
        elif stat.ephemeral_owner in self._sessions:
            cancel_watch(watch)
            await self._retrying.delete_node(self.path, stat.czxid)
        else:
            self._log.info("{path} is there, and not ours: waiting for its end", path=self.path)
            await watch

    async def _delete_ours(self) -> None:
        await self._one_at_a_time.acquire()
        try:
            stat = await self._retrying.retry(lambda: self._retrying.client.exists(self.path))
            if stat is not None and stat.ephemeral_owner in self._sessions:
                await self._retrying.delete_node(self.path, stat.czxid)
        finally:
            self._one_at_a_time.release()

    async def _write(self, send: Callable[[], Awaitable[None]]) -> None:
        if self.present:
            try:
                await send()
            except (NoNodeError, SessionExpiredError):
                return  # it is made again, with what is wanted then
