"""The types of the public interface: mypy checks this file, which is never run.

An ignored error is part of it: mypy complains if it no longer is an error.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from typing_extensions import assert_type

from zkservice import zookeeper
from zkservice.client import (
    PersistentWatch,
    Stat,
    State,
    Statistics,
    Transaction,
    WatchEvent,
    ZooKeeperClient,
)
from zkservice.discovery import BalancingAgent, Provider, ProviderUse, Resolver, agent
from zkservice.formats import Member
from zkservice.recipes import (
    Barrier,
    DoubleBarrier,
    Election,
    Lease,
    Lock,
    Membership,
    Node,
    Participant,
    Party,
    PersistentEphemeralNode,
    Queue,
    ReadWriteLock,
    ReliableQueue,
    Semaphore,
)
from zkservice.registry import Children, Properties, Registration, register
from zkservice.testing import EmbeddedZooKeeper
from zkservice.tree import TreeNode, parse_tree
from zkservice.treesync import Report
from zkservice.web import HTTPFactory, TextView, Workers
from zkservice.wire.acl import ACL
from zkservice.wire.hosts import Address
from zkservice.zookeeper import ZooKeeper


class SomeNode:
    """A class of the caller's for parsed trees."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.properties: dict[str, Any] = {}
        self.children: dict[str, SomeNode] = {}


async def client_operations(reactor: Any) -> None:
    """What each operation answers."""
    client = await ZooKeeperClient("h1:2181,h2:2181/chroot", 10.0, reactor=reactor).connect()
    assert_type(client, ZooKeeperClient)
    assert_type(client.create("/a", b"data", ephemeral=True), Deferred[str])
    assert_type(client.create_and_stat("/a"), Deferred[tuple[str, Stat]])
    assert_type(client.ensure_path("/a/b"), Deferred[None])
    assert_type(await client.exists("/a"), Stat | None)
    assert_type(await client.get("/a"), tuple[bytes, Stat])
    assert_type(await client.set("/a", b"x", version=3), Stat)
    assert_type(await client.get_children("/a"), list[str])
    assert_type(await client.get_acl("/a"), tuple[list[ACL], Stat])
    assert_type(await client.count_descendants("/a"), int)
    assert_type(await client.get_ephemerals(), list[str])
    assert_type(await client.delete("/a"), None)
    assert_type(client.close(), Deferred[None])
    assert_type(client.state, State)
    assert_type(client.client_id, tuple[int, bytes] | None)
    assert_type(client.server, Address | None)
    assert_type(client.session_timeout, float)
    assert_type(client.statistics(), Statistics)


async def client_watches(client: ZooKeeperClient) -> None:
    """A watch is a pair of Deferreds, or a handle."""
    value, watch = client.get_and_watch("/a")
    assert_type(value, Deferred[tuple[bytes, Stat]])
    assert_type(watch, Deferred[WatchEvent])
    stat, _ = client.exists_and_watch("/a")
    assert_type(stat, Deferred[Stat | None])
    children, _ = client.get_children_and_watch("/a")
    assert_type(children, Deferred[list[str]])

    def heard(event: WatchEvent) -> None:
        assert_type(event.path, str)

    handle = await client.add_watch("/a", heard, recursive=True)
    assert_type(handle, PersistentWatch)
    assert_type(handle.cancel(), Deferred[None])


async def client_transactions(client: ZooKeeperClient) -> None:
    """Operations can be chained, or not; results come in a list."""
    transaction = client.transaction()
    assert_type(transaction, Transaction)
    transaction.create("/a")
    transaction.set("/a", b"x")
    assert_type(await transaction.commit(), list[str | Stat | None])


def client_mistakes(client: ZooKeeperClient) -> None:
    """What a type checker finds before the server does."""
    client.create("/a", "text")  # type: ignore[arg-type]
    client.get(b"/a")  # type: ignore[arg-type]
    client.create("/a", b"", True)  # type: ignore[arg-type]
    client.add_watch("/a", lambda: None)  # type: ignore[arg-type, misc]


