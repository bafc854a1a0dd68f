"""ZooKeeper for programs that register services, find them, and model them as a tree.

The names are those of zc.zk.  Methods that blocked there return a Deferred here, and
methods that printed return the text::

    zk = await ZooKeeper("127.0.0.1:2181").connect()
    addresses = await zk.children("/fooservice/providers")
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import Self

from zkservice.client import ZooKeeperClient
from zkservice.errors import (
    AuthFailedError,
    BadPropertyLinkError,
    CancelWatch,
    ConnectTimeoutError,
    FailedConnectError,
    InvalidPathError,
    LinkLoopError,
    NoNodeError,
)
from zkservice.following.lookup import look_up
from zkservice.formats import Member
from zkservice.formats.addresses import parse_address as parse_addr
from zkservice.registry import RegisteringServer, Registration, RegistrationState, register
from zkservice.registry.find import find_members
from zkservice.registry.live_views import Children, Properties, live_children, live_properties
from zkservice.tree import TreeNode, decode, encode, format_tree, resolve
from zkservice.tree.model import SYMLINK
from zkservice.tree.parse_node import ParseNode
from zkservice.tree.parse_node import parse_named_tree as parse_tree
from zkservice.tree.plan import Acl, Delete, Plan, Trim
from zkservice.treesync import Progress, Report, delete_tree, import_tree, read_named_tree, walk
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE
from zkservice.wire.records import Stat
from zkservice.wire.session import State
from zkservice.znodes import join, name_problem, normalize, split

__all__ = [
    "OPEN_ACL_UNSAFE",
    "READ_ACL_UNSAFE",
    "ZK",
    "BadPropertyLink",
    "CancelWatch",
    "Children",
    "FailedConnect",
    "LinkLoop",
    "ParseNode",
    "Properties",
    "RegisteringServer",
    "Report",
    "ZooKeeper",
    "decode",
    "encode",
    "parse_addr",
    "parse_tree",
]

LinkLoop = LinkLoopError
BadPropertyLink = BadPropertyLinkError
FailedConnect = FailedConnectError

#: Where ZooKeeper is unless an argument or the environment says otherwise.
DEFAULT_CONNECTION_STRING: Final = "127.0.0.1:2181"
CONNECTION_VARIABLE: Final = "ZC_ZK_CONNECTION_STRING"

#: Seconds that closing waits for a server that does not reply.
CLOSE_TIMEOUT: Final = 2.0


def default_connection_string(environ: Mapping[str, str] = os.environ) -> str:
    """The environment's connection string, or that of a server on this machine."""
    return environ.get(CONNECTION_VARIABLE) or DEFAULT_CONNECTION_STRING


