"""Tests of ``zkservice.wire.watches``: which watches an event fires, and which are set again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zkservice.wire.jute import encode
from zkservice.wire.records import SetWatches2
from zkservice.wire.watches import (
    EVENTS,
    SET_WATCHES_MAX_LENGTH,
    ClientWatchTable,
    EventType,
    KeeperState,
    WatchEvent,
    WatchKind,
    WatchTable,
    covers,
    strongest,
)

DATA, EXIST, CHILD, PERSISTENT, RECURSIVE = WatchKind
CREATED, DELETED, CHANGED, CHILDREN = (
    EventType.CREATED,
    EventType.DELETED,
    EventType.DATA_CHANGED,
    EventType.CHILDREN_CHANGED,
)

# Which kinds of watches on /a/b an event there fires; ZKWatchManager.materialize.
EXPECTED_KINDS = {
    CREATED: {DATA, EXIST, PERSISTENT, RECURSIVE},
    CHANGED: {DATA, EXIST, PERSISTENT, RECURSIVE},
    DELETED: {DATA, EXIST, CHILD, PERSISTENT, RECURSIVE},
    CHILDREN: {CHILD, PERSISTENT},
}


def full(*paths: str) -> WatchTable[str]:
    """A watcher of each kind on each path, named after both."""
    table = WatchTable[str]()
    for path in paths:
        for kind in WatchKind:
            table.add(kind, path, f"{kind.value} {path}")
    return table


class EventTests(SynchronousTestCase):
    """Which watchers get an event."""

    def test_each_event_fires_its_kinds(self) -> None:
        """Each event fires its kinds of watches, and removes the one-shot watches among them."""
        for event, kinds in EXPECTED_KINDS.items():
            table = full("/a/b", "/x")
            fired = table.take(event, "/a/b")
            self.assertEqual(set(fired), {f"{kind.value} /a/b" for kind in kinds})
            left = {kind for kind, _ in table.at("/a/b")}
            self.assertEqual(left, set(WatchKind) - (kinds - {PERSISTENT, RECURSIVE}))
            self.assertEqual(len(table.at("/x")), 5)

    def test_only_recursive_watches_hear_of_descendants(self) -> None:
        """Recursive watches fire for nodes below them, and no other kind does."""
        table = full("/", "/a", "/a/b", "/ab", "/a/b/c")
        expected = {"recursive /", "recursive /a", "recursive /a/b"}
        for event in (CREATED, CHANGED, DELETED):
            fired = set(full("/", "/a", "/ab", "/a/b/c").take(event, "/a/b"))
            self.assertEqual(fired, expected - {"recursive /a/b"})
        self.assertEqual(
            {watcher for watcher in table.take(CREATED, "/a/b") if watcher.startswith("rec")},
            expected,
        )
        self.assertEqual(set(full("/", "/a").take(CHILDREN, "/a/b")), set())

    def test_an_event_of_the_root_is_its_own(self) -> None:
        """An event of the root is the root's own."""
        self.assertIn("recursive /", full("/").take(CHANGED, "/"))
        self.assertEqual(full("/").take(CHILDREN, "/"), ["child /", "persistent /"])

    def test_one_shot_watches_fire_once(self) -> None:
        """One-shot watches fire once, persistent ones for each event."""
        table = full("/a")
        table.take(DELETED, "/a")
        self.assertEqual(table.take(CREATED, "/a"), ["persistent /a", "recursive /a"])
        self.assertEqual(table.take(DELETED, "/a"), ["persistent /a", "recursive /a"])

    def test_a_watcher_gets_an_event_once(self) -> None:
        """A watcher that is in several tables gets an event once."""
        table = WatchTable[str]()
        for kind in WatchKind:
            table.add(kind, "/a", "me")
        table.add(RECURSIVE, "/", "me")
        self.assertEqual(table.take(DELETED, "/a"), ["me"])

    def test_watchers_of_a_path_keep_their_order(self) -> None:
        """Watchers of one path get an event in the order in which they were added."""
        table = WatchTable[str]()
        for name in "cab":
            table.add(DATA, "/a", name)
        self.assertEqual(table.take(CHANGED, "/a"), ["c", "a", "b"])

    def test_an_unexpected_event_fires_nothing(self) -> None:
        """An event without a watch fires nothing, even if its path is invalid."""
        self.assertEqual(WatchTable[str]().take(CREATED, "/a"), [])
        table = full("/a")
        for path in ("", "x", "x/y", "//", "/b/"):
            self.assertEqual(table.take(CHANGED, path), [])
        self.assertEqual(len(table), 5)

    def test_session_events_use_up_no_watch(self) -> None:
        """An event of the session removes no one-shot watch."""
        table = full("/a")
        table.take(EventType.NONE, "/a")
        self.assertEqual(len(table), 5)


