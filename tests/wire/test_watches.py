"""Tests of ``zkservice.wire.watches``: whom an event is for, and what is set again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zkservice.wire.jute import encode
from zkservice.wire.records import SetWatches2
from zkservice.wire.watches import (
    SET_WATCHES_MAX_LENGTH,
    EventType,
    KeeperState,
    WatchKind,
    WatchTable,
)

DATA, EXIST, CHILD, PERSISTENT, RECURSIVE = WatchKind
CREATED, DELETED, CHANGED, CHILDREN = (
    EventType.CREATED,
    EventType.DELETED,
    EventType.DATA_CHANGED,
    EventType.CHILDREN_CHANGED,
)

# Which kinds of watches on /a/b hear of an event there; ZKWatchManager.materialize.
HEARD = {
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
    """Whom an event is for."""

    def test_every_kind(self) -> None:
        """Each event is heard by its kinds, and the one-shot watches among them are gone."""
        for event, kinds in HEARD.items():
            table = full("/a/b", "/x")
            heard = table.take(event, "/a/b")
            self.assertEqual(set(heard), {f"{kind.value} /a/b" for kind in kinds})
            left = {kind for kind, _ in table.at("/a/b")}
            self.assertEqual(left, set(WatchKind) - (kinds - {PERSISTENT, RECURSIVE}))
            self.assertEqual(len(table.at("/x")), 5)

    def test_ancestors(self) -> None:
        """Recursive watches hear of what is below them, and no other kind does."""
        table = full("/", "/a", "/a/b", "/ab", "/a/b/c")
        expected = {"recursive /", "recursive /a", "recursive /a/b"}
        for event in (CREATED, CHANGED, DELETED):
            heard = set(full("/", "/a", "/ab", "/a/b/c").take(event, "/a/b"))
            self.assertEqual(heard, expected - {"recursive /a/b"})
        self.assertEqual(
            {watcher for watcher in table.take(CREATED, "/a/b") if watcher.startswith("rec")},
            expected,
        )
        self.assertEqual(set(full("/", "/a").take(CHILDREN, "/a/b")), set())

    def test_root(self) -> None:
        """An event of the root is the root's own."""
        self.assertIn("recursive /", full("/").take(CHANGED, "/"))
        self.assertEqual(full("/").take(CHILDREN, "/"), ["child /", "persistent /"])

    def test_twice(self) -> None:
        """One-shot watches hear once, persistent ones again and again."""
        table = full("/a")
        table.take(DELETED, "/a")
        self.assertEqual(table.take(CREATED, "/a"), ["persistent /a", "recursive /a"])
        self.assertEqual(table.take(DELETED, "/a"), ["persistent /a", "recursive /a"])

    def test_each_once(self) -> None:
        """A watcher that waits in several tables hears of one event once."""
        table = WatchTable[str]()
        for kind in WatchKind:
            table.add(kind, "/a", "me")
        table.add(RECURSIVE, "/", "me")
        self.assertEqual(table.take(DELETED, "/a"), ["me"])

    def test_order(self) -> None:
        """Watchers of one path hear in the order in which they came."""
        table = WatchTable[str]()
        for name in "cab":
            table.add(DATA, "/a", name)
        self.assertEqual(table.take(CHANGED, "/a"), ["c", "a", "b"])

    def test_nobody(self) -> None:
        """An event that nobody waits for is for nobody, even if its path is none."""
        self.assertEqual(WatchTable[str]().take(CREATED, "/a"), [])
        table = full("/a")
        for path in ("", "x", "x/y", "//", "/b/"):
            self.assertEqual(table.take(CHANGED, path), [])
        self.assertEqual(len(table), 5)

    def test_session_events(self) -> None:
        """An event of the session takes no one-shot watch with it."""
        table = full("/a")
        table.take(EventType.NONE, "/a")
        self.assertEqual(len(table), 5)


class BookkeepingTests(SynchronousTestCase):
    """What the table remembers."""

    def test_discard(self) -> None:
        """A watcher that is taken back does not hear; the answer says whether it was there."""
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

    def test_at(self) -> None:
        """The watchers of a path are those of exactly this path."""
        self.assertEqual(
            full("/", "/a", "/a/b").at("/a"), [(kind, f"{kind.value} /a") for kind in WatchKind]
        )

    def test_clear(self) -> None:
        """Who is forgotten is answered, with the path, to be told."""
        table = full("/a", "/b")
        gone = table.clear()
        self.assertEqual(
            set(gone),
            {(path, f"{kind.value} {path}") for path in ("/a", "/b") for kind in WatchKind},
        )
        self.assertEqual((len(gone), len(table), table.clear()), (10, 0, []))
        self.assertEqual(list(table.chunks()), [])

    def test_numbers(self) -> None:
        """Events and states have the numbers of Watcher.java, and a portion ClientCnxn's size."""
        self.assertEqual(SET_WATCHES_MAX_LENGTH, 131_072)
        self.assertEqual([int(one) for one in EventType], [-1, 1, 2, 3, 4, 5, 6, 7])
        self.assertEqual([int(one) for one in KeeperState], [0, 3, 4, 5, 7, -112])


class ChunkTests(SynchronousTestCase):
    """What a server is told after a reconnect, in portions that it takes."""

    def test_many(self) -> None:
        """50,000 paths go in portions of at most 128 KiB, each path once in its own list."""
        table = WatchTable[int]()
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
    def test_any(self, watched: dict[str, WatchKind], limit: int) -> None:
        """Nothing is lost, and only a path that is too long by itself is over the limit."""
        table = WatchTable[str]()
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
