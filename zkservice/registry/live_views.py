"""Live views: data, children and properties of a node, kept current.

A view is filled when its Deferred fires.  From then on it follows the node, across reconnects,
new sessions, and symbolic links that change.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import partial
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from typing_extensions import override

from zkservice.client import Retrying, ZooKeeperClient
from zkservice.errors import BadVersionError, CancelWatch, NoNodeError
from zkservice.following.follower import Follower, Paths, depends_on
from zkservice.following.lookup import gather_all, look_up
from zkservice.following.watch_set import CHILDREN, DATA
from zkservice.properties import Properties as Data
from zkservice.properties import canonical, decode, encode
from zkservice.tree.links import LinkedValue, follow
from zkservice.tree.model import PROPERTY_LINK, is_property_link
from zkservice.wire.records import Stat

V = TypeVar("V", bound="View[Any, Any]")
A = TypeVar("A")
T = TypeVar("T")

#: Attempts to change a node that other clients change at the same time.  Each failure means
#: that one of their changes succeeded.
ATTEMPTS: Final = 100


class View(Follower[A, T]):
    """The base of live views; calls the callbacks.

    Attributes:
        path: the path, which may lead through symbolic links.
        real_path: the path to which it leads.
        deleted: whether it leads to no node at the moment.
    """

    def __init__(self, client: ZooKeeperClient, path: str, reactor: Any) -> None:
        super().__init__(client, path, reactor)
        self.deleted = False
        self._last_fingerprint: tuple[str | None, str] | None = None
        self._callbacks: list[Callable[..., object]] = []

    def __call__(self: V, callback: Callable[..., object]) -> V:
        """Call back with this object, now and after each change; usable as a decorator.

        When the node is deleted, the callback is called without arguments, if its signature
        allows that.  An exception in the first call is raised here, and the callback is not
        called again.  If a later call raises, or returns a coroutine or Deferred that fails,
        the error is logged, and the callback is not called again.  Raise ``CancelWatch`` to
        end the calls without a log line.

        Returns:
            This object.  Keep a reference to it: without one the view is garbage-collected.
        """
        try:
            result = callback(self)
        except CancelWatch:
            return self
        self._callbacks.append(callback)
        self._watch_result(callback, result)
        return self

    def __repr__(self) -> str:
        return f"{'DELETED: ' if self.deleted else ''}{type(self).__name__}({self.path})"

    def _store(self, value: T) -> None:
        """Store a new value."""
        raise NotImplementedError

    def _fingerprint(self, value: T) -> str:
        """A string that two values share if and only if they are equal."""
        raise NotImplementedError

    def _clear(self) -> None:
        """Clear the value."""
        raise NotImplementedError

    @override
    def _found(self, value: T) -> None:
        fingerprint = self.real_path, self._fingerprint(value)
        if fingerprint != self._last_fingerprint:
            self._last_fingerprint, self.deleted = fingerprint, False
            self._store(value)
            self._changed()

    @override
    def _lost(self) -> None:
        if not self.deleted:
            self._last_fingerprint, self.deleted = None, True
            self._clear()
            self._changed()

    def _changed(self) -> None:
        for callback in list(self._callbacks):
            if not self.deleted:
                self._call(callback, self)
            elif _needs_no_arguments(callback):
                self._call(callback)

    def _call(self, callback: Callable[..., object], *args: object) -> None:
        try:
            result = callback(*args)
        except Exception:  # noqa: BLE001 - it is logged; the others are still called
            self._failed(Failure(), callback)
        else:
            self._watch_result(callback, result)

    def _watch_result(self, callback: Callable[..., object], result: object) -> None:
        """If a callback returned a coroutine or Deferred, handle its failure like an exception."""
        if isinstance(result, Coroutine):
            result = Deferred.fromCoroutine(result)
        if isinstance(result, Deferred):
            result.addErrback(self._failed, callback)

    def _failed(self, failure: Failure, callback: Callable[..., object]) -> None:
        if callback in self._callbacks:
            self._callbacks.remove(callback)
        if failure.check(CancelWatch):
            self.log.debug("{callback} cancelled its watch of {path}", callback=callback, path=self)
            return
        self.log.failure(
            "{callback} failed when called for {path}; it will not be called again",
            failure=failure,
            callback=callback,
            path=self,
        )


class NodeData(View["tuple[bytes, Stat]", "tuple[bytes, Stat]"]):
    """A node's data as bytes, kept current.

    Attributes:
        data: the bytes; empty while the node is deleted.
        stat: the Stat that was read with them; None while the node is deleted.
        path: the path, which may lead through symbolic links.
        real_path: the path to which it leads.
        deleted: whether it leads to no node at the moment.
    """

    operation = DATA

    def __init__(self, client: ZooKeeperClient, path: str, reactor: Any) -> None:
        super().__init__(client, path, reactor)
        self.data = b""
        self.stat: Stat | None = None

    @override
    async def _interpret(
        self, path: str, reply: tuple[bytes, Stat]
    ) -> tuple[tuple[bytes, Stat], Paths]:
        return reply, set()

    @override
    def _store(self, value: tuple[bytes, Stat]) -> None:
        self.data, self.stat = value

    @override
    def _fingerprint(self, value: tuple[bytes, Stat]) -> str:
        return str(value[1].mzxid)  # each time the node is set, also to the same bytes

    @override
    def _clear(self) -> None:
        self.data, self.stat = b"", None


class Children(View["list[str]", "list[str]"]):
    """The names of a node's children, sorted, kept current.

    Attributes:
        data: the names, as a list.
        path: the path, which may lead through symbolic links.
        real_path: the path to which it leads.
        deleted: whether it leads to no node at the moment.
    """

    operation = CHILDREN

    def __init__(self, client: ZooKeeperClient, path: str, reactor: Any) -> None:
        super().__init__(client, path, reactor)
        self.data: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.data))

    def __len__(self) -> int:
        return len(self.data)

    def __contains__(self, name: object) -> bool:
        return name in self.data

    @override
    async def _interpret(self, path: str, reply: list[str]) -> tuple[list[str], Paths]:
        return sorted(reply), set()

    @override
    def _store(self, value: list[str]) -> None:
        self.data = value

    @override
    def _fingerprint(self, value: list[str]) -> str:
        return "/".join(value)

    @override
    def _clear(self) -> None:
        self.data = []


class Properties(
    View["tuple[bytes, Stat]", "tuple[Data, dict[str, LinkedValue]]"], Mapping[str, Any]
):
    """A node's properties, as a mutable mapping.

    Property links are followed: if the node has ``x =>``, ``properties["x"]`` is the value
    that the link leads to, and changes with it; ``properties["x =>"]`` is the link.  If a
    property and a link have the same name, the property wins.  Reading a property whose link leads
    nowhere raises `BadPropertyLinkError`.  Do not change values in place.

    Attributes:
        data: the node's own properties, with links that are not followed.
        path: the path, which may lead through symbolic links.
        real_path: the path to which it leads.
        deleted: whether it leads to no node at the moment.
    """

    operation = DATA

    def __init__(
        self, client: ZooKeeperClient, path: str, reactor: Any, *, watch: bool = True
    ) -> None:
        super().__init__(client, path, reactor)
        self._retrying = Retrying(client, reactor=reactor)
        self.data: Data = {}
        self._linked: dict[str, LinkedValue] = {}
        self._watching = watch
        # The changes that item assignments have begun, in order.
        self._assignments: dict[Deferred[None], None] = {}
        if not watch:
            self.stop()

    # -- reading -----------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        if name in self.data:
            return self.data[name]
        followed = self._linked[name]
        if followed.error is not None:
            raise followed.error
        return followed.value

    def __iter__(self) -> Iterator[str]:
        """Names; a link has the name of the property that it stands for."""
        return iter([name for name in self.data if not self._is_link(name)] + list(self._linked))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return name in self.data or name in self._linked

    __hash__ = object.__hash__  # by identity: the contents change

    @override
    def __call__(self, callback: Callable[..., object]) -> Properties:
        if not self._watching:
            raise TypeError("Can't set callbacks without watching.")
        return super().__call__(callback)

    def copy(self) -> Data:
        """The node's own properties as a dict, with links that are not followed."""
        return dict(self.data)

    def _is_link(self, name: str) -> bool:
        return is_property_link(name, self.data[name])

    # -- changing ----------------------------------------------------------------------

    def update(self, data: Mapping[str, Any] | None = None, /, **more: Any) -> Deferred[None]:
        """Change some properties; keywords take precedence over ``data``.

        Only the named properties change, so concurrent changes of others are kept.

        Returns:
            Fires when the change is stored and visible in this view.

        Fails with:
            ValueError: a property link leads nowhere; nothing was changed.
            TreeValueError: JSON cannot hold a value; nothing was changed.
            NoNodeError: the node was deleted.
            ConnectionLossError: it is not known whether the change was stored.
        """
        changes = {**(data or {}), **more}
        return self._change(lambda old: {**old, **changes})

    def set(self, data: Mapping[str, Any] | None = None, /, **more: Any) -> Deferred[None]:
        """Replace all properties; otherwise like ``update``."""
        changes = {**(data or {}), **more}
        return self._change(lambda old: dict(changes))

    def __setitem__(self, name: str, value: Any) -> None:
        """Start to change one property; a failure is logged."""
        assignment = self.update({name: value}).addErrback(self._not_set, name)
        self._assignments[assignment] = None
        assignment.addBoth(lambda _: self._assignments.pop(assignment, None))

    @override
    def when_current(self) -> Deferred[None]:
        """Fires when the view is at least as new as this call, including items assigned before."""
        return Deferred.fromCoroutine(self._when_all_current(list(self._assignments)))

    async def _when_all_current(self, assignments: list[Deferred[None]]) -> None:
        for assignment in assignments:  # `_not_set` has logged errors
            # Await another Deferred: cancelling this coroutine must not cancel the assignment.
            done: Deferred[None] = Deferred()
            assignment.addBoth(done.callback)
            await done
        await super().when_current()

    def _not_set(self, failure: Failure, name: str) -> None:
        self.log.failure("{name} of {path} could not be set", failure, name=name, path=self.path)

    def _change(self, change: Callable[[Data], Data]) -> Deferred[None]:
        return Deferred.fromCoroutine(self._change_with_retries(change))

    async def _change_with_retries(self, change: Callable[[Data], Data]) -> None:
        for _ in range(ATTEMPTS):
            path = self._writable_path()
            try:
                data, stat = await self._retrying.read(partial(self._client.get, path))
                new = change(decode(data))
                await self._retrying.read(partial(self._check_links, path, new))
                await self._retrying.set(path, encode(new), stat.version)
            except BadVersionError:
                continue  # another client was faster: apply the change to what it wrote
            except NoNodeError:
                await super().when_current()
                continue  # the path may lead to another node by now
            await super().when_current()
            return
        raise BadVersionError(
            self.path, f"other clients changed it during each of {ATTEMPTS} attempts"
        )

    def _writable_path(self) -> str:
        if self.deleted or self.real_path is None:
            raise NoNodeError(self.path)
        return self.real_path

    async def _check_links(self, path: str, new: Data) -> None:
        for name, followed in (await self._follow_links(path, new)).items():
            if followed.error is not None:
                link = name + PROPERTY_LINK
                raise ValueError("Bad property link", link, new[link], followed.error.cause)

    # -- following ----------------------------------------------------------------------

    async def _follow_links(self, path: str, data: Data) -> dict[str, LinkedValue]:
        """Follow the property links, except where a property has the same name."""
        names = [
            name.removesuffix(PROPERTY_LINK)
            for name, value in sorted(data.items())
            if is_property_link(name, value) and name.removesuffix(PROPERTY_LINK) not in data
        ]
        followed = await gather_all(
            look_up(self._client, follow(path, data, name), {path: data}) for name in names
        )
        return dict(zip(names, followed, strict=True))

    @override
    async def _interpret(
        self, path: str, reply: tuple[bytes, Stat]
    ) -> tuple[tuple[Data, dict[str, LinkedValue]], Paths]:
        data = decode(reply[0], self._bad_json)
        linked = await self._follow_links(path, data)
        depends = {node for followed in linked.values() for node in followed.nodes}
        depends.discard(path)
        for followed in linked.values():
            for way in followed.resolutions:
                depends.update(depends_on(way))
        return (data, linked), depends

    def _bad_json(self, error: ValueError) -> None:
        self.log.warn("bad json data in node at {path!r}: {error}", path=self.path, error=error)

    @override
    def _store(self, value: tuple[Data, dict[str, LinkedValue]]) -> None:
        self.data, self._linked = value
        for name, followed in self._linked.items():
            if followed.error is not None:
                self.log.warn(
                    "bad property link {name!r}: {error}", name=name, error=followed.error
                )

    @override
    def _fingerprint(self, value: tuple[Data, dict[str, LinkedValue]]) -> str:
        data, linked = value
        return canonical(
            [data, {name: [one.value, str(one.error)] for name, one in linked.items()}]
        )

    @override
    def _clear(self) -> None:
        self.data, self._linked = {}, {}