class BookkeepingTests(SynchronousTestCase):
    """Which watchers the table has."""

    def test_a_discarded_watcher_gets_no_event(self) -> None:
        """A discarded watcher gets no event; discard returns whether it was there."""
        table = WatchTable[str]()
        table.add(DATA, "/a", "one")
        table.add(DATA, "/a", "two")
        self.assertFalse(table.discard(CHILD, "/a", "one"))
        self.assertFalse(table.discard(DATA, "/b", "one"))
        self.assertTrue(table.discard(DATA, "/a", "one"))
        self.assertFalse(table.discard(DATA, "/a", "one"))
        self.assertTrue(table.has(DATA, "/a"))
        self.assertTrue(table.discard(DATA, "/a", "two"))
        self.assertFalse(table.has(DATA, "/a"))
        self.assertEqual(len(table), 0)

    def test_watchers_are_those_of_exactly_this_path(self) -> None:
        """The watchers of a path are those of exactly this path."""
        self.assertEqual(
            full("/", "/a", "/a/b").at("/a"), [(kind, f"{kind.value} /a") for kind in WatchKind]
        )

    def test_cleared_watchers_are_returned_with_their_paths(self) -> None:
        """The removed watchers are returned, with their paths."""
        table = full("/a", "/b")
        gone = table.clear()
        self.assertEqual(
            set(gone),
            {(path, f"{kind.value} {path}") for path in ("/a", "/b") for kind in WatchKind},
        )
        self.assertEqual((len(gone), len(table), table.clear()), (10, 0, []))

    def test_numbers_are_those_of_java(self) -> None:
        """Events and states have the numbers of Watcher.java, and a portion ClientCnxn's size."""
        self.assertEqual(SET_WATCHES_MAX_LENGTH, 131_072)
        self.assertEqual([int(one) for one in EventType], [-1, 1, 2, 3, 4, 5, 6, 7])
        self.assertEqual([int(one) for one in KeeperState], [0, 3, 4, 5, 7, -112])


class DerivationTests(SynchronousTestCase):
    """What a client makes of the one persistent watch that a server has at a path."""

    def test_table_of_events(self) -> None:
        """The table of events has the events that each kind gets at its own path."""
        for event, kinds in EXPECTED_KINDS.items():
            self.assertEqual({kind for kind in WatchKind if event in EVENTS[kind]}, kinds)

    def test_the_strongest_watch_is_asked_for(self) -> None:
        """A recursive watch is asked for before a plain one; one-shot kinds ask for none."""
        self.assertIs(strongest({DATA, PERSISTENT, RECURSIVE}), RECURSIVE)
        self.assertIs(strongest({CHILD, PERSISTENT}), PERSISTENT)
        self.assertIsNone(strongest({DATA, EXIST, CHILD}))

    def test_each_mode_covers_its_kinds(self) -> None:
        """A plain watch covers all one-shot kinds, a recursive one all but the list's."""
        self.assertEqual({kind for kind in WatchKind if covers(PERSISTENT, kind)}, set(WatchKind))
        self.assertEqual(
            {kind for kind in WatchKind if covers(RECURSIVE, kind)}, {DATA, EXIST, RECURSIVE}
        )
        self.assertFalse(any(covers(None, kind) for kind in WatchKind))

    def test_list_derived_from_children(self) -> None:
        """Beside a recursive watch, a created or deleted child fires the plain one."""
        table = ClientWatchTable[str]()
        table.add(PERSISTENT, "/a", "plain")
        table.add(RECURSIVE, "/a", "recursive")
        for event in (CREATED, DELETED):
            self.assertEqual(
                table.deliveries(event, "/a/b"),
                [(event, "/a/b", "recursive"), (CHILDREN, "/a", "plain")],
            )
        self.assertEqual(table.deliveries(CHANGED, "/a/b"), [(CHANGED, "/a/b", "recursive")])
        self.assertEqual(table.deliveries(CREATED, "/a/b/c"), [(CREATED, "/a/b/c", "recursive")])
        self.assertEqual(table.deliveries(CHILDREN, "/a"), [])  # it would be the second time

    def test_list_of_the_root(self) -> None:
        """The root's list is derived, too; the root itself is no child of it."""
        table = ClientWatchTable[str]()
        table.add(PERSISTENT, "/", "plain")
        table.add(RECURSIVE, "/", "recursive")
        self.assertIn((CHILDREN, "/", "plain"), table.deliveries(CREATED, "/a"))
        self.assertNotIn((CHILDREN, "/", "plain"), table.deliveries(DELETED, "/"))
        for path in ("", "x", "x/y"):
            self.assertNotIn((CHILDREN, "/", "plain"), table.deliveries(CREATED, path))

    def test_list_without_a_recursive_watch(self) -> None:
        """A plain watch by itself gets the server's events about the list, and no derived ones."""
        table = ClientWatchTable[str]()
        table.add(PERSISTENT, "/a", "plain")
        table.add(RECURSIVE, "/", "above")
        self.assertEqual(table.deliveries(CREATED, "/a/b"), [(CREATED, "/a/b", "above")])
        self.assertEqual(table.deliveries(CHILDREN, "/a"), [(CHILDREN, "/a", "plain")])

    def test_one_shot_child_watch(self) -> None:
        """A child watch beside a recursive one waits for the server's own event."""
        table = ClientWatchTable[str]()
        table.add(CHILD, "/a", "child")
        table.add(RECURSIVE, "/a", "recursive")
        self.assertEqual(table.deliveries(CREATED, "/a/b"), [(CREATED, "/a/b", "recursive")])
        self.assertEqual(table.deliveries(CHILDREN, "/a"), [(CHILDREN, "/a", "child")])


