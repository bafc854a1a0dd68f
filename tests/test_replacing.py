"""Tests of ``zkservice.replacing``: files that are replaced in one step."""

from __future__ import annotations

from fcntl import flock
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice import replacing as module
from zkservice.replacing import replacing


class ReplacingTests(SynchronousTestCase):
    """A file in a directory."""

    @override
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.file = self.folder / "web.json"

    def names(self) -> list[str]:
        """The names in the directory."""
        return sorted(each.name for each in self.folder.iterdir())

    def write(self, data: bytes) -> None:
        """Replace the file."""
        with replacing(str(self.file)) as file:
            file.write(data)

    def test_readers_see_the_old_contents_until_the_end(self) -> None:
        """Readers see the old file until the end, even if the new one exceeds a buffer."""
        self.write(b"old")
        with replacing(str(self.file)) as file:
            file.write(b"x" * 1_000_000)
            self.assertEqual(self.file.read_bytes(), b"old")
        self.assertEqual(len(self.file.read_bytes()), 1_000_000)
        self.assertEqual(self.names(), ["web.json"])

    def test_an_error_leaves_the_old_contents(self) -> None:
        """After an error the old file is unchanged, and no other is left."""
        self.write(b"old")
        with self.assertRaises(ZeroDivisionError), replacing(str(self.file)) as file:
            file.write(b"new")
            raise ZeroDivisionError
        self.assertEqual(self.file.read_bytes(), b"old")
        self.assertEqual(self.names(), ["web.json"])

    def test_leftovers_of_a_killed_process_are_removed(self) -> None:
        """Only temporary files for this name are removed."""
        others = [".web.json.command-pending", ".web.json.abc.new", "web.json.abcd1234.new"]
        for name in [".web.json.abcd1234.new", ".web.json.____0000.new", *others]:
            (self.folder / name).touch()
        self.write(b"new")
        self.assertEqual(self.names(), sorted([*others, "web.json"]))

    def test_another_process_that_writes_is_not_disturbed(self) -> None:
        """A locked temporary file is not removed; the last writer wins."""
        with replacing(str(self.file)) as first:
            first.write(b"first")
            self.write(b"second")
            self.assertEqual(self.file.read_bytes(), b"second")
        self.assertEqual(self.file.read_bytes(), b"first")

    def test_a_file_that_another_process_removes_before_it_is_locked_is_made_again(self) -> None:
        """Until then it looks like the leftover of a killed process."""

        def remove_before(descriptor: int, operation: int) -> None:
            self.patch(module, "flock", flock)
            module._remove_leftovers(str(self.folder), ".web.json.")
            flock(descriptor, operation)

        self.patch(module, "flock", remove_before)
        self.write(b"new")
        self.assertEqual(self.file.read_bytes(), b"new")
        self.assertEqual(self.names(), ["web.json"])

    def test_a_symbolic_link_is_not_followed(self) -> None:
        """A leftover that leads elsewhere is left alone."""
        victim = self.folder / "victim"
        victim.touch()
        (self.folder / ".web.json.abcd1234.new").symlink_to(victim)
        self.write(b"new")
        self.assertEqual(self.names(), [".web.json.abcd1234.new", "victim", "web.json"])
