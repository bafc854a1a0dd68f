"""Tests for `zkservice.registry.registration`, on a network without sockets."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.python.failure import Failure
from typing_extensions import override

from tests.client.base import ClientTestCase, ignore_close
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
from zkservice.formats import FORMATS, Unavailable, read_member
from zkservice.registry import (
    Change,
    RegisteringServer,
    Registration,
    RegistrationState,
    register,
)
from zkservice.wire.acl import ACL, ANYONE, OPEN_ACL_UNSAFE, Permission
from zkservice.wire.records import Stat

T = TypeVar("T")

PARENT = "/svc/providers"
ADDRESS = "h:1"
NODE = f"{PARENT}/{ADDRESS}"


class RegistrationTests(ClientTestCase):
    """Registrations with faults."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.other = self.connected()
        self.ours = self.connected()  # the newest cable is its

    def register(self, *addresses: str, **options: Any) -> Registration:
        """A registration without jitter."""
        return register(
            options.pop("client", self.ours),
            options.pop("path", PARENT),
            options.pop("address", list(addresses) or ADDRESS),
            options.pop("properties", {"color": "blue"}),
            clock=self.network,
            random=lambda: 0.5,
            **options,
        )

    def registered(self, *addresses: str, **options: Any) -> Registration:
        """A registration that is registered."""
        return self.fired(self.register(*addresses, **options).when_registered())

    def fired(self, deferred: Deferred[T]) -> T:
        """The result of a Deferred within ten seconds; raises its error."""
        outcome: list[T | Failure] = []
        deferred.addBoth(outcome.append)
        self.until(lambda: outcome)
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        return outcome[0]

    def until(self, condition: Callable[[], object], seconds: float = 10.0) -> None:
        """Advance the clock until a condition is true."""
        self.network.settle()
        end = self.network.seconds() + seconds
        while not condition():
            self.assertLess(self.network.seconds(), end, "it did not happen")
            self.network.advance(0.01)

    def until_it_is(self, registration: Registration, state: RegistrationState) -> None:
        """Wait for a state."""
        self.until(lambda: registration.state is state)

    def until_replaced(self, session: int, seconds: float = 10.0) -> None:
        """Wait until the znode exists, and another session than this one owns it."""
        self.until(lambda: self.owner() not in (0, session), seconds)

    def stat(self, path: str = NODE) -> Stat:
        """The Stat of an existing znode."""
        stat = self.result(self.other.exists(path))
        assert stat is not None, path
        return stat

    def owner(self, path: str = NODE) -> int:
        """The session that owns a znode; 0 if it does not exist."""
        stat = self.result(self.other.exists(path))
        return 0 if stat is None else stat.ephemeral_owner

    def session(self, client: ZooKeeperClient | None = None) -> int:
        """A client's session id; 0 while it has none."""
        identity = (client or self.ours).client_id
        return 0 if identity is None else identity[0]

    def test_the_node_has_its_data_acl_and_owner(self) -> None:
        """The znode has its parents, data, ACL and owner."""
        registration = self.registered()
        self.assertEqual(
            (registration.path, registration.state), (NODE, RegistrationState.REGISTERED)
        )
        data, stat = self.fired(self.other.get(NODE))
        assert data is not None
        self.assertEqual(json.loads(data), {"pid": os.getpid(), "color": "blue"})
        self.assertEqual(stat.ephemeral_owner, self.session())
        acl, _ = self.fired(self.other.get_acl(NODE))
        self.assertEqual(acl, [ACL(int(Permission.READ), ANYONE)])

    def test_after_a_lost_connection_it_syncs_before_it_looks(self) -> None:
        """After a lost connection, no decision is based on data of a server that is behind."""
        registration = self.registered()
        synced: list[str] = []
        sync = self.ours.sync

        def record(path: str = "/") -> Deferred[str]:
            synced.append(path)
            return sync(path)

        self.patch(self.ours, "sync", record)
        registration.suspend("pause")
        self.server.drop(self.session())
        self.until_it_is(registration, RegistrationState.OUT)
        self.assertEqual(synced, [PARENT])
        self.assertEqual(self.owner(), 0)
        registration.resume()
        self.fired(registration.when_registered())
        self.assertEqual(synced, [PARENT])

    def test_repr_names_the_state_and_the_znodes(self) -> None:
        """The repr has the state and the paths."""
        registration = self.registered()
        self.assertEqual(repr(registration), f"<Registration REGISTERED {NODE}>")
        self.fired(registration.unregister())
        self.assertEqual(repr(registration), f"<Registration WITHDRAWN {NODE}>")

    def test_it_may_be_made_before_the_client_connects(self) -> None:
        """A registration may be made before the client has connected."""
        client = self.client()
        registration = self.register(client=client)
        ignore_close(client.connect())
        self.fired(registration.when_registered())
        self.assertEqual(self.owner(), self.session(client))

    def test_a_pid_that_the_caller_gives_is_kept(self) -> None:
        """A ``pid`` among the properties is kept."""
        registration = self.registered(properties={"pid": 7})
        self.assertEqual(registration.properties["pid"], 7)

    def test_subscribers_add_properties(self) -> None:
        """A subscriber of the event may add to what will be stored."""

        def notify(event: object) -> None:
            assert isinstance(event, RegisteringServer)
            event.properties["zone"] = f"{event.name} {event.path}"

        self.registered(notify=notify)
        data, _ = self.fired(self.other.get(NODE))
        self.assertEqual(json.loads(data or b"")["zone"], f"h:1 {PARENT}")

    def test_an_expired_registration_is_made_again_with_the_latest_properties(self) -> None:
        """After an expiry it is created in the new session, with the latest properties."""
        registration = self.registered()
        self.fired(registration.update(color="red"))
        first = self.session()
        self.server.expire(first)
        self.until_replaced(first)
        self.assertEqual(self.owner(), self.session())
        data, _ = self.fired(self.other.get(NODE))
        self.assertEqual(json.loads(data or b"")["color"], "red")

    def test_without_write_permission_an_update_replaces_the_node(self) -> None:
        """The old node is deleted and the new one created in one transaction."""
        registration = self.registered()
        _, watch = self.other.exists_and_watch(NODE)
        self.fired(registration.update(color="green"))
        self.fired(watch)
        data, after = self.fired(self.other.get(NODE))
        self.assertEqual(json.loads(data or b"")["color"], "green")
        self.assertEqual(after.ephemeral_owner, self.session())

    def test_with_write_permission_an_update_writes_the_same_node(self) -> None:
        """If the ACL allows it, an update is one write to the same node."""
        registration = self.registered(acl=OPEN_ACL_UNSAFE)
        before = self.fired(self.other.exists(NODE))
        self.fired(registration.update(color="green", weight=3))
        data, after = self.fired(self.other.get(NODE))
        assert before is not None
        self.assertEqual((after.czxid, after.version), (before.czxid, 1))
        self.assertEqual(json.loads(data or b"")["weight"], 3)

    def test_a_stale_node_is_replaced_at_once(self) -> None:
        """The znode of an ended process is replaced in one transaction."""
        self.fired(self.other.ensure_path(PARENT))
        self.fired(self.other.create(NODE, b"stale", ephemeral=True))
        stale = self.session(self.other)
        gone, watch = (self.connected()).exists_and_watch(NODE)
        self.fired(gone)
        self.registered()
        self.assertEqual(self.owner(), self.session())
        self.fired(watch)
        self.server.expire(stale)
        self.network.advance(0.2)
        self.assertEqual(self.owner(), self.session())

    def test_an_address_taken_over_during_an_expiry_is_waited_for(self) -> None:
        """An address that another process took during an expiry is CONTESTED until it is free."""
        registration = self.registered()
        self.server.refuse = True
        self.server.expire(self.session())
        self.until(lambda: not self.owner())
        self.fired(self.other.create(NODE, b"theirs", ephemeral=True))
        self.server.refuse = False
        self.until_it_is(registration, RegistrationState.CONTESTED)
        self.assertIn("owned by session", registration.reason)
        self.network.advance(0.3)
        self.assertEqual(self.owner(), self.session(self.other))
        self.fired(self.other.delete(NODE))
        self.fired(registration.when_registered())
        self.assertEqual(self.owner(), self.session())

    def test_the_later_of_two_new_processes_has_the_address(self) -> None:
        """Of two processes with the same address, the later one keeps it."""
        first = self.registered()
        second = self.registered(client=self.other)
        self.until_it_is(first, RegistrationState.CONTESTED)
        zxid = self.stat().czxid
        self.network.advance(0.5)
        self.assertEqual(self.stat().czxid, zxid)
        self.fired(second.unregister())
        self.fired(first.when_registered())
        self.assertEqual(self.owner(), self.session())

    def test_a_persistent_node_in_the_way_is_never_deleted(self) -> None:
        """A persistent node in its place is left alone, and reported."""
        self.fired(self.other.ensure_path(NODE))
        registration = self.register()
        self.until_it_is(registration, RegistrationState.CONTESTED)
        self.assertIn("not ephemeral", registration.reason)
        self.fired(self.other.delete(NODE))
        self.fired(registration.when_registered())

    def test_a_deleted_node_is_created_again_with_its_parents(self) -> None:
        """A node that another client deletes is logged, and created again with its parents."""
        self.registered()
        with capturedLogs() as logs:
            for path in (NODE, PARENT, "/svc"):
                self.fired(self.other.delete(path))
            self.until(lambda: self.owner() == self.session())
            self.network.advance(0.1)
        self.assertEqual(
            [formatEvent(log) for log in logs if log["log_level"] is LogLevel.warn],
            [f"{NODE} was deleted by another client; it is registered again"],
        )

    def test_nodes_that_go_with_the_session_were_not_deleted_by_another_client(self) -> None:
        """After an expiry, a pause or a move the log blames nobody."""
        registration = self.registered()
        with capturedLogs() as logs:
            before = self.session()
            self.server.expire(before)
            self.until_replaced(before, 1.0)
            registration.suspend("lunch")
            self.until(lambda: not self.owner())
            registration.resume()
            self.until(self.owner, 1.0)
            self.network.advance(0.1)
        self.assertNotIn("another client", str([formatEvent(log) for log in logs]))

    def test_a_node_that_is_deleted_repeatedly_is_created_ever_more_slowly(self) -> None:
        """If another client keeps deleting it, each creation waits longer."""
        self.registered()
        deletions = 0

        def keep_deleting() -> bool:
            nonlocal deletions
            if self.owner():
                deletions += 1
                self.other.delete(NODE).addErrback(lambda _: None)
            return False

        with self.assertRaises(self.failureException):
            self.until(keep_deleting, 1.5)
        self.assertLess(deletions, 12)
        self.assertGreater(deletions, 2)

    def test_repeated_expiries_delay_nothing(self) -> None:
        """Expiries are not throttled: after the sixth it is registered again as fast."""
        self.registered()
        for _ in range(6):
            before = self.session()
            self.server.expire(before)
            self.until_replaced(before, 1.0)

    def test_repeated_suspending_delays_nothing(self) -> None:
        """Own deletions are not throttled: after six resumes it is registered as fast."""
        registration = self.registered()
        for _ in range(6):
            registration.suspend("lunch")
            self.until(lambda: not self.owner())
            registration.resume()
            self.until(self.owner, 1.0)

    def test_no_state_follows_withdrawn(self) -> None:
        """A transaction's reply after the withdrawal changes nothing."""
        registration = self.register()
        states: list[RegistrationState] = []

        def leave() -> None:
            self.assertTrue(registration.possibly_visible)  # the transaction is on its way
            registration.unregister()
            self.ours.close()

        def changed(change: Change) -> None:
            states.append(change.state)
            if change.state is RegistrationState.WORKING:
                self.network.callLater(0, leave)

        registration.subscribe(changed)
        self.until_it_is(registration, RegistrationState.WITHDRAWN)
        self.network.advance(0.2)
        self.assertEqual(states, [RegistrationState.WORKING, RegistrationState.WITHDRAWN])
        self.assertEqual(self.owner(), 0)

    def test_it_is_possibly_visible_from_creation_to_removal(self) -> None:
        """Clients may have read the znodes from their creation until they are deleted."""
        registration = self.register()
        self.assertFalse(registration.possibly_visible)
        self.fired(registration.when_registered())
        self.assertTrue(registration.possibly_visible)
        registration.suspend("lunch")
        self.until_it_is(registration, RegistrationState.OUT)
        self.assertFalse(registration.possibly_visible)
        registration.resume()
        self.fired(registration.when_registered())
        self.server.refuse = True
        self.server.expire(self.session())
        self.until_it_is(registration, RegistrationState.WAITING)
        self.assertFalse(registration.possibly_visible)

    def test_an_unregistered_address_never_comes_back(self) -> None:
        """An unregistered znode is never created again, also not after an expiry."""
        registration = self.registered()
        self.assertTrue(self.fired(registration.unregister()))
        self.assertEqual(self.owner(), 0)
        self.assertIs(registration.state, RegistrationState.WITHDRAWN)
        first = self.session()
        self.server.expire(first)
        self.until(lambda: self.session() not in (0, first))
        self.network.advance(0.2)
        self.assertEqual(self.owner(), 0)
        self.assertTrue(self.fired(registration.unregister()))
        with self.assertRaises(UnregisteredError):
            self.fired(registration.when_registered())

    def test_unregistering_before_it_is_registered_creates_nothing(self) -> None:
        """No znode is created any more, and waiting Deferreds fail."""
        registration = self.register()
        waiting = registration.when_registered()
        left = registration.unregister()
        with self.assertRaises(UnregisteredError):
            self.fired(waiting)
        self.fired(left)
        self.network.advance(0.2)
        self.assertEqual(self.owner(), 0)

    def test_it_is_suspended_across_an_expiry_until_it_is_resumed(self) -> None:
        """While it is suspended no session creates the node."""
        registration = self.registered()
        registration.suspend("lunch")
        self.until_it_is(registration, RegistrationState.OUT)
        self.assertEqual((self.owner(), registration.reason), (0, "lunch"))
        first = self.session()
        self.server.expire(first)
        self.until(lambda: self.session() not in (0, first))
        self.network.advance(0.1)
        self.assertEqual(self.owner(), 0)
        registration.resume()
        self.fired(registration.when_registered())
        self.assertEqual(self.owner(), self.session())

    def member(self, registration: Registration) -> tuple[bool, int]:
        """Whether the registered address may be used, and the session that owns the znode."""
        data, stat = self.fired(self.other.get(registration.path))
        available = read_member(registration.path.rpartition("/")[2], data).available
        return available, stat.ephemeral_owner

    def test_out_of_service_is_stored_if_the_format_can_store_it(self) -> None:
        """Spring's znode stores the state until the address is resumed; it always exists."""
        registration = self.registered(format="spring", acl=OPEN_ACL_UNSAFE)
        created = self.stat(registration.path).czxid
        registration.suspend("lunch", Unavailable.OUT)
        self.until_it_is(registration, RegistrationState.OUT)
        self.assertEqual(
            (*self.member(registration), registration.reason), (False, self.session(), "lunch")
        )
        registration.resume()
        self.fired(registration.when_registered())
        self.assertEqual(self.member(registration), (True, self.session()))
        self.assertEqual(self.stat(registration.path).czxid, created)

    def test_out_of_service_survives_an_expiry(self) -> None:
        """A new session creates a znode with the state, too."""
        registration = self.registered(format="spring")
        registration.suspend("lunch", Unavailable.OUT)
        self.until_it_is(registration, RegistrationState.OUT)
        first = self.session()
        self.server.expire(first)
        self.until(lambda: self.owner(registration.path) not in (0, first))
        self.assertEqual(self.member(registration), (False, self.session()))
        self.until_it_is(registration, RegistrationState.OUT)

    def test_an_address_that_does_not_work_is_deleted_though_it_was_out_of_service(self) -> None:
        """A state that the format cannot store deletes the znode until the address is resumed."""
        registration = self.registered(format="spring")
        registration.suspend("lunch", Unavailable.OUT)
        self.until_it_is(registration, RegistrationState.OUT)
        registration.suspend("lunch; ill")
        self.until(lambda: not self.owner(registration.path))
        registration.suspend("lunch", Unavailable.OUT)
        self.until(lambda: self.owner(registration.path))
        self.assertEqual(self.member(registration), (False, self.session()))

    def test_formats_without_a_state_have_no_znode_while_suspended(self) -> None:
        """A format without states deletes the znode instead."""
        for name in ("properties", "serverset", "curator", "nerve"):
            registration = self.registered(format=name, path=f"/svc/{name}")
            registration.suspend("lunch", Unavailable.OUT)
            self.until_it_is(registration, RegistrationState.OUT)
            self.assertEqual(self.owner(registration.path), 0, name)

    def test_a_stop_is_announced_once_and_for_all(self) -> None:
        """The znode has the state STOPPING until it is unregistered; `resume` has no effect."""
        registration = self.registered(format="serverset")
        path = registration.path
        self.assertTrue(registration.announce_stop())
        self.until_it_is(registration, RegistrationState.OUT)
        registration.resume()
        registration.suspend("lunch")
        self.network.advance(1)
        self.assertEqual(self.member(registration), (False, self.session()))
        data, _ = self.fired(self.other.get(path))
        self.assertIn(b'"status":"STOPPING"', data)
        self.assertTrue(self.fired(registration.unregister()))
        self.assertEqual(self.owner(path), 0)

    def test_a_stop_is_not_announced_where_that_cannot_be_done(self) -> None:
        """`announce_stop` returns False for other formats, and without a registered znode."""
        self.assertFalse(self.registered().announce_stop())
        hidden = self.registered(format="serverset")
        hidden.suspend("ill")
        self.until_it_is(hidden, RegistrationState.OUT)
        self.assertFalse(hidden.announce_stop())
        hidden.resume()
        self.fired(hidden.when_registered())
        self.fired(hidden.unregister())
        self.assertFalse(hidden.announce_stop())

    def test_several_addresses_are_registered_all_or_none(self) -> None:
        """Several addresses are one transaction: with a conflict none is registered."""
        self.fired(self.other.ensure_path(f"{PARENT}/b:2"))
        registration = self.register("a:1", "b:2")
        self.until_it_is(registration, RegistrationState.CONTESTED)
        self.assertEqual(self.owner(f"{PARENT}/a:1"), 0)
        self.fired(self.other.delete(f"{PARENT}/b:2"))
        self.fired(registration.when_registered())
        one, two = (self.stat(f"{PARENT}/{a}") for a in ("a:1", "b:2"))
        self.assertEqual(one.czxid, two.czxid)

    def test_losing_one_of_several_addresses_keeps_the_others(self) -> None:
        """Once all were registered, a conflict about one address does not affect the others."""
        registration = self.registered("a:1", "b:2")
        self.server.refuse = True
        self.server.expire(self.session())
        self.until(lambda: not self.owner(f"{PARENT}/a:1"))
        self.fired(self.other.create(f"{PARENT}/a:1", b"theirs", ephemeral=True))
        self.server.refuse = False
        self.until_it_is(registration, RegistrationState.CONTESTED)
        self.assertIn("a:1", registration.reason)
        self.assertEqual(self.owner(f"{PARENT}/b:2"), self.session())

    def test_a_timer_left_by_a_conflict_does_not_delay_a_new_session(self) -> None:
        """A long pause does not delay the registration in a new session."""
        self.fired(self.other.ensure_path(NODE))
        registration = self.register()
        self.until_it_is(registration, RegistrationState.CONTESTED)
        self.fired(self.other.delete(NODE))
        self.fired(registration.when_registered())
        first = self.session()
        self.server.expire(first)
        self.until_replaced(first, 1.0)

    def test_without_replace_the_node_of_another_is_waited_for(self) -> None:
        """Another process's znode is not replaced, but waited for."""
        self.fired(self.other.ensure_path(PARENT))
        self.fired(self.other.create(NODE, b"theirs", ephemeral=True))
        registration = self.register(replace=False)
        self.until_it_is(registration, RegistrationState.CONTESTED)
        self.assertEqual(self.owner(), self.session(self.other))
        self.fired(self.other.delete(NODE))
        self.fired(registration.when_registered())

    def test_an_update_that_json_cannot_hold_fails_and_changes_nothing(self) -> None:
        """A value that cannot be stored fails its update, and leaves the rest as it was."""
        registration = self.registered()
        with self.assertRaises(ValueError):
            self.fired(registration.update(weight=float("nan")))
        self.fired(registration.update(color="green"))
        data, _ = self.fired(self.other.get(NODE))
        self.assertEqual(json.loads(data or b""), {"pid": os.getpid(), "color": "green"})

    def test_closing_the_client_fails_waiting_deferreds(self) -> None:
        """Waiting fails with ClientClosedError."""
        self.fired(self.other.ensure_path(NODE))
        waiting = self.register().when_registered()
        self.fired(self.ours.close())
        with self.assertRaises(ClientClosedError):
            self.fired(waiting)

    def test_a_refusal_fails_waiting_deferreds_and_is_retried(self) -> None:
        """Without permission on the parent, waiting Deferreds fail and the attempt is retried."""
        self.fired(self.other.ensure_path(PARENT))
        self.fired(
            self.other.set_acl(PARENT, [ACL(int(Permission.READ | Permission.ADMIN), ANYONE)])
        )
        registration = self.register()
        with self.assertRaises(NoAuthError):
            self.fired(registration.when_registered())
        self.assertIs(registration.state, RegistrationState.FAILING)
        self.fired(self.other.set_acl(PARENT, [ACL(int(Permission.ALL), ANYONE)]))
        self.fired(registration.when_registered())

    def test_a_connection_that_breaks_at_any_byte_does_no_harm(self) -> None:
        """After a fault at any byte it is registered, and unregistered, in the end."""
        for budget in range(1, 400, 23):
            for end in ("client_may_send", "server_may_send"):
                registration = self.register(path=f"{PARENT}/{end}-{budget}")
                self.cut_after(end, budget)
                self.fired(registration.when_registered())
                self.assertEqual(self.owner(registration.path), self.session())
                left = registration.unregister()
                self.cut_after(end, budget % 60)
                self.assertTrue(self.fired(left))
                self.assertEqual(self.owner(registration.path), 0)

    def cut_after(self, end: str, count: int) -> None:
        """Break the connection after one end has sent a number of bytes."""
        sent = self.cable.server if end == "client_may_send" else self.cable.client
        setattr(self.cable, end, len(sent.received) + count)

    def test_each_format_is_found_replaced_and_updated(self) -> None:
        """Each format has its own znode, which is found, replaced and updated by its name."""
        for name in FORMATS:
            registration = self.registered(format=name, tls=[ADDRESS])
            self.fired(registration.update(color="green"))
            data, _ = self.fired(self.other.get(registration.path))
            member = read_member(registration.path.rpartition("/")[2], data)
            self.assertEqual((member.format, member.address), (name, ADDRESS))
            again = self.registered(format=name, client=self.other)
            self.assertEqual(again.path, registration.path)
            self.until_it_is(registration, RegistrationState.CONTESTED)
            self.fired(again.unregister())
            self.fired(registration.unregister())
            self.assertEqual(self.fired(self.other.get_children(PARENT)), [])

    def test_one_client_cannot_register_an_address_twice(self) -> None:
        """The second registration of an address is refused at once, until the first is gone."""
        first = self.register("h:1", "i:2")
        for addresses in (["h:1"], ["x:1", "i:2"]):
            with self.assertRaises(NodeExistsError) as caught:
                self.register(*addresses, properties={"color": "red"})
            self.assertIn("registered here already", str(caught.exception))
        self.registered("x:1")
        self.fired(first.unregister())
        again = self.registered(properties={"color": "red"})
        data, _ = self.fired(self.other.get(again.path))
        self.assertIn(b"red", data or b"")

    def test_one_client_cannot_register_an_address_twice_through_a_link(self) -> None:
        """An address that a link leads to twice is refused, and taken when the first is gone."""
        self.fired(self.other.create("/alias", json.dumps({"x ->": PARENT}).encode()))
        first = self.registered()
        second = self.register(path="/alias/x")
        with self.assertRaises(NodeExistsError):
            self.fired(second.when_registered())
        self.assertIs(first.state, RegistrationState.REGISTERED)
        self.fired(first.unregister())
        self.fired(second.when_registered())
        self.assertEqual(self.owner(), self.session())

    def test_an_unknown_format_is_refused_with_the_known_ones(self) -> None:
        """The error lists the known formats."""
        with self.assertRaises(FormatError) as caught:
            self.register(format="finagle")
        self.assertIn("serverset", str(caught.exception))

    def test_an_address_listed_twice_is_refused(self) -> None:
        """An address that one registration names twice is refused, however it is written."""
        for twice in (["h:1", "h:1"], ["h:1", "h:01"], ["[::1]:2", "h:1", "[::1]:2"]):
            with self.assertRaises(AddressError) as caught:
                self.register(*twice)
            self.assertIn("listed twice", str(caught.exception))

    def test_invalid_arguments_are_refused_before_anything_happens(self) -> None:
        """Invalid arguments are refused before anything is changed."""
        with self.assertRaises(InvalidPathError):
            self.register(path="svc")
        for address in (
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
                self.register(address=address)
            self.assertIn(repr(address), str(caught.exception))

    def test_an_address_may_be_a_pair_or_a_list_with_the_port_as_text(self) -> None:
        """A pair may have its port as text, and be a list; no host is a blank one."""
        pairs: list[Any] = [("h", 1), ("h", "1"), ["h", 1]]
        for pair in pairs:
            registration = self.registered(address=pair)
            self.assertEqual(registration.addresses, ("h:1",))
            self.fired(registration.unregister())
        everywhere = self.register(address=(None, 1))
        blank = self.register(address=":1", client=self.other)
        self.assertEqual(everywhere.addresses, blank.addresses)

    def test_a_failing_listener_does_no_harm(self) -> None:
        """A subscriber's exception is logged, and the registration continues."""
        registration = self.register()

        def fail(change: Change) -> None:
            raise ZeroDivisionError

        subscription = registration.subscribe(fail)
        self.fired(registration.when_registered())
        subscription.cancel()
        self.assertGreaterEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_200_registrations_come_back_together(self) -> None:
        """200 registrations of one process are registered again after an expiry."""
        registrations = [self.register(f"h:{n}") for n in range(200)]
        for one in registrations:
            self.fired(one.when_registered())
        first = self.session()
        self.server.expire(first)
        self.until(lambda: all(self.owner(one.path) not in (0, first) for one in registrations))

    def test_cancelling_a_wait_leaves_the_registration_alone(self) -> None:
        """Cancelling one waiter does not affect the others."""
        registration = self.register()
        waiting: Deferred[Registration] = registration.when_registered()
        waiting.addErrback(lambda _: None)
        waiting.cancel()
        self.fired(registration.when_registered())

    # -- handing over to another process, and taking over from one --

    def test_frozen_it_leaves_the_znodes_alone(self) -> None:
        """The znodes are neither deleted nor repaired while it is frozen."""
        registration = self.registered()
        self.fired(registration.freeze())
        registration.suspend("ill")
        self.network.advance(1)
        self.assertEqual(self.owner(), self.session())
        self.fired(self.other.delete(NODE))
        self.server.expire(self.session())
        self.network.advance(5)
        self.assertEqual(self.owner(), 0)

    def test_taking_over_waits_until_the_znode_is_ours_again(self) -> None:
        """After `take_over` it waits until it owns the znode, which the other still owned."""
        registration = self.registered()
        self.fired(registration.freeze())
        self.fired(self.other.delete(NODE))
        self.fired(self.other.create(NODE, ephemeral=True))
        registration.take_over(self.session(self.other))
        owners: list[int] = []
        registration.when_registered().addCallback(
            lambda _: ignore_close(self.other.exists(NODE).addCallback(self.note_owner, owners))
        )
        self.assertEqual(owners, [])
        self.until(lambda: owners)
        self.assertEqual(owners, [self.session()])

    def note_owner(self, stat: Stat | None, owners: list[int]) -> None:
        """Record the session that owns a znode."""
        owners.append(0 if stat is None else stat.ephemeral_owner)

    def test_freezing_waits_for_the_change_on_its_way(self) -> None:
        """A request that was sent before is carried out; no other follows."""
        registration = self.register()
        seen: list[tuple[bool, int]] = []

        def freeze(change: Change) -> None:
            if change.state is RegistrationState.WORKING:
                frozen = registration.freeze()
                seen.append((frozen.called, 0))
                frozen.addCallback(lambda _: seen.append((True, self.session())))

        registration.subscribe(freeze)
        self.until(lambda: len(seen) == 2)
        self.assertEqual(seen[0], (False, 0))
        self.assertEqual(self.owner(), self.session())

    def hand_over(self, **options: Any) -> tuple[Registration, Registration, list[int]]:
        """A frozen registration, its successor, and the list of owners."""
        old = self.registered(client=self.other, **options)
        new = self.register(**options)
        self.fired(new.freeze())
        self.fired(old.freeze())
        owners: list[int] = []
        new.take_over(self.session(self.other))
        self.until(lambda: self.see(owners) == self.session())
        return old, new, owners

    def see(self, owners: list[int]) -> int:
        """Record the owner."""
        owners.append(self.owner())
        return owners[-1]

    def test_it_takes_over_in_one_transaction(self) -> None:
        """The owner changes from the old to the new session, and the znode always exists."""
        old, new, owners = self.hand_over()
        self.assertNotIn(0, owners)
        self.assertIs(self.fired(new.when_registered()), new)
        self.fired(old.unregister())
        self.assertEqual(self.owner(), self.session())

    def test_what_is_waited_for_otherwise_is_taken_over(self) -> None:
        """Without ``replace``, only the named session's znode is replaced."""
        _, new, owners = self.hand_over(replace=False)
        self.assertNotIn(0, owners)
        self.fired(new.when_registered())

    def test_without_a_session_nothing_foreign_is_replaced(self) -> None:
        """Session 0 replaces no persistent znode, although its owner is 0."""
        self.fired(self.other.ensure_path(NODE))
        new = self.register()
        self.fired(new.freeze())
        new.take_over(0)
        self.until_it_is(new, RegistrationState.CONTESTED)

    def test_it_is_taken_back_in_one_transaction(self) -> None:
        """If the new process does not become ready, the old one continues, with its znode."""
        old, new, _ = self.hand_over()
        self.fired(new.freeze())
        owners: list[int] = []
        old.take_over(self.session())
        self.until(lambda: self.see(owners) == self.session(self.other))
        self.assertNotIn(0, owners)
        self.fired(new.unregister())
        self.assertEqual(self.owner(), self.session(self.other))

    def test_a_znode_that_is_taken_back_is_not_taken_over_again(self) -> None:
        """The new process does not replace the znode of the old one again."""
        old, new, owners = self.hand_over()
        self.fired(new.when_registered())
        old.take_over(self.session())
        self.until(lambda: self.see(owners) == self.session(self.other))
        self.until_it_is(new, RegistrationState.CONTESTED)
        self.fired(new.unregister())
        self.assertEqual(self.see(owners), self.session(self.other))
        self.assertNotIn(0, owners)