class ZooKeeper:
    """Registration, discovery, configuration and trees, over one session.

    Attributes:
        client: the ``ZooKeeperClient`` below, for everything else; recipes need it.
        connection_string: where ZooKeeper is; None with a client of the caller's.

    Args:
        connection_string: ``host:port,host:port/chroot``; or a client, which the caller
            connects and closes.  The default is the environment variable
            ``ZC_ZK_CONNECTION_STRING``, else ``127.0.0.1:2181``.
        session_timeout: seconds after which the server ends a session whose client is
            silent.
        wait: ``connect`` retries until it succeeds.
        reactor: by default the installed one.
    """

    _log = Logger()

    def __init__(
        self,
        connection_string: str | ZooKeeperClient | None = None,
        session_timeout: float | None = None,
        wait: bool = False,
        *,
        reactor: Any = None,
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor  # noqa: TID251 - the caller wants the default
        self._reactor = reactor
        self._wait = wait
        self._registrations: dict[Registration, None] = {}  # in order
        self.connection_string: str | None = None
        if isinstance(connection_string, ZooKeeperClient):
            self._ours, self.client = False, connection_string
        else:
            self.connection_string = connection_string or default_connection_string()
            self._ours = True
            self.client = ZooKeeperClient(
                self.connection_string, session_timeout or 10.0, reactor=reactor
            )

    def __repr__(self) -> str:
        return f"<ZooKeeper {self.connection_string or self.client!r}>"

    @property
    def state(self) -> State:
        """The state of the session."""
        return self.client.state

    @property
    def session_timeout(self) -> float:
        """Seconds, as negotiated with the server."""
        return self.client.session_timeout

    def recv_timeout(self) -> float:
        """The session's time-out, under its name in the C library."""
        return self.session_timeout

    @property
    def ephemeral(self) -> Mapping[str, Registration]:
        """The registrations of this object, by the paths of their znodes."""
        return {path: one for one in self._current() for path in one.paths}

    # -- life ---------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Connect; the end of the block closes it."""
        try:
            return await self.connect()
        except BaseException:
            await self.close()
            raise

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def connect(self, timeout: float | None = None) -> Deferred[Self]:
        """Start the session.

        Args:
            timeout: seconds to try; the default is the session's time-out.

        Returns:
            Fires with this object.

        Fails with:
            FailedConnect: no server accepted the session in time.
        """
        if not self._ours:
            return succeed(self)
        limit = None if self._wait else timeout or self.session_timeout
        connecting: Deferred[Any] = self.client.connect(limit)
        return connecting.addCallbacks(lambda _: self, self._not_connected)

    def _not_connected(self, failure: Failure) -> Failure:
        failure.trap(ConnectTimeoutError, AuthFailedError)
        reason = getattr(failure.value, "detail", None) or str(failure.value)
        error = FailedConnectError(str(self.connection_string), reason)
        self._log.critical("{error}", error=error)
        return Failure(error)

    def close(self) -> Deferred[None]:
        """End the session, which removes all registrations.  A second call does nothing.

        A client that was passed in stays open; only the registrations are removed then.
        """
        if self._ours:
            return self.client.close()
        leaving = [
            one.unregister().addTimeout(CLOSE_TIMEOUT, self._reactor) for one in self._registrations
        ]
        self._registrations.clear()
        return DeferredList(leaving, consumeErrors=True).addCallback(lambda _: None)

    # -- services -------------------------------------------------------------------------

    def register(
        self,
        path: str,
        addr: str | tuple[str, int],
        acl: Sequence[ACL] = READ_ACL_UNSAFE,
        **properties: Any,
    ) -> Deferred[Registration]:
        """Register a server's address until `close` or `delete`; new sessions register it again.

        Args:
            path: the service; symbolic links are followed, and it is created if missing.
            addr: ``"host:port"`` or a pair; an empty host means all addresses of this machine.
            acl: of the node that is created.
            properties: of the server; ``pid`` is added if it is missing.

        Returns:
            Fires with the registration once it is held.

        Fails with:
            NodeExistsError: this client has registered the address already.  A node that
                another session has left is replaced.
        """
        return Deferred.fromCoroutine(self._register(path, addr, acl, properties))

    async def _register(
        self,
        path: str,
        addr: str | tuple[str, int],
        acl: Sequence[ACL],
        properties: Mapping[str, Any],
    ) -> Registration:
        try:
            where = await self.resolve(path)
        except NoNodeError:
            where = normalize(path)
        registration = register(
            self.client,
            normalize(path),
            addr,
            properties,
            acl,
            clock=self._reactor,
            real_path=where,
        )
        self._registrations[registration] = None
        try:
            await registration.when_registered()
        except BaseException:
            self._unregister(registration).addErrback(lambda _: None)
            raise
        return registration

    register_server = register

    def children(self, path: str) -> Deferred[Children]:
        """The names of a node's children, kept current; see ``live_children``."""
        return live_children(self.client, path, reactor=self._reactor)

    def members(self, path: str) -> Deferred[list[Member]]:
        """The instances of a service at this moment, in any format.

        Args:
            path: the service; symbolic links are followed.

        Returns:
            Fires with a `zkservice.formats.Member` for each child that is an instance.

        Fails with:
            NoNodeError: the path does not lead to a node.
            LinkLoop: the links form a loop.
        """
        finding = find_members(self.client, path, reactor=self._reactor)
        return finding.addCallback(lambda found: found.members)

    def properties(self, path: str, watch: bool = True) -> Deferred[Properties]:
        """A node's properties, kept current; see ``live_properties``."""
        return live_properties(self.client, path, reactor=self._reactor, watch=watch)

    def get_properties(self, path: str) -> Deferred[dict[str, Any]]:
        """The properties of a node at this moment; links are not followed."""

        async def get() -> dict[str, Any]:
            data, _ = await self.client.get(normalize(path))
            return decode(data)

        return Deferred.fromCoroutine(get())

    # -- nodes ----------------------------------------------------------------------------

    def exists(self, path: str) -> Deferred[Stat | None]:
        """The node's Stat, or None."""
        return self.client.exists(path)

    def create(
        self, path: str, data: bytes = b"", acl: Sequence[ACL] = OPEN_ACL_UNSAFE, **options: Any
    ) -> Deferred[str]:
        """Create a node; options as in ``ZooKeeperClient.create``.  Fires with its path."""
        return self.client.create(path, data, acl, **options)

    def get(self, path: str) -> Deferred[tuple[bytes, Stat]]:
        """The node's data and Stat."""
        return self.client.get(path)

    def get_children(self, path: str) -> Deferred[list[str]]:
        """The names of the node's children, in no particular order."""
        return self.client.get_children(path)

    def set(self, path: str, data: bytes, version: int = -1) -> Deferred[Stat]:
        """Set a node's data.  A registration keeps them in later sessions, too."""
        return self.client.set(path, data, version).addCallback(self._was_set, path, data)

    def _was_set(self, stat: Stat, path: str, data: bytes) -> Stat:
        registration = self._registered_at(path)
        if registration is not None:
            registration.replace_properties(decode(data)).addErrback(lambda _: None)
        return stat

    def delete(self, path: str, version: int = -1) -> Deferred[None]:
        """Delete a node.  If it is a registration of this object, withdraw that."""
        registration = self._registered_at(path)
        if registration is None:
            return self.client.delete(path, version)
        return self._unregister(registration)

    def _unregister(self, registration: Registration) -> Deferred[None]:
        self._registrations.pop(registration, None)
        return registration.unregister().addCallback(lambda _: None)

    def _registered_at(self, path: str) -> Registration | None:
        return next((one for one in self._current() if path in one.paths), None)

    def _current(self) -> list[Registration]:
        """The registrations of this object that were not unregistered in another way."""
        for one in list(self._registrations):
            if one.state is RegistrationState.WITHDRAWN:
                del self._registrations[one]
        return list(self._registrations)

    def is_ephemeral(self, path: str) -> Deferred[bool]:
        """Whether a node is ephemeral.  Fails with NoNodeError."""

        async def get() -> bool:
            _, stat = await self.client.get(normalize(path))
            return stat.ephemeral_owner != 0

        return Deferred.fromCoroutine(get())

    def create_recursive(
        self, path: str, data: bytes = b"", acl: Sequence[ACL] = OPEN_ACL_UNSAFE
    ) -> Deferred[None]:
        """Create a node and its missing ancestors, then set its data."""

        async def create() -> None:
            await self.client.ensure_path(path, acl)
            await self.client.set(path, data)

        return Deferred.fromCoroutine(create())

    # -- links ----------------------------------------------------------------------------

    def resolve(self, path: str) -> Deferred[str]:
        """The real path of a node, through symbolic links.

        Fails with:
            NoNodeError: it does not lead to a node.
            LinkLoop: the links form a loop.
        """
        return look_up(self.client, resolve(path)).addCallback(lambda way: way.real_path)

    def ln(self, target: str, source: str) -> Deferred[str]:
        """Create a symbolic link at ``source`` that leads to ``target``.

        One of the two may end with a slash.  It is a parent then, and the name of the other
        one is appended: ``ln("/databases/main", "/fooservice/")`` creates
        ``/fooservice/main``.

        Args:
            target: a path, relative to the node that will hold the link, or absolute.
            source: the path of the link; its parent must exist.

        Returns:
            Fires with the path of the link.

        Fails with:
            NoNodeError: the source's parent does not exist.
            InvalidPathError: one of them is invalid, or both end with a slash, or the link
                would lead to itself.
        """
        return Deferred.fromCoroutine(self._ln(target, source))

    async def _ln(self, target: str, source: str) -> str:
        target, parent, name = _link(target, source)
        holder = await self.properties(parent, watch=False)
        await holder.update({name + SYMLINK: target})
        return join(parent, name)

    # -- trees ----------------------------------------------------------------------------

    def import_tree(
        self,
        text: str | TreeNode,
        path: str = "/",
        trim: Trim = None,
        acl: Acl = OPEN_ACL_UNSAFE,
        dry_run: bool = False,
        *,
        atomic: bool = False,
        progress: Progress = lambda done, total: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Deferred[Report]:
        """Make the nodes below ``path`` equal to a tree; only nodes that differ are written.

        Args:
            text: in the tree language, or a tree.
            path: an existing node.
            trim: True deletes nodes that the tree does not have, except directly below
                ``path``; None reports them; False ignores them.
            acl: for the nodes of the tree.
            dry_run: change nothing, and report what would be done.
            atomic: make all changes in one transaction.
            progress: called with the number of changes made, and of all.
            should_stop: called before each change; True stops.

        Fails with:
            TreeSyntaxError: with line and column; nothing was changed.
            NoNodeError: there is no node at ``path``.
            TreeChangedError: another client changed a node meanwhile.
            PlanFailedError, NotAtomicError, RequestTooLargeError: as ``apply_plan``.
        """

        return import_tree(
            self.client,
            text,
            path,
            trim=trim,
            acl=acl,
            dry_run=dry_run,
            atomic=atomic,
            progress=progress,
            should_stop=should_stop,
        )

    def export_tree(
        self,
        path: str = "/",
        ephemeral: bool = False,
        name: str | None = None,
        *,
        progress: Progress = lambda done, total: None,
    ) -> Deferred[str]:
        """A node and its descendants as text.

        Args:
            path: the node; ``/`` is the whole tree, without ``/zookeeper``.
            ephemeral: include ephemeral nodes.
            name: of the node at the top, instead of its own.
            progress: called with the number of nodes read, and of those known so far.

        Fails with:
            NoNodeError: there is no such node.
        """

        tree = read_named_tree(self.client, path, ephemeral=ephemeral, name=name, progress=progress)
        return tree.addCallback(format_tree)

    def print_tree(self, path: str = "/") -> Deferred[str]:
        """A node and its descendants as text, including ephemeral nodes."""
        return self.export_tree(path, ephemeral=True)

    def delete_recursive(
        self,
        path: str,
        dry_run: bool = False,
        force: bool = False,
        ignore_if_ephemeral: bool = False,
    ) -> Deferred[Report]:
        """Delete a node and its descendants.

        Ephemeral nodes and their ancestors stay; the report names them.

        Args:
            path: the node.
            dry_run: change nothing, and report what would be done.
            force: delete ephemeral nodes as well.
            ignore_if_ephemeral: do not report the node itself if it is ephemeral.

        Fails with:
            NoNodeError: there is no such node.
            TreeChangedError: other clients add nodes as fast as they are deleted.
        """

        return delete_tree(
            self.client,
            path,
            dry_run=dry_run,
            force=force,
            ignore_if_ephemeral=ignore_if_ephemeral,
            before_apply=self._forget,
        )

    async def _forget(self, plan: Plan) -> None:
        """Unregister registrations of this object whose nodes are about to be deleted."""
        for change in plan.changes:
            registration = self._registered_at(change.path)
            if registration is not None and isinstance(change, Delete):
                await self._unregister(registration)

    def walk(
        self, path: str = "/", ephemeral: bool = True, children: bool = False
    ) -> AsyncIterator[Any]:
        """Paths of a node and its descendants: parents first, names in order.

        Nodes that are deleted before their turn are left out.

        Args:
            path: where to start.
            ephemeral: include ephemeral nodes.
            children: yield pairs of a path and the list of its children's names; names
                that the caller removes from the list are not visited.
        """
        nodes = walk(self.client, normalize(path), ephemeral=ephemeral)
        return nodes if children else _paths(nodes)


ZK = ZooKeeper


def _link(target: str, source: str) -> tuple[str, str, str]:
    """The target of a link, the node that holds the link, and its name.

    Raises:
        InvalidPathError: one of them is invalid, or neither of them names the link.
    """
    if source.endswith("/"):
        parent, name = normalize(source), split(target)[1]
        problem = "it or the target must end with a name" if not name else name_problem(name)
    else:
        parent, name = split(normalize(source))
        problem = name_problem(name)
        target = join(target.rstrip("/"), name) if target.endswith("/") else target
    if problem is None and normalize(target, parent) == join(parent, name):
        problem = "the link would lead to itself"
    if problem is not None:
        raise InvalidPathError(source, problem)
    return target, parent, name


async def _paths(nodes: AsyncIterator[tuple[str, list[str]]]) -> AsyncIterator[str]:
    async for path, _ in nodes:
        yield path
