"""Tests for `zkservice.publishing.files`: files that are replaced in one step."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.errors import PublishError
from zkservice.formats import Member
from zkservice.formats.consumers import CONSUMERS, Listing, template
from zkservice.publishing.files import FileTarget, ReplacedFile

WEB = Listing("web", "/svc/web", (Member("properties", "10.0.0.1", 80),))


class ReplacedFileTests(SynchronousTestCase):
    """Replacing a file keeps its mode and owner."""

    @override
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "web.conf"
        self.file = ReplacedFile(str(self.path))

    def test_new_file_can_be_read_by_all(self) -> None:
        """A new file has the mode 0644, whatever the umask is: its readers are other users."""
        self.addCleanup(os.umask, os.umask(0o077))
        self.assertTrue(self.file.write(b"x"))
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o644)
        self.assertEqual([each.name for each in self.folder.iterdir()], ["web.conf"])

    def test_mode_stays(self) -> None:
        """The new file has the mode of the old one, and replaces it in one step."""
        self.path.write_bytes(b"old")
        self.path.chmod(0o640)
        number = self.path.stat().st_ino
        self.assertTrue(self.file.write(b"new"))
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o640)
        self.assertEqual(self.path.read_bytes(), b"new")
        self.assertNotEqual(self.path.stat().st_ino, number)

    def test_owner_stays(self) -> None:
        """The new file has the owner of the old one, or it is not written."""
        self.path.write_bytes(b"old")
        owner = (os.stat(self.path).st_uid, os.stat(self.path).st_gid)
        real, owners = os.fstat, []

        def another(descriptor: int) -> os.stat_result:
            """A new file, as it looks to a process of another user."""
            found = real(descriptor)
            return os.stat_result((*found[:4], 12345, 54321, *found[6:]))

        self.patch(os, "fstat", another)
        self.patch(os, "fchown", lambda descriptor, *ids: owners.append(ids))
        self.file.write(b"new")
        self.assertEqual(owners, [owner])

        def refuse(descriptor: int, *ids: int) -> None:
            raise PermissionError(1, "Operation not permitted")

        self.patch(os, "fchown", refuse)
        with self.assertRaisesRegex(
            PublishError, "owner .* cannot be kept: Operation not permitted"
        ):
            self.file.write(b"newer")
        self.assertEqual(self.path.read_bytes(), b"new")
        self.assertEqual([each.name for each in self.folder.iterdir()], ["web.conf"])

    def test_unchanged_file_is_left_alone(self) -> None:
        """Equal contents are not written."""
        self.path.write_bytes(b"same")
        before = self.path.stat()
        self.assertFalse(self.file.write(b"same"))
        self.assertEqual(self.path.stat(), before)

    def test_symbolic_link_stays(self) -> None:
        """The target of a symbolic link is replaced, not the link."""
        real = self.folder / "real"
        self.path.symlink_to("real")
        self.file.write(b"x")
        self.assertTrue(self.path.is_symlink())
        self.assertEqual(real.read_bytes(), b"x")

    def test_missing_directory_is_named(self) -> None:
        """The error names a missing directory, and a directory in the place of the file."""
        with self.assertRaisesRegex(
            PublishError, "cannot be written: there is no directory .*none$"
        ):
            ReplacedFile(str(self.folder / "none" / "web.conf")).write(b"x")
        self.path.mkdir()
        with self.assertRaisesRegex(PublishError, "web.conf cannot be read: Is a directory"):
            self.file.write(b"x")

    def test_command_is_pending_until_it_has_succeeded(self) -> None:
        """The mark survives the process, and no glob for visible files matches it."""
        file = ReplacedFile(str(self.path), has_command=True)
        self.assertFalse(file.command_pending)
        file.write(b"x")
        self.assertTrue(ReplacedFile(str(self.path), has_command=True).command_pending)
        self.assertEqual(list(self.folder.glob("[!.]*")), [self.path])
        file.command_succeeded()
        self.assertFalse(file.command_pending)
        file.command_succeeded()


class FileTargetTests(SynchronousTestCase):
    """A file in a format."""

    @override
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.target = FileTarget(CONSUMERS["nginx"], ReplacedFile(str(self.path.resolve())))

    def test_publishes(self) -> None:
        """It writes the providers, and fires with whether the file has changed."""
        self.assertTrue(self.successResultOf(self.target.publish([WEB])))
        self.assertEqual(self.path.read_text(), "server 10.0.0.1:80;\n")
        self.assertFalse(self.successResultOf(self.target.publish([WEB])))

    def test_preview_is_a_unified_diff(self) -> None:
        """It shows what would change, and changes nothing."""
        diff = self.successResultOf(self.target.preview([WEB]))
        self.assertEqual(
            diff.splitlines(),
            ["--- /dev/null", f"+++ {self.target.name}", "@@ -0,0 +1 @@", "+server 10.0.0.1:80;"],
        )
        self.assertFalse(self.path.exists())
        self.path.write_text("server 10.0.0.2:80;")
        diff = self.successResultOf(self.target.preview([WEB]))
        self.assertIn("-server 10.0.0.2:80;\n\\ No newline at end of file\n+server", diff)
        self.path.write_text("server 10.0.0.1:80;\n")
        self.assertEqual(self.successResultOf(self.target.preview([WEB])), "")

    def test_template_that_raises(self) -> None:
        """An exception in a template raises `PublishError`; the file is not changed."""
        self.target.consumer = template("t.j2", "{{ 1 // 0 }}")
        with self.assertRaisesRegex(PublishError, "t.j2: ZeroDivisionError"):
            self.target.publish([WEB])
        self.assertFalse(self.path.exists())
