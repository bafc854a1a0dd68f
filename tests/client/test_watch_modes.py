"""Tests of several watches at one path, with both watch semantics of servers (ZOOKEEPER-4466)."""

from __future__ import annotations

from itertools import permutations
from typing import Any, ClassVar

from hypothesis import HealthCheck, given, settings
from twisted.internet.defer import Deferred
from typing_extensions import override

from tests import effort
from tests.client.base import ClientTestCase, ignore_close
from tests.client.watch_model import CHANGED, CHILDREN, CREATED, DELETED, Driver, Op, programs
from zkservice.client import CREATOR_ALL_ACL, PersistentWatch, ZooKeeperClient
from zkservice.embedded import ZooKeeperServer
from zkservice.errors import NoWatcherError
from zkservice.wire.records import WatcherType
from zkservice.wire.watches import EventType, WatchEvent


class WatchModes(ClientTestCase):
    """Tests that must pass with both semantics."""

    semantics: ClassVar[str]

    @override
    def start_server(self, *args: Any, **options: Any) -> ZooKeeperServer:
        return super().start_server(*args, watch_semantics=self.semantics, **options)

    @override
    def setUp(self) -> None:
        """A client that watches, and another one that changes nodes."""
        super().setUp()
        self.watcher = self.connected()
        self.other = self.connected()
        self.events: dict[str, list[tuple[EventType, str]]] = {}

    def add(self, name: str, path: str = "/a", *, recursive: bool = False) -> PersistentWatch:
        """Add a persistent watch whose events are recorded under a name."""
        events = self.events[name] = []

        def record(event: WatchEvent) -> None:
            events.append((event.type, event.path))

        adding = self.watcher.add_watch(path, record, recursive)
        return self.result(adding)

    def change(self) -> None:
        """Create a child, set both nodes, delete both, and create the parent again."""
        changes: list[Deferred[Any]] = [
            self.other.create("/a/b"),
            self.other.set("/a", b""),
            self.other.set("/a/b", b""),
            self.other.delete("/a/b"),
            self.other.delete("/a"),
            self.other.create("/a"),
        ]
        for done in changes:
            self.result(done)

    PLAIN: ClassVar = [
        (CHILDREN, "/a"),
        (CHANGED, "/a"),
        (CHILDREN, "/a"),
        (DELETED, "/a"),
        (CREATED, "/a"),
    ]
    RECURSIVE: ClassVar = [
        (CREATED, "/a/b"),
        (CHANGED, "/a"),
        (CHANGED, "/a/b"),
        (DELETED, "/a/b"),
        (DELETED, "/a"),
        (CREATED, "/a"),
    ]

    def test_plain_and_recursive(self) -> None:
        """Both receive all of their events, whichever is added first."""
        self.result(self.other.create("/a"))
        for order in permutations(("plain", "recursive")):
            handles = [self.add(name, recursive=name == "recursive") for name in order]
            for _ in range(2):
                self.change()
            self.assertEqual(
                self.events, {"plain": self.PLAIN * 2, "recursive": self.RECURSIVE * 2}
            )
            for handle in handles:
                self.result(handle.cancel())
            self.assertEqual(self.server.statistics().watches, 0)

    def test_cancelled_in_every_order(self) -> None:
        """When one of three watches at a path is cancelled, the others receive the same events."""
        self.result(self.other.create("/a"))
        expected = {"plain": self.PLAIN, "twin": self.PLAIN, "recursive": self.RECURSIVE}
        for added in permutations(expected):
            for cancelled in permutations(expected):
                handles = {name: self.add(name, recursive=name == "recursive") for name in added}
                for name in cancelled:
                    self.change()
                    self.assertEqual(self.events, {one: expected[one] for one in handles})
                    self.result(handles.pop(name).cancel())
                    del self.events[name]
                    for events in self.events.values():
                        events.clear()
                self.assertEqual(self.server.statistics().watches, 0)

    def one_shots(self) -> dict[str, Deferred[WatchEvent]]:
        """A one-shot watch of each kind on ``/a``."""
        reads: list[tuple[Deferred[Any], Deferred[WatchEvent]]] = [
            self.watcher.get_and_watch("/a"),
            self.watcher.exists_and_watch("/a"),
            self.watcher.get_children_and_watch("/a"),
        ]
        for value, watch in reads:
            self.result(value)
            ignore_close(watch)
        return dict(zip(("get", "exists", "children"), (watch for _, watch in reads), strict=True))

    def test_one_shots_beside_persistent(self) -> None:
        """One-shot watches fire beside both kinds of persistent ones, set before or after them."""
        self.result(self.other.create("/a"))
        for recursive in (False, True):
            for first in (False, True):
                watches = self.one_shots() if first else {}
                handle = self.add("it", recursive=recursive)
                watches = watches or self.one_shots()
                self.change()
                self.assertEqual(self.result(watches["get"])[::2], (CHANGED, "/a"))
                self.assertEqual(self.result(watches["exists"])[::2], (CHANGED, "/a"))
                self.assertEqual(self.result(watches["children"])[::2], (CHILDREN, "/a"))
                self.assertEqual(self.events["it"], self.RECURSIVE if recursive else self.PLAIN)
                self.result(handle.cancel())
                self.assertEqual(self.server.statistics().watches, 0)

    def test_one_shots_outlive_persistent(self) -> None:
        """One-shot watches that were derived from a persistent one fire when it is cancelled."""
        self.result(self.other.create("/a"))
        for recursive in (False, True):
            handle = self.add("it", recursive=recursive)
            watches = self.one_shots()
            self.result(handle.cancel())
            self.change()
            self.assertEqual(self.result(watches["get"])[::2], (CHANGED, "/a"))
            self.assertEqual(self.result(watches["exists"])[::2], (CHANGED, "/a"))
            self.assertEqual(self.result(watches["children"])[::2], (CHILDREN, "/a"))
            self.assertEqual(self.events["it"], [])
            self.assertEqual(self.server.statistics().watches, 0)

    def cancel_before_change(self, handle: Any) -> None:
        """Cancel a watch; the server makes a change before it gets the request for that."""
        cable = self.network.cables[0]
        cable.holding = True
        cancelled = handle.cancel()
        self.change()
        cable.holding = False
        self.result(cancelled)

    def test_change_while_a_watch_is_cancelled(self) -> None:
        """A change that happens before the server receives the cancellation is not missed."""
        self.result(self.other.create("/a"))
        for recursive in (False, True):
            handle = self.add("it", recursive=recursive)
            watches = self.one_shots()
            self.cancel_before_change(handle)
            for name, type in (("get", CHANGED), ("exists", CHANGED), ("children", CHILDREN)):
                self.assertEqual(self.result(watches[name])[::2], (type, "/a"))

    def test_plain_watch_while_the_recursive_one_is_cancelled(self) -> None:
        """The plain watch receives its events while it replaces the recursive one on the server."""
        self.result(self.other.create("/a"))
        handle = self.add("recursive", recursive=True)
        self.add("plain")
        self.cancel_before_change(handle)
        self.change()
        self.assertEqual((self.events["plain"], self.events["recursive"]), (self.PLAIN * 2, []))

    def test_children_that_may_not_be_read(self) -> None:
        """A child watch beside a recursive one fires for children whose ACL hides them."""
        self.result(self.other.create("/a"))
        self.result(self.other.add_auth("digest", "u:p"))
        for first in (False, True):
            watch = self.one_shots()["children"] if first else None
            handle = self.add("it", recursive=True)
            watch = watch or self.one_shots()["children"]
            self.result(self.other.create(f"/a/hidden-{first}", acl=CREATOR_ALL_ACL))
            self.assertEqual(self.result(watch)[::2], (CHILDREN, "/a"))
            self.result(handle.cancel())

    def test_after_a_reconnect(self) -> None:
        """One-shot watches fire for missed changes, and persistent ones continue."""
        self.result(self.other.create("/a"))
        self.add("plain")
        self.add("recursive", recursive=True)
        for missed in (False, True):
            watches = self.one_shots()
            self.network.cables[0 if not missed else -1].cut()
            if missed:
                self.result(self.other.create("/a/missed"))
                self.result(self.other.set("/a", b""))
            self.network.advance(1)
            if not missed:
                self.result(self.other.create("/a/events"))
                self.result(self.other.set("/a", b""))
            for name, type in (("get", CHANGED), ("exists", CHANGED), ("children", CHILDREN)):
                self.assertEqual(self.result(watches[name])[::2], (type, "/a"))
            self.result(self.other.delete("/a/missed" if missed else "/a/events"))
            for events in self.events.values():
                events.clear()
            self.change()
            self.assertEqual(self.events, {"plain": self.PLAIN, "recursive": self.RECURSIVE})

    def test_reads_that_wait_for_a_connection(self) -> None:
        """Reads with a watch that wait for a connection do not disable other watches."""
        self.result(self.other.create("/a"))
        self.add("plain")
        handle = self.add("recursive", recursive=True)
        self.network.cables[0].cut()
        reads: list[Any] = [
            self.watcher.get_and_watch("/a"),
            self.watcher.get_children_and_watch("/a"),
        ]
        self.result(handle.cancel())
        self.network.advance(1)
        for _ in range(2):
            self.change()
        self.assertEqual(self.events["plain"], self.PLAIN * 2)
        for (_, watch), type in zip(reads, (CHANGED, CHILDREN), strict=True):
            self.assertEqual(self.result(watch)[::2], (type, "/a"))

    @staticmethod
    def _note(_: object, order: list[str], name: str) -> None:
        order.append(name)

    def test_event_of_a_read_that_waited_comes_before_the_change(self) -> None:
        """A read has its own watch if the watch that covered it is cancelled meanwhile."""
        self.result(self.other.create("/a"))
        for connected in (False, True):
            for recursive in (False, True):
                handle = self.add("persistent", recursive=recursive)
                if not connected:
                    self.network.cables[-1 if recursive else 0].cut()
                order: list[str] = []
                value, watch = self.watcher.get_and_watch("/a")
                change = self.watcher.set("/a", b"")
                for name, one in (("event", watch), ("change", change)):
                    ended: Deferred[Any] = one
                    ended.addCallback(self._note, order, name)
                handle.cancel()
                self.network.advance(1)
                self.successResultOf(value)
                self.assertEqual(order, ["event", "change"], (connected, recursive))
        self.assertEqual(self.watcher.statistics().watches, 0)
        self.assertEqual(self.server.statistics().watches, 0)

    def test_a_covered_watch_is_found_on_the_server(self) -> None:
        """`check_watches` finds a watch whose events are derived from a stronger one."""
        self.result(self.other.create("/a"))
        client = self.watcher
        for recursive in (False, True):
            handle = self.add("it", recursive=recursive)
            watches = self.one_shots()
            for type in (WatcherType.DATA, WatcherType.CHILDREN, WatcherType.ANY):
                self.assertTrue(self.result(client.check_watches("/a", type)))
            self.change()
            self.result(watches["children"])
            self.result(handle.cancel())
            self.assertFalse(self.result(client.check_watches("/a")))

    def test_removed_by_type(self) -> None:
        """Watches that are removed by type get an event; no other watch is removed."""
        self.result(self.other.create("/a"))
        for recursive in (False, True):
            handle = self.add("it", recursive=recursive)
            watches = self.one_shots()
            self.result(self.watcher.remove_watches("/a", WatcherType.DATA))
            for name in ("get", "exists"):
                self.assertEqual(self.result(watches[name]).type, EventType.DATA_WATCH_REMOVED)
            self.failure(self.watcher.remove_watches("/a", WatcherType.DATA), NoWatcherError)
            self.change()
            self.assertEqual(self.result(watches["children"])[::2], (CHILDREN, "/a"))
            self.assertEqual(self.events["it"], self.RECURSIVE if recursive else self.PLAIN)
            self.result(handle.cancel())

    def test_every_watch_of_a_random_program_receives_its_events(self) -> None:
        """Every watch of a random program receives its events, in order, and no others."""

        @settings(
            max_examples=effort(300, 25),
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(programs)
        def run(program: list[list[Op]]) -> None:
            self.run_program(self.watcher, program)

        run()

    def run_program(self, client: ZooKeeperClient, program: list[list[Op]]) -> None:
        """Run a program batch by batch, and compare the events with the model's."""
        driver = Driver(client)
        done = []
        for batch in program:
            if batch[0].name == "cut":
                self.cable_of_client().cut()
                self.network.advance(1)
            else:
                pending = [one for op in batch for one in driver.do(op)]
                for one in pending:
                    self.result(one)
            done.append(batch)
            self.assertEqual(driver.wrong_watches(), [], done)
        for one in driver.end():
            self.result(one)
        self.assertEqual(len(client._manager.watches.table), 0)

    def cable_of_client(self) -> Any:
        """The client's newest connection; the other one keeps its first."""
        return next(
            one for one in reversed(self.network.cables) if one is not self.network.cables[1]
        )


class NewWatchTests(WatchModes):
    """With the watches of ZooKeeper 3.9."""

    semantics = "3.9"

    def test_derived_events_have_the_zxid(self) -> None:
        """A derived event has the zxid of its transaction, too."""
        self.result(self.other.create("/a"))
        events: list[WatchEvent] = []
        self.result(self.watcher.add_watch("/a", events.append, recursive=True))
        self.result(self.watcher.add_watch("/a", events.append))
        _, stat = self.result(self.other.create_and_stat("/a/b"))
        self.assertEqual([one.type for one in events], [CREATED, CHILDREN])
        self.assertEqual({one.zxid for one in events}, {stat.czxid})

    def test_zxid_of_a_missed_change(self) -> None:
        """The event of a missed change has no zxid."""
        self.result(self.other.create("/a"))
        watch = self.one_shots()["get"]
        self.network.cables[0].cut()
        self.result(self.other.set("/a", b""))
        self.network.advance(1)
        self.assertIsNone(self.result(watch).zxid)


class OldWatchTests(WatchModes):
    """With the watches of ZooKeeper 3.6 to 3.8."""

    semantics = "3.8"

    def test_older_servers_send_no_zxid(self) -> None:
        """Older servers send no zxid with an event."""
        self.result(self.other.create("/a"))
        watch = self.one_shots()["get"]
        self.result(self.other.set("/a", b""))
        self.assertIsNone(self.result(watch).zxid)


del WatchModes  # not to be run by itself
