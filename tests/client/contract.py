"""Tests of the client that must pass with any ZooKeeper: the embedded one, or Apache's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor  # noqa: TID251 - real connections
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests import effort
from tests.client.watch_model import Driver, random_programs
from zkservice.client import Get, GetChildren, Retrying, ZooKeeperClient
from zkservice.errors import (
    AuthFailedError,
    BadVersionError,
    InvalidACLError,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    NoWatcherError,
    ReconfigDisabledError,
    SessionExpiredError,
    TransactionFailedError,
    UnimplementedError,
)
from zkservice.wire.acl import ACL, CREATOR_ALL_ACL, READ_ACL_UNSAFE, Id, Permission, digest_acl
from zkservice.wire.records import WatcherType
from zkservice.wire.session import State
from zkservice.wire.watches import EventType, KeeperState, WatchEvent


def sleep(seconds: float) -> Deferred[None]:
    """Wait in real time."""
    return deferLater(reactor, seconds, lambda: None)


class Contract(TestCase):
    """Each test has a chroot of its own."""

    timeout = 300
    number = 0

    def hosts(self) -> str:
        """The connection string."""
        raise NotImplementedError

    async def setUp(self) -> None:  # type: ignore[override]
        """A client, and a chroot for it."""
        Contract.number += 1
        self.chroot = f"/contract-{Contract.number}"
        self.client = await self.connect()
        await self.client.ensure_path("/")

    async def connect(self, **options: Any) -> ZooKeeperClient:
        """A connected client that is closed after the test."""
        client = ZooKeeperClient(self.hosts() + self.chroot, 10.0, **options)
        self.addCleanup(client.close)
        return await client.connect(60)

    # -- nodes

    async def test_kinds_of_nodes(self) -> None:
        """Every kind of node can be created; the result is the actual path."""
        client = self.client
        self.assertEqual(await client.create("/plain", b"1"), "/plain")
        self.assertEqual(await client.create("/e", ephemeral=True), "/e")
        self.assertEqual(await client.create("/s-", sequence=True), "/s-0000000002")
        self.assertEqual(
            await client.create("/es-", sequence=True, ephemeral=True), "/es-0000000003"
        )
        self.assertEqual(await client.create("/c", container=True), "/c")
        self.assertEqual(await client.create("/t", ttl=60), "/t")
        self.assertEqual(await client.create("/ts-", ttl=60, sequence=True), "/ts-0000000006")
        self.assertEqual(await client.create("/none", None), "/none")
        owned = await client.exists("/e")
        assert owned is not None and client.client_id is not None
        self.assertEqual(owned.ephemeral_owner, client.client_id[0])
        ours = await client.get_ephemerals()
        self.assertEqual(sorted(ours), ["/e", "/es-0000000003"])
        self.assertEqual(await client.get_ephemerals("/es"), ["/es-0000000003"])
        self.assertEqual(await client.count_descendants("/"), 8)

    async def test_create_and_stat(self) -> None:
        """The Stat of a new node comes with its path."""
        for options in ({}, {"container": True}, {"ttl": 60}, {"sequence": True}):
            path, stat = await self.client.create_and_stat("/a", b"123", **options)
            self.assertEqual(stat.data_length, 3)
            self.assertEqual(await self.client.exists(path), stat)
            await self.client.delete(path)

    async def test_each_refusal_has_its_error(self) -> None:
        """Each reason for a refusal raises its own error."""
        client = self.client
        await gatherResults([client.create("/a"), client.create("/e", ephemeral=True)])
        await client.create("/a/b")
        refused: list[tuple[type[Exception], Deferred[Any]]] = [
            (NodeExistsError, client.create("/a")),
            (NoNodeError, client.create("/x/y")),
            (NoChildrenForEphemeralsError, client.create("/e/x")),
            (InvalidACLError, client.create("/i", acl=[])),
            (InvalidACLError, client.create("/i", acl=CREATOR_ALL_ACL)),
            (NotEmptyError, client.delete("/a")),
            (NoNodeError, client.delete("/x")),
            (BadVersionError, client.delete("/a/b", 5)),
            (BadVersionError, client.set("/a", b"", 5)),
            (NoNodeError, client.get("/x")),
            (NoNodeError, client.get_children("/x")),
            (NoNodeError, client.get_acl("/x")),
            (BadVersionError, client.set_acl("/a", READ_ACL_UNSAFE, 5)),
            (NoWatcherError, client.remove_watches("/a")),
        ]
        for error, call in refused:
            await self.assertFailure(call, error)

    async def test_data_that_is_written_is_read(self) -> None:
        """Data that was written is read; None is read as empty bytes."""
        client = self.client
        await client.create("/a", b"1")
        stat = await client.set("/a", b"22", 0)
        self.assertEqual(await client.get("/a"), (b"22", stat))
        self.assertEqual((stat.version, stat.data_length), (1, 2))
        await client.set("/a", None)
        self.assertEqual((await client.get("/a"))[0], b"")
        largest = 1_000_000
        await client.set("/a", bytes(largest))
        self.assertEqual(len((await client.get("/a"))[0]), largest)

    async def test_names_need_not_be_ascii(self) -> None:
        """Names need not be ASCII, and a node may have hundreds of children."""
        client = self.client
        names = [f"naïve-中-{number}" for number in range(500)]
        await gatherResults([client.create(f"/{name}") for name in names])
        found, stat = await client.get_children_and_stat("/")
        self.assertEqual(sorted(found), sorted(names))
        self.assertEqual(stat.num_children, 500)
        self.assertEqual(await client.sync("/"), "/")

    async def test_acls_are_kept_and_hide_digests(self) -> None:
        """An ACL is enforced and can be read; digests are hidden without permission."""
        client, other = self.client, await self.connect()
        await client.add_auth("digest", "u:p")
        await client.create("/mine", b"", CREATOR_ALL_ACL)
        await self.assertFailure(other.get("/mine"), NoAuthError)
        readable = [digest_acl("u", "p"), ACL(int(Permission.READ), Id("world", "anyone"))]
        stat = await client.set_acl("/mine", readable)
        self.assertEqual(stat.aversion, 1)
        self.assertEqual(await client.get_acl("/mine"), (readable, stat))
        seen, _ = await other.get_acl("/mine")
        self.assertIn(ACL(31, Id("digest", "u:x")), seen)
        who = await client.who_am_i()
        self.assertIn(Id("digest", "u"), who)
        self.assertIn("ip", [one.scheme for one in who])

    async def test_an_unknown_scheme_closes_the_client(self) -> None:
        """A scheme that the server does not know closes the client."""
        client = await self.connect()
        pending = self.assertFailure(client.add_auth("nonsense", b"x"), AuthFailedError)
        await pending
        self.assertIs(client.state, State.AUTH_FAILED)

    async def test_a_transaction_is_all_or_nothing(self) -> None:
        """All operations are carried out, or none; the error names the one that failed."""
        client = self.client
        await client.create("/old")
        change = client.transaction()
        change.create("/a", b"1")
        change.create("/a/s-", sequence=True, ephemeral=True)
        change.create("/c", container=True)
        change.create("/t", ttl=60)
        change.set("/a", b"2")
        change.check("/a", 1)
        change.delete("/old")
        results = await change.commit()
        self.assertEqual(results[:4], ["/a", "/a/s-0000000000", "/c", "/t"])
        self.assertEqual(results[4], await self.no_children_yet("/a", results[4]))
        self.assertEqual(results[5:], [None, None])
        change = client.transaction()
        change.delete("/c")
        change.check("/a", 7)
        change.create("/never")
        error: Any = await self.assertFailure(change.commit(), TransactionFailedError)
        self.assertEqual((error.failed, type(error.__cause__)), (1, BadVersionError))
        self.assertIsNotNone(await client.exists("/c"))
        self.assertEqual(await client.transaction().commit(), [])

    async def no_children_yet(self, path: str, stat: Any) -> Any:
        """The Stat of a node that was set after its child was created, as it is read."""
        return await self.client.exists(path) if stat.num_children else stat

    async def test_each_of_several_reads_has_its_own_result(self) -> None:
        """Several reads in one request; each has its own result."""
        client = self.client
        await client.create("/a", b"1")
        data, names, missing = await client.read_all([Get("/a"), GetChildren("/"), Get("/x")])
        self.assertEqual(data, await client.get("/a"))
        self.assertEqual(names, ["a"])
        self.assertIsInstance(missing, NoNodeError)
        self.assertEqual(getattr(missing, "path", None), "/x")

    async def test_a_standalone_server_has_no_members(self) -> None:
        """A standalone server has no members, and cannot be reconfigured."""
        config, _ = await self.client.get_config()
        self.assertEqual(config, b"")
        await self.assertFailure(
            self.client.reconfig(leaving="2"), ReconfigDisabledError, UnimplementedError
        )

    # -- watches

    async def test_one_shot_watches(self) -> None:
        """Each kind fires with its event."""
        client, other = self.client, await self.connect()
        await client.create("/a")
        fired = []
        for read, change in (
            (lambda: client.get_and_watch("/a"), lambda: other.set("/a", b"1")),
            (lambda: client.exists_and_watch("/new"), lambda: other.create("/new")),
            (lambda: client.get_children_and_watch("/a"), lambda: other.create("/a/b")),
            (lambda: client.exists_and_watch("/a/b"), lambda: other.delete("/a/b")),
        ):
            value, watch = read()
            await value
            await change()
            fired.append(await watch)
        self.assertEqual(
            [(event.type, event.path) for event in fired],
            [
                (EventType.DATA_CHANGED, "/a"),
                (EventType.CREATED, "/new"),
                (EventType.CHILDREN_CHANGED, "/a"),
                (EventType.DELETED, "/a/b"),
            ],
        )

    async def test_a_persistent_watch_receives_every_event_of_its_node(self) -> None:
        """It receives all events of its node, until it is cancelled."""
        client, other = self.client, await self.connect()
        events: list[WatchEvent] = []
        handle = await client.add_watch("/a", events.append)
        self.assertTrue(await client.check_watches("/a"))
        await other.create("/a")
        await other.set("/a", b"1")
        await other.create("/a/b")
        await other.set("/a/b", b"1")
        await other.delete("/a/b")
        await other.delete("/a")
        await client.sync()
        kinds = [event.type for event in events]
        self.assertEqual(
            kinds,
            [
                EventType.CREATED,
                EventType.DATA_CHANGED,
                EventType.CHILDREN_CHANGED,
                EventType.CHILDREN_CHANGED,
                EventType.DELETED,
            ],
        )
        self.assertEqual({event.path for event in events}, {"/a"})
        await handle.cancel()
        await handle.cancel()
        self.assertFalse(await client.check_watches("/a"))
        await other.create("/a")
        await client.sync()
        self.assertEqual(len(events), 5)

    async def test_a_recursive_watch_receives_events_of_all_nodes_below(self) -> None:
        """It fires for all nodes below, and survives a one-shot watch on the same node."""
        client, other = self.client, await self.connect()
        events: list[WatchEvent] = []
        handle = await client.add_watch("/", events.append, recursive=True)
        await other.create("/a")
        await other.create("/a/b")
        value, watch = client.get_and_watch("/")
        await value
        await other.set("/", b"1")
        await watch
        await other.set("/a/b", b"1")
        await other.delete("/a/b")
        await client.sync()
        self.assertEqual(
            [(event.type, event.path) for event in events],
            [
                (EventType.CREATED, "/a"),
                (EventType.CREATED, "/a/b"),
                (EventType.DATA_CHANGED, "/"),
                (EventType.DATA_CHANGED, "/a/b"),
                (EventType.DELETED, "/a/b"),
            ],
        )
        await handle.cancel()
        self.assertFalse(await client.check_watches("/"))

    async def test_watches_of_several_modes(self) -> None:
        """Every watch of a random program receives its events, in order, and no others."""
        for program in random_programs(effort(40, 4)):
            driver = Driver(self.client)
            for batch in program:
                if batch[0].name == "cut":
                    await self.reconnect(self.client)
                await gatherResults([one for op in batch for one in driver.do(op)])
                self.assertEqual(driver.wrong_watches(), [], program)
            await gatherResults(driver.end())
            self.assertEqual(self.client.statistics().watches, 0)

    async def reconnect(self, client: ZooKeeperClient) -> None:
        """Break a client's connection and wait until it has another one."""
        connected: Deferred[None] = Deferred()
        subscription = client.subscribe(
            lambda state: connected.callback(None) if state is State.CONNECTED else None
        )
        self.break_connection(client)
        await connected
        subscription.cancel()

    async def test_removed_watchers_are_notified(self) -> None:
        """All removed watchers get an event; the persistent watch of another type stays."""
        client, other = self.client, await self.connect()
        await client.create("/a")
        events: list[WatchEvent] = []
        await client.add_watch("/a", events.append)
        value, watch = client.get_and_watch("/a")
        await value
        await client.remove_watches("/a", WatcherType.DATA)
        self.assertEqual((await watch).type, EventType.DATA_WATCH_REMOVED)
        await client.sync()
        await other.set("/a", b"1")
        await client.sync()
        self.assertEqual([event.type for event in events], [EventType.DATA_CHANGED])
        await client.remove_watches("/a")
        self.assertEqual(events[-1].type, EventType.PERSISTENT_WATCH_REMOVED)
        await self.assertFailure(client.remove_watches("/a"), NoWatcherError)

    async def test_a_cancelled_watch_is_removed_from_the_server(self) -> None:
        """A watch that is cancelled is removed from the server."""
        client = self.client
        await client.create("/a")
        value, watch = client.get_and_watch("/a")
        await value
        self.assertTrue(await client.check_watches("/a", WatcherType.DATA))
        watch.addErrback(lambda failure: None)
        watch.cancel()
        self.assertFalse(await client.check_watches("/a", WatcherType.DATA))

    # -- sessions

    async def test_a_session_survives_a_lost_connection(self) -> None:
        """Session, ephemerals, identities and watches outlive a connection."""
        client, other = self.client, await self.connect()
        await client.add_auth("digest", "u:p")
        await client.create("/e", b"", CREATOR_ALL_ACL, ephemeral=True)
        events: list[WatchEvent] = []
        await client.add_watch("/p", events.append)
        value, watch = client.exists_and_watch("/new")
        await value
        before = client.client_id
        states: list[State] = []
        client.subscribe(states.append)
        self.break_connection(client)
        await other.create("/new")
        self.assertEqual((await watch).type, EventType.CREATED)
        self.assertEqual(client.client_id, before)
        self.assertEqual(states, [State.SUSPENDED, State.CONNECTED])
        await client.get("/e")
        await other.create("/p")
        await client.sync()
        self.assertEqual([event.type for event in events], [EventType.CREATED])

    async def test_a_retried_read_has_its_watch(self) -> None:
        """A read with a watch whose connection breaks is repeated, and its watch fires."""
        client, other = self.client, await self.connect()
        retrying = Retrying(client)
        asks: list[Callable[[str], tuple[Deferred[Any], Deferred[WatchEvent]]]] = [
            retrying.exists_and_watch,
            retrying.get_and_watch,
            retrying.get_children_and_watch,
        ]
        for number, ask in enumerate(asks):
            path, connections = f"/w{number}", client.statistics().connections
            await other.create(path, b"1")
            requests = client.statistics().requests
            value, watch = ask(path)
            while client.statistics().requests == requests:
                await sleep(0)
            self.break_connection(client)
            await value
            self.assertGreater(client.statistics().connections, connections)
            self.assertFalse(watch.called)
            await other.delete(path)
            self.assertEqual((await watch).type, EventType.DELETED)
        self.assertEqual(client.statistics().expiries, 0)

    async def test_retried_writes_are_applied_once_or_fail_in_doubt(self) -> None:
        """Writes whose connection breaks are carried out once, or fail in doubt."""
        client, retrying = self.client, Retrying(self.client)
        await client.create("/a")
        versions: list[int] = []
        for number in range(4):
            requests = client.statistics().requests
            written = retrying.set("/a", b"%d" % number, number)
            while client.statistics().requests == requests:
                await sleep(0)
            self.break_connection(client)
            versions.append((await written).version)
        self.assertEqual(versions, [1, 2, 3, 4])
        deleted = retrying.delete("/a", 4)
        await sleep(0)
        self.break_connection(client)
        await deleted
        self.assertIsNone(await client.exists("/a"))

    async def test_a_watch_that_waited_for_a_connection(self) -> None:
        """A one-shot watch that waited for the reconnect leaves the persistent one alone."""
        client, other = self.client, await self.connect()
        await client.create("/p")
        events: list[WatchEvent] = []
        await client.add_watch("/p", events.append)
        suspended: Deferred[None] = Deferred()
        client.subscribe(
            lambda state: suspended.callback(None) if state is State.SUSPENDED else None
        )
        self.break_connection(client)
        await suspended
        value, watch = client.get_and_watch("/p")
        await value
        for number in b"123":
            await other.set("/p", bytes([number]))
            await client.sync()
        self.assertEqual([event.type for event in events], [EventType.DATA_CHANGED] * 3)
        self.assertEqual((await watch).type, EventType.DATA_CHANGED)

    async def test_a_new_session_follows_an_expired_one(self) -> None:
        """After an expiry there is a new session, and what was the old one's is gone."""
        client = await self.connect()
        await client.create("/e", ephemeral=True)
        value, watch = client.get_and_watch("/e")
        await value
        events: list[WatchEvent] = []
        await client.add_watch("/p", events.append)
        before = client.client_id
        await self.expire(client)
        await self.assertFailure(watch, SessionExpiredError)
        self.assertIsNone(await client.exists("/e"))
        self.assertNotEqual(client.client_id, before)
        self.assertEqual(events, [(EventType.NONE, KeeperState.EXPIRED, "/p")])

    async def test_a_session_is_resumed_with_its_id_and_password(self) -> None:
        """Another client can continue a session with its id and password."""
        client = await self.connect()
        await client.create("/e", ephemeral=True)
        heir = await self.connect(client_id=client.client_id)
        self.assertEqual(heir.client_id, client.client_id)
        self.assertEqual(await heir.get_ephemerals(), ["/e"])

    def break_connection(self, client: ZooKeeperClient) -> None:
        """Break the connection like a network fault."""
        connection = client._manager._connection
        assert connection is not None
        connection.abort()

    async def expire(self, client: ZooKeeperClient) -> None:
        """Expire the session: another client resumes and closes it."""
        thief = ZooKeeperClient(self.hosts(), 10.0, client_id=client.client_id)
        await thief.connect(60)
        await thief.close()
        while client.statistics().expiries == 0:
            await sleep(0.01)
        await client.exists("/")