async def recipes(client: ZooKeeperClient) -> None:
    """Recipes take a client, and answer what one holds."""
    acquiring: Deferred[Lease] = Lock(client, "/lock").acquire(timeout=1.0)
    assert_type(await acquiring, Lease)
    trying: Deferred[Lease | None] = Lock(client, "/lock").try_acquire()
    assert_type(await trying, Lease | None)
    async with await Election(client, "/election").lead() as lease:
        assert_type(lease, Lease)
    assert_type(await Queue(client, "/queue").get(), bytes)
    assert_type((await ReliableQueue(client, "/queue").get()).data, bytes)
    await Node(client, "/node").set_data(b"x")
    assert_type(Barrier(client, "/barrier").wait(timeout=1.0), Deferred[None])
    assert_type(Barrier(client, "/barrier").remove(), Deferred[bool])
    async with await DoubleBarrier(client, "/job", 2).enter() as participant:
        assert_type(participant, Participant)
    async with await Party(client, "/party", "me").join() as membership:
        assert_type(membership, Membership)
    assert_type(Party(client, "/party").changed([]), Deferred[list[str]])
    node = PersistentEphemeralNode(client, "/agent", b"x")
    creating: Deferred[PersistentEphemeralNode] = node.create()
    assert_type(await creating, PersistentEphemeralNode)


async def blocks(client: ZooKeeperClient) -> None:
    """What is held is a block in three ways: itself, its Deferred, and what that fires with."""
    async with Lock(client, "/lock") as lease:
        assert_type(lease, Lease)
    async with Lock(client, "/lock").acquire(timeout=1.0) as lease:
        assert_type(lease, Lease)
    async with Lock(client, "/lock").try_acquire() as lease:
        assert_type(lease, Lease)
    async with ReadWriteLock(client, "/lock").read() as lease:
        assert_type(lease, Lease)
    async with Semaphore(client, "/pool", 2) as lease, Semaphore(client, "/pool", 2).acquire():
        assert_type(lease, Lease)
    async with Election(client, "/election") as lease, Election(client, "/election").lead():
        assert_type(lease, Lease)
    async with DoubleBarrier(client, "/job", 2) as one, DoubleBarrier(client, "/job", 2).enter():
        assert_type(one, Participant)
    async with PersistentEphemeralNode(client, "/agent") as node:
        assert_type(node, PersistentEphemeralNode)
        await node.set(b"ready")
    async with Party(client, "/party", "me") as membership, Party(client, "/party").join():
        assert_type(membership, Membership)


async def high_level(reactor: Any) -> None:
    """zc.zk's names."""
    zk = await ZooKeeper("127.0.0.1:2181").connect()
    assert_type(zk, ZooKeeper)
    assert_type(await zk.register("/p", ":8080", color="red"), Registration)
    assert_type(await zk.children("/p"), Children)
    assert_type(await zk.members("/p"), list[Member])
    assert_type(await zk.properties("/p"), Properties)
    assert_type(await zk.get_properties("/p"), dict[str, Any])
    assert_type(await zk.import_tree("/a\n", "/"), Report)
    assert_type(await zk.export_tree("/a"), str)
    assert_type(await zk.resolve("/a"), str)
    assert_type(await zk.delete_recursive("/a", dry_run=True), Report)
    assert_type(zk.walk("/a"), AsyncIterator[Any])
    for name in await zk.children("/p"):
        assert_type(name, str)
    assert_type(parse_tree("/a\n"), TreeNode)
    assert_type(zookeeper.parse_tree("/a\n"), zookeeper.ParseNode)
    assert_type(zookeeper.parse_tree("/a\n", SomeNode), SomeNode)
    assert_type(zk.ephemeral, Mapping[str, Registration])


def registrations(client: ZooKeeperClient) -> None:
    """One call; the rest is on the registration."""
    registration = register(client, "/p", "127.0.0.1:80", {"color": "red"})
    assert_type(registration, Registration)
    assert_type(registration.path, str)
    assert_type(registration.when_registered(), Deferred[Registration])
    assert_type(registration.unregister(), Deferred[bool])


async def discovery(reactor: Any, client: ZooKeeperClient) -> None:
    """The registered providers, and how one is chosen."""
    resolver = await Resolver(client, "/p", remember="providers.json").start()
    assert_type(resolver, Resolver)
    assert_type(resolver.providers, tuple[Provider, ...])
    assert_type(await resolver.wait_for(2), tuple[Provider, ...])
    assert_type(resolver.pick(), Provider)
    assert_type(resolver.use(), ProviderUse)
    assert_type(agent(reactor, resolver), BalancingAgent)
    assert_type(resolver.close(), Deferred[None])


async def testing() -> None:
    """A ZooKeeper for tests."""
    server = await EmbeddedZooKeeper().start()
    assert_type(server, EmbeddedZooKeeper)
    assert_type(server.connection_string, str)
    assert_type(server.expire(1), bool)
    assert_type(server.stop(), Deferred[None])


def front_end(reactor: Any) -> HTTPFactory:
    """A WSGI application behind any Twisted endpoint."""

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b""]

    views = {"/hello": TextView(lambda environ: "hello")}
    return HTTPFactory(application, Workers(reactor, 4), reactor=reactor, views=views)
