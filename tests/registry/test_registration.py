"""Tests for `zkservice.registry.registration`, on the embedded server."""

from __future__ import annotations

import json
import os
from typing import Any

from twisted.internet import reactor  # noqa: TID251 - loopback connections
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from zkservice.client import ZooKeeperClient
from zkservice.errors import (
    AddressError,
    ClientClosedError,
    FormatError,
    InvalidPathError,
    NoAuthError,
    NodeExistsError,
    UnregisteredError,
)
from zkservice.formats import FORMATS, read_member
from zkservice.registry import (
    Change,
    RegisteringServer,
    Registration,
    RegistrationState,
    register,
)
from zkservice.testing import EmbeddedZooKeeper
from zkservice.wire.acl import ACL, ANYONE, OPEN_ACL_UNSAFE, Permission

PARENT = "/svc/providers"
ADDRESS = "h:1"
NODE = f"{PARENT}/{ADDRESS}"


class RegistrationTests(TestCase):
    """A registration is what is wanted, whatever happens."""

    timeout = 8

    async def setUp(self) -> None:  # type: ignore[override]
        """A server, the client that registers and one that looks on."""
        self.server = EmbeddedZooKeeper(tick_time=0.2)
        await self.server.start()
        self.addCleanup(self.server.stop)
        self.client = await self.connect()
        self.other = await self.connect()

    async def connect(self) -> ZooKeeperClient:
        """A connected client that is closed after the test."""
        client = ZooKeeperClient(self.server.connection_string, 2.0)
        self.addCleanup(client.close)
        return await client.connect(5.0)

    def register(self, *addresses: str, **options: Any) -> Registration:
        """A registration that draws no dice."""
        registration = register(
            options.pop("client", self.client),
            PARENT,
            list(addresses) or ADDRESS,
            options.pop("properties", {"color": "blue"}),
            random=lambda: 0.5,
            **options,
        )
        return registration

    async def wait(self, seconds: float) -> None:
        """Let the reactor run."""
        await deferLater(reactor, seconds, lambda: None)

    async def until(self, condition: Any, seconds: float = 5.0) -> None:
        """Wait for something to become true."""
        for _ in range(round(seconds / 0.01)):
            if condition():
                return
            await self.wait(0.01)
        self.fail("it did not happen")

    def owner(self, path: str = NODE) -> int:
        """The session that owns a znode; 0 if it is not there."""
        node = self.server.server.state.tree.nodes.get(path)
        return 0 if node is None else node.owner

    def session(self, client: ZooKeeperClient | None = None) -> int:
        """A client's session id; 0 while it has none."""
        identity = (client or self.client).client_id
        return 0 if identity is None else identity[0]

    async def test_registered(self) -> None:
        """The node, its parents, its data, its ACL and its owner."""
        registration = await self.register().when_registered()
        self.assertEqual(
            (registration.path, registration.state), (NODE, RegistrationState.REGISTERED)
        )
        data, stat = await self.other.get(NODE)
        assert data is not None
        self.assertEqual(json.loads(data), {"pid": os.getpid(), "color": "blue"})
        self.assertEqual(stat.ephemeral_owner, self.session())
        acl, _ = await self.other.get_acl(NODE)
        self.assertEqual(acl, [ACL(int(Permission.READ), ANYONE)])

    async def test_looks_again_after_a_sync(self) -> None:
        """After a broken connection no stale znode is judged, or deleted as another's."""
        registration = await self.register().when_registered()
        asked: list[str] = []
        sync = self.client.sync

        def record(path: str = "/") -> Deferred[str]:
            asked.append(path)
            return sync(path)

        self.patch(self.client, "sync", record)
        registration.suspend("pause")
        self.server.drop(self.session())
        await self.until(lambda: registration.state is RegistrationState.OUT)
        self.assertEqual(asked, [PARENT])
        self.assertEqual(self.owner(), 0)
        registration.resume()
        await registration.when_registered()
        self.assertEqual(asked, [PARENT])

    async def test_shown(self) -> None:
        """A registration that is printed says what it is and how it stands."""
        registration = await self.register().when_registered()
        self.assertEqual(repr(registration), f"<Registration REGISTERED {NODE}>")
        await registration.unregister()
        self.assertEqual(repr(registration), f"<Registration WITHDRAWN {NODE}>")

    async def test_before_there_is_a_connection(self) -> None:
        """A registration may be made before the client has connected."""
        client = ZooKeeperClient(self.server.connection_string, 2.0)
        self.addCleanup(client.close)
        client.connect()
        await self.register(client=client).when_registered()
        self.assertEqual(self.owner(), self.session(client))

    async def test_caller_s_pid_is_respected(self) -> None:
        """A caller that has a pid of its own keeps it."""
        registration = await self.register(properties={"pid": 7}).when_registered()
        self.assertEqual(registration.properties["pid"], 7)

    async def test_subscribers_add_properties(self) -> None:
        """Whoever hears of the registration may add to it."""

        def notify(event: object) -> None:
            assert isinstance(event, RegisteringServer)
            event.properties["zone"] = f"{event.name} {event.path}"

        await self.register(notify=notify).when_registered()
        data, _ = await self.other.get(NODE)
        self.assertEqual(json.loads(data or b"")["zone"], f"h:1 {PARENT}")

    async def test_expiry(self) -> None:
        """After an expiry it is made again under the new session, with the latest properties."""
        registration = await self.register().when_registered()
        await registration.update(color="red")
        first = self.session()
        self.server.expire(first)
        await self.until(lambda: self.owner() not in (0, first))
        self.assertEqual(self.owner(), self.session())
        data, _ = await self.other.get(NODE)
        self.assertEqual(json.loads(data or b"")["color"], "red")

    async def test_update_by_replacing(self) -> None:
        """Where the ACL lets nobody write, an update is a new node in one transaction."""
        registration = await self.register().when_registered()
        _, watch = self.other.exists_and_watch(NODE)
        await registration.update(color="green")
        await watch
        data, after = await self.other.get(NODE)
        self.assertEqual(json.loads(data or b"")["color"], "green")
        self.assertEqual(after.ephemeral_owner, self.session())

    async def test_update_in_place(self) -> None:
        """Where the ACL allows it, an update is one write to the same node."""
        registration = await self.register(acl=OPEN_ACL_UNSAFE).when_registered()
        before = await self.other.exists(NODE)
        await registration.update(color="green", weight=3)
        data, after = await self.other.get(NODE)
        assert before is not None
        self.assertEqual((after.czxid, after.version), (before.czxid, 1))
        self.assertEqual(json.loads(data or b"")["weight"], 3)

    async def test_stale_node_is_replaced_at_once(self) -> None:
        """The node of a process that is gone is replaced in one transaction, and stays."""
        await self.other.ensure_path(PARENT)
        await self.other.create(NODE, b"stale", ephemeral=True)
        stale = self.session(self.other)
        gone, watch = (await self.connect()).exists_and_watch(NODE)
        await gone
        await self.register().when_registered()
        self.assertEqual(self.owner(), self.session())
        await watch
        self.server.expire(stale)
        await self.wait(0.2)
        self.assertEqual(self.owner(), self.session())

    async def test_who_comes_back_does_not_fight(self) -> None:
        """An address taken over during an expiry is reported, and taken when it is free."""
        registration = await self.register().when_registered()
        self.server.refuse = True
        self.server.expire(self.session())
        await self.until(lambda: not self.owner())
        await self.other.create(NODE, b"theirs", ephemeral=True)
        self.server.refuse = False
        await self.until(lambda: registration.state is RegistrationState.CONTESTED)
        self.assertIn("owned by session", registration.reason)
        await self.wait(0.3)
        self.assertEqual(self.owner(), self.session(self.other))
        await self.other.delete(NODE)
        await registration.when_registered()
        self.assertEqual(self.owner(), self.session())

    async def test_two_new_processes(self) -> None:
        """Of two processes that claim one address the later one has it; there is no fight."""
        first = await self.register().when_registered()
        second = await self.register(client=self.other).when_registered()
        await self.until(lambda: first.state is RegistrationState.CONTESTED)
        zxid = self.server.server.state.tree.nodes[NODE].czxid
        await self.wait(0.5)
        self.assertEqual(self.server.server.state.tree.nodes[NODE].czxid, zxid)
        await second.unregister()
        await first.when_registered()
        self.assertEqual(self.owner(), self.session())

    async def test_persistent_node_in_the_way(self) -> None:
        """A node that nobody's session owns is somebody's data: reported, never deleted."""
        await self.other.ensure_path(NODE)
        registration = self.register()
        await self.until(lambda: registration.state is RegistrationState.CONTESTED)
        self.assertIn("not ephemeral", registration.reason)
        await self.other.delete(NODE)
        await registration.when_registered()

    async def test_deleted_under_us(self) -> None:
        """A node that an operator deletes comes back, its parents too."""
        await self.register().when_registered()
        for path in (NODE, PARENT, "/svc"):
            await self.other.delete(path)
        await self.until(lambda: self.owner() == self.session())

    async def test_deleted_again_and_again(self) -> None:
        """A fight with a deleter slows down: each time the wait is longer."""
        await self.register().when_registered()
        deletions = 0

        def keep_deleting() -> bool:
            nonlocal deletions
            if self.owner():
                deletions += 1
                self.other.delete(NODE).addErrback(lambda _: None)
            return False

        with self.assertRaises(self.failureException):
            await self.until(keep_deleting, 1.5)
        self.assertLess(deletions, 12)
        self.assertGreater(deletions, 2)

    async def test_expired_again_and_again(self) -> None:
        """An expiry is no deleter: after the sixth in a row it is back as soon as ever."""
        await self.register().when_registered()
        for _ in range(6):
            before = self.session()
            self.server.expire(before)
            await self.until(lambda before=before: self.owner() not in (0, before), 1.0)

    async def test_out_and_in_again_and_again(self) -> None:
        """Nor is what we delete ourselves: put back six times, it is there as soon as ever."""
        registration = await self.register().when_registered()
        for _ in range(6):
            registration.suspend("lunch")
            await self.until(lambda: not self.owner())
            registration.resume()
            await self.until(self.owner, 1.0)

    async def test_withdrawn_is_the_end(self) -> None:
        """What the server says about a transaction after the withdrawal changes nothing."""
        registration = self.register()
        states: list[RegistrationState] = []

        def leave() -> None:
            self.assertTrue(registration.possibly_visible)  # the transaction is on its way
            registration.unregister()
            self.client.close()

        def changed(change: Change) -> None:
            states.append(change.state)
            if change.state is RegistrationState.WORKING:
                reactor.callLater(0, leave)

        registration.subscribe(changed)
        await self.until(lambda: registration.state is RegistrationState.WITHDRAWN)
        await self.wait(0.2)
        self.assertEqual(states, [RegistrationState.WORKING, RegistrationState.WITHDRAWN])
        self.assertEqual(self.owner(), 0)

    async def test_may_be_seen(self) -> None:
        """Whether anybody may have seen the znodes: from their creation to their removal."""
        registration = self.register()
        self.assertFalse(registration.possibly_visible)
        await registration.when_registered()
        self.assertTrue(registration.possibly_visible)
        registration.suspend("lunch")
        await self.until(lambda: registration.state is RegistrationState.OUT)
        self.assertFalse(registration.possibly_visible)
        registration.resume()
        await registration.when_registered()
        self.server.refuse = True
        self.server.expire(self.session())
        await self.until(lambda: registration.state is RegistrationState.WAITING)
        self.assertFalse(registration.possibly_visible)

    async def test_unregistered_stays_away(self) -> None:
        """What was unregistered never comes back, neither at once nor after an expiry."""
        registration = await self.register().when_registered()
        self.assertTrue(await registration.unregister())
        self.assertEqual(self.owner(), 0)
        self.assertIs(registration.state, RegistrationState.WITHDRAWN)
        first = self.session()
        self.server.expire(first)
        await self.until(lambda: self.session() not in (0, first))
        await self.wait(0.2)
        self.assertEqual(self.owner(), 0)
        self.assertTrue(await registration.unregister())
        with self.assertRaises(UnregisteredError):
            await registration.when_registered()

    async def test_unregistered_before_it_was_registered(self) -> None:
        """Nothing is created any more, and who waited is told."""
        registration = self.register()
        waiting = registration.when_registered()
        left = registration.unregister()
        with self.assertRaises(UnregisteredError):
            await waiting
        await left
        await self.wait(0.2)
        self.assertEqual(self.owner(), 0)

    async def test_out_and_in(self) -> None:
        """Taken out it is gone, across an expiry too; put back it is there."""
        registration = await self.register().when_registered()
        registration.suspend("lunch")
        await self.until(lambda: registration.state is RegistrationState.OUT)
        self.assertEqual((self.owner(), registration.reason), (0, "lunch"))
        first = self.session()
        self.server.expire(first)
        await self.until(lambda: self.session() not in (0, first))
        await self.wait(0.1)
        self.assertEqual(self.owner(), 0)
        registration.resume()
        await registration.when_registered()
        self.assertEqual(self.owner(), self.session())

    async def test_several_addresses(self) -> None:
        """Several addresses are one transaction: with a conflict none is there."""
        await self.other.ensure_path(f"{PARENT}/b:2")
        registration = self.register("a:1", "b:2")
        await self.until(lambda: registration.state is RegistrationState.CONTESTED)
        self.assertEqual(self.owner(f"{PARENT}/a:1"), 0)
        await self.other.delete(f"{PARENT}/b:2")
        await registration.when_registered()
        one, two = (self.server.server.state.tree.nodes[f"{PARENT}/{a}"] for a in ("a:1", "b:2"))
        self.assertEqual(one.czxid, two.czxid)

    async def test_one_of_several_is_lost(self) -> None:
        """Once they were held, an address that another process took keeps none of the rest."""
        registration = await self.register("a:1", "b:2").when_registered()
        self.server.refuse = True
        self.server.expire(self.session())
        await self.until(lambda: not self.owner(f"{PARENT}/a:1"))
        await self.other.create(f"{PARENT}/a:1", b"theirs", ephemeral=True)
        self.server.refuse = False
        await self.until(lambda: registration.state is RegistrationState.CONTESTED)
        self.assertIn("a:1", registration.reason)
        self.assertEqual(self.owner(f"{PARENT}/b:2"), self.session())

    async def test_expiry_soon_after_a_conflict(self) -> None:
        """A long timer that is left over does not hold up a new session."""
        await self.other.ensure_path(NODE)
        registration = self.register()
        await self.until(lambda: registration.state is RegistrationState.CONTESTED)
        await self.other.delete(NODE)
        await registration.when_registered()
        first = self.session()
        self.server.expire(first)
        await self.until(lambda: self.owner() not in (0, first), 1.0)

    async def test_an_address_that_is_not_certainly_ours(self) -> None:
        """What another process holds there is not replaced, but waited for."""
        await self.other.ensure_path(PARENT)
        await self.other.create(NODE, b"theirs", ephemeral=True)
        registration = self.register(replace=False)
        await self.until(lambda: registration.state is RegistrationState.CONTESTED)
        self.assertEqual(self.owner(), self.session(self.other))
        await self.other.delete(NODE)
        await registration.when_registered()

    async def test_update_that_is_no_json(self) -> None:
        """A value that cannot be stored fails its update, and leaves the rest as it was."""
        registration = await self.register().when_registered()
        with self.assertRaises(ValueError):
            await registration.update(weight=float("nan"))
        await registration.update(color="green")
        data, _ = await self.other.get(NODE)
        self.assertEqual(json.loads(data or b""), {"pid": os.getpid(), "color": "green"})

    async def test_client_closed(self) -> None:
        """Who waits when the client is closed is told."""
        await self.other.ensure_path(NODE)
        waiting = self.register().when_registered()
        await self.client.close()
        with self.assertRaises(ClientClosedError):
            await waiting

    async def test_refused(self) -> None:
        """A parent that may not be given children: said to who waits, and tried again."""
        await self.other.ensure_path(PARENT)
        await self.other.set_acl(PARENT, [ACL(int(Permission.READ | Permission.ADMIN), ANYONE)])
        registration = self.register()
        with self.assertRaises(NoAuthError):
            await registration.when_registered()
        self.assertIs(registration.state, RegistrationState.FAILING)
        await self.other.set_acl(PARENT, [ACL(int(Permission.ALL), ANYONE)])
        await registration.when_registered()

    async def test_connection_lost_at_every_step(self) -> None:
        """Wherever the connection breaks, it ends registered, and then ends gone."""
        for requests in range(1, 9):
            address = f"cut:{requests}"
            node = f"{PARENT}{requests}/{address}"
            registration = register(self.client, f"{PARENT}{requests}", address)
            self.cut_after(requests)
            await self.until(lambda node=node: self.owner(node) == self.session())
            await registration.when_registered()
            left = registration.unregister()
            self.cut_after(requests % 3)
            self.assertTrue(await left)
            self.assertEqual(self.owner(node), 0)

    def cut_after(self, requests: int) -> None:
        """Break our connection when the server has read so many more requests."""
        keeper = self.server.server
        seen = 0
        received = keeper.received

        def count(connection: Any, frames: Any) -> bool:
            nonlocal seen
            answer = received(connection, frames)
            if connection.session is not None and connection.session.id == self.session():
                seen += 1
                if seen > requests:
                    keeper.received = received  # type: ignore[method-assign]
                    keeper.drop(self.session())
            return answer

        keeper.received = count  # type: ignore[method-assign]

    async def test_formats(self) -> None:
        """Each format has its own znode, which is found, replaced and updated by its name."""
        for name in FORMATS:
            registration = await self.register(format=name, tls=[ADDRESS]).when_registered()
            await registration.update(color="green")
            data, _ = await self.other.get(registration.path)
            member = read_member(registration.path.rpartition("/")[2], data)
            self.assertEqual((member.format, member.address), (name, ADDRESS))
            again = await self.register(format=name, client=self.other).when_registered()
            self.assertEqual(again.path, registration.path)
            await self.until(lambda one=registration: one.state is RegistrationState.CONTESTED)
            await again.unregister()
            await registration.unregister()
            self.assertEqual(await self.other.get_children(PARENT), [])

    async def test_registered_twice_on_one_client(self) -> None:
        """The second registration of an address is refused at once, until the first is gone."""
        first = self.register("h:1", "i:2")
        for addresses in (["h:1"], ["x:1", "i:2"]):
            with self.assertRaises(NodeExistsError) as caught:
                self.register(*addresses, properties={"color": "red"})
            self.assertIn("registered here already", str(caught.exception))
        await self.register("x:1").when_registered()
        await first.unregister()
        again = await self.register(properties={"color": "red"}).when_registered()
        data, _ = await self.other.get(again.path)
        self.assertIn(b"red", data or b"")

    async def test_registered_twice_through_a_link(self) -> None:
        """An address that a link leads to twice is refused, and taken when the first is gone."""
        await self.other.create("/alias", json.dumps({"x ->": PARENT}).encode())
        first = await self.register().when_registered()
        second = register(self.client, "/alias/x", ADDRESS, random=lambda: 0.0)
        with self.assertRaises(NodeExistsError):
            await second.when_registered()
        self.assertIs(first.state, RegistrationState.REGISTERED)
        await first.unregister()
        await second.when_registered()
        self.assertEqual(self.owner(), self.session())

    def test_unknown_format(self) -> None:
        """A format that there is none of is refused with those that there are."""
        with self.assertRaises(FormatError) as caught:
            self.register(format="finagle")
        self.assertIn("serverset", str(caught.exception))

    def test_address_listed_twice(self) -> None:
        """An address that one registration names twice is refused, however it is written."""
        for twice in (["h:1", "h:1"], ["h:1", "h:01"], ["[::1]:2", "h:1", "[::1]:2"]):
            with self.assertRaises(AddressError) as caught:
                self.register(*twice)
            self.assertIn("listed twice", str(caught.exception))

    def test_bad_arguments(self) -> None:
        """What cannot be registered is refused before anything happens."""
        with self.assertRaises(InvalidPathError):
            register(self.client, "svc", ADDRESS)
        for nonsense in (
            "nowhere",
            b"h:1",
            ("h", 65536),
            ("h", -1),
            ("h", True),
            (b"h", 1),
            5,
            None,
        ):
            with self.assertRaises(AddressError) as caught:
                register(self.client, PARENT, nonsense)  # type: ignore[arg-type]
            self.assertIn(repr(nonsense), str(caught.exception))

    async def test_ways_to_write_an_address(self) -> None:
        """A pair may have its port as text, and be a list; no host is a blank one."""
        pairs: list[Any] = [("h", 1), ("h", "1"), ["h", 1]]
        for pair in pairs:
            registration = await register(self.client, PARENT, pair).when_registered()
            self.assertEqual(registration.addresses, ("h:1",))
            await registration.unregister()
        everywhere = register(self.client, PARENT, (None, 1))
        self.assertEqual(everywhere.addresses, register(self.other, PARENT, ":1").addresses)

    async def test_a_failing_listener_does_no_harm(self) -> None:
        """A listener's exception is logged, and the registration goes on."""
        registration = self.register()

        def fail(change: Change) -> None:
            raise ZeroDivisionError

        subscription = registration.subscribe(fail)
        await registration.when_registered()
        subscription.cancel()
        self.assertGreaterEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_many(self) -> None:
        """200 registrations of one process come back together."""
        registrations = [self.register(f"h:{n}") for n in range(200)]
        for one in registrations:
            await one.when_registered()
        first = self.session()
        self.server.expire(first)
        await self.until(
            lambda: all(self.owner(one.path) not in (0, first) for one in registrations)
        )

    async def test_cancelling_a_wait(self) -> None:
        """Who no longer waits is forgotten; the registration goes on."""
        registration = self.register()
        waiting: Deferred[Registration] = registration.when_registered()
        waiting.addErrback(lambda _: None)
        waiting.cancel()
        await registration.when_registered()
