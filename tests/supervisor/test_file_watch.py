"""Tests of ``zkservice.supervisor.file_watch``, on a clock, without files."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.supervisor.file_watch import FileWatch, stamp_of


class FileWatchTests(SynchronousTestCase):
    """What counts as a change."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.files: dict[str, int] = {"/a.py": 1, "/b.py": 1, "/x.html": 1}
        self.changes: list[list[str]] = []
        self.watch = FileWatch(
            self.clock,
            self.changes.append,
            ["/*.html"],
            self.files.get,
            lambda pattern: [path for path in self.files if path.endswith(pattern[2:])],
        )
        self.watch.watch(["/a.py"])
        self.watch.start()

    def look(self, count: int = 1) -> list[list[str]]:
        """What is seen at the next looks."""
        self.changes.clear()
        for _ in range(count):
            self.clock.advance(0.3)
        return self.changes

    def test_a_change_is_reported_once(self) -> None:
        """By the next scan; with all other files that have changed."""
        self.assertEqual(self.look(3), [])
        self.files.update({"/a.py": 2, "/x.html": 2})
        self.assertEqual([sorted(each) for each in self.look(3)], [["/a.py", "/x.html"]])

    def test_files_that_are_not_watched_are_ignored(self) -> None:
        """Until they are watched; then later changes count."""
        self.files["/b.py"] = 2
        self.assertEqual(self.look(3), [])
        self.watch.watch(["/b.py"])
        self.assertEqual(self.look(3), [])
        self.files["/b.py"] = 3
        self.assertEqual(self.look(), [["/b.py"]])

    def test_what_is_known_stays_as_it_was_seen(self) -> None:
        """A change between two looks is not lost because the file is named again."""
        self.files["/a.py"] = 2
        self.watch.watch(["/a.py"])
        self.assertEqual(self.look(), [["/a.py"]])

    def test_what_another_process_has_seen_counts(self) -> None:
        """A file that has changed since then, and one that has appeared; not what is known."""
        self.files["/c.py"] = 1
        self.watch.watch_since({"/a.py": 0, "/b.py": 0}, {"/*.py": ["/a.py", "/b.py"]})
        self.assertEqual(self.look(3), [["/b.py"], ["/c.py"]])

    def test_files_may_go_and_come_back(self) -> None:
        """Some editors delete and create a file each time they save it."""
        del self.files["/a.py"]
        self.assertEqual(self.look(), [["/a.py"]])
        self.files["/a.py"] = 1
        self.assertEqual(self.look(), [["/a.py"]])

    def test_a_file_that_appears_under_a_pattern_is_a_change(self) -> None:
        """Within a second; it is watched from then on, and its end is a change, too."""
        self.files["/y.html"] = 1
        self.assertEqual(self.look(3), [["/y.html"]])
        self.files["/y.html"] = 2
        self.assertEqual(self.look(), [["/y.html"]])
        del self.files["/y.html"]
        self.assertEqual(self.look(3), [["/y.html"]])

    def test_nothing_is_left_behind(self) -> None:
        """After it was stopped it makes no call."""
        self.watch.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stamps_of_real_files(self) -> None:
        """Another content, another file of the same content, or none."""
        path = Path(self.mktemp())
        self.assertIsNone(stamp_of(str(path)))
        self.assertIsNone(stamp_of("\0"))
        path.write_text("a")
        first = stamp_of(str(path))
        self.assertEqual(stamp_of(str(path)), first)
        path.write_text("bc")
        self.assertNotEqual(stamp_of(str(path)), first)