def live_data(client: ZooKeeperClient, path: str, *, reactor: Any = None) -> Deferred[NodeData]:
    """A node's data, kept current for as long as they are referenced.

    Args:
        client: need not be connected yet.
        path: may lead through symbolic links.
        reactor: schedules retries; the installed one if None.

    Returns:
        Fires with the view when it is filled.  Cancelling it stops the view.

    Fails with:
        NoNodeError: the path leads to no node.
        LinkLoopError: the links form a loop.
    """
    return _filled(NodeData(client, path, _reactor(reactor)))


def live_children(client: ZooKeeperClient, path: str, *, reactor: Any = None) -> Deferred[Children]:
    """The names of a node's children, kept current for as long as they are referenced.

    Args:
        client: need not be connected yet.
        path: may lead through symbolic links.
        reactor: schedules retries; the installed one if None.

    Returns:
        Fires with the view when it is filled.  Cancelling it stops the view.

    Fails with:
        NoNodeError: the path leads to no node.
        LinkLoopError: the links form a loop.
    """
    return _filled(Children(client, path, _reactor(reactor)))


def live_properties(
    client: ZooKeeperClient, path: str, *, reactor: Any = None, watch: bool = True
) -> Deferred[Properties]:
    """A node's properties, kept current for as long as they are referenced.

    Args:
        client: need not be connected yet.
        path: may lead through symbolic links.
        reactor: schedules retries; the installed one if None.
        watch: False for a mapping that can be changed, but does not follow the node.

    Returns:
        Fires with the view when it is filled.  Cancelling it stops the view.

    Fails with:
        NoNodeError: the path leads to no node.
        LinkLoopError: the links form a loop.
    """
    return _filled(Properties(client, path, _reactor(reactor), watch=watch))


def _reactor(given: Any) -> Any:
    """The reactor that was passed, else the installed one."""
    if given is not None:
        return given
    from twisted.internet import reactor  # noqa: TID251

    return reactor


def _filled(view: V) -> Deferred[V]:
    return view.when_current().addCallback(lambda _: view)


def _needs_no_arguments(callback: Callable[..., object]) -> bool:
    """Whether a function can be called without arguments."""
    try:
        inspect.signature(callback).bind()
    except (TypeError, ValueError):
        return False
    return True