class EventTupleTests(SynchronousTestCase):
    """Events compare and unpack as tuples."""

    def test_an_event_is_a_tuple_of_three(self) -> None:
        """It is a tuple of type, state and path; the zxid is beside them."""
        event = WatchEvent(CREATED, KeeperState.SYNC_CONNECTED, "/a", 7)
        type, state, path = event
        self.assertEqual((type, state, path), (CREATED, KeeperState.SYNC_CONNECTED, "/a"))
        self.assertEqual(event, WatchEvent(CREATED, KeeperState.SYNC_CONNECTED, "/a"))
        self.assertEqual((event.zxid, event._replace(path="/b").zxid), (7, None))
        self.assertIn("zxid=7", repr(event))


class ChunkTests(SynchronousTestCase):
    """The watches that are set again after a reconnect, in requests of bounded size."""

    def test_without_watches_nothing_is_sent(self) -> None:
        """Without watches there is nothing to send."""
        self.assertEqual(list(ClientWatchTable[str]().chunks()), [])

    def test_several_at_one_path(self) -> None:
        """The recursive watch comes last, except for the child watch, which does not replace it."""
        table = ClientWatchTable[str]()
        for kind in (CHILD, PERSISTENT, RECURSIVE, DATA):
            table.add(kind, "/a", "me")
        for kind in (CHILD, PERSISTENT):
            table.add(kind, "/b", "me")
        portions = [
            {kind: paths for kind, paths in portion.items() if paths} for portion in table.chunks()
        ]
        self.assertEqual(
            portions,
            [
                {DATA: ["/a"], CHILD: ["/b"], PERSISTENT: ["/b"], RECURSIVE: ["/a"]},
                {CHILD: ["/a"]},
            ],
        )

    def test_many_paths_are_sent_in_portions(self) -> None:
        """50,000 paths go in portions of at most 128 KiB, each path once in its own list."""
        table = ClientWatchTable[int]()
        kinds = list(WatchKind)
        for number in range(50_000):
            table.add(kinds[number % 5], f"/services/é/provider-{number:05}", number)
        portions = list(table.chunks())
        self.assertGreater(len(portions), 10)
        seen: dict[WatchKind, list[str]] = {kind: [] for kind in WatchKind}
        for portion in portions:
            size = len(encode(SetWatches2(0, *(portion[kind] for kind in WatchKind))))
            self.assertLessEqual(size - 8 - 5 * 4, SET_WATCHES_MAX_LENGTH)
            for kind, paths in portion.items():
                seen[kind].extend(paths)
        for index, kind in enumerate(kinds):
            self.assertEqual(
                seen[kind], [f"/services/é/provider-{n:05}" for n in range(index, 50_000, 5)]
            )
        # No portion could have taken the first path of the next one.
        smallest = min(
            len(encode(SetWatches2(0, *(portion[kind] for kind in WatchKind))))
            for portion in portions[:-1]
        )
        self.assertGreater(smallest, SET_WATCHES_MAX_LENGTH - 100)

    @given(
        st.dictionaries(st.text(max_size=20).map("/".__add__), st.sampled_from(list(WatchKind))),
        st.integers(1, 60),
    )
    def test_no_path_is_lost(self, watched: dict[str, WatchKind], limit: int) -> None:
        """Nothing is lost, and only a path that is too long by itself is over the limit."""
        table = ClientWatchTable[str]()
        for path, kind in watched.items():
            table.add(kind, path, "me")
        seen: dict[str, WatchKind] = {}
        for portion in table.chunks(limit):
            paths = [path for group in portion.values() for path in group]
            size = sum(4 + len(path.encode()) for path in paths)
            self.assertTrue(paths)
            self.assertTrue(size <= limit or len(paths) == 1)
            seen.update({path: kind for kind, group in portion.items() for path in group})
        self.assertEqual(seen, watched)
