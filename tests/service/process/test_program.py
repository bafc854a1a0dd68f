"""Tests for `zkservice.service.process.program`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.service.process.program import (
    PidFile,
    as_upgrade,
    logical_directory,
    this_program,
)


class DirectoryTests(SynchronousTestCase):
    """Where the next program starts."""

    @override
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "1").mkdir(parents=True)
        (self.folder / "current").symlink_to("1")
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.folder / "current")

    def test_a_link_stays_a_link(self) -> None:
        """It may lead to another release by then."""
        named = str(self.folder / "current")
        self.assertEqual(logical_directory({"PWD": named}), named)

    def test_a_name_of_another_directory_is_not_believed(self) -> None:
        """PWD is of the process that has started this one, which may not have set it."""
        actual = str(self.folder / "1")
        for named in ("", str(self.folder), "current", str(self.folder / "gone")):
            self.assertEqual(logical_directory({"PWD": named} if named else {}), actual)


class CommandTests(SynchronousTestCase):
    """The command line, again."""

    def test_the_command_starts_the_same_program(self) -> None:
        """Options of the interpreter, a script or ``-c``, and all arguments."""
        show = (
            "import sys; sys.path[:0] = sys.argv[1:2]; import json;"
            "from zkservice.service.process.program import this_program;"
            "print(json.dumps([this_program().arguments, sys.argv]))"
        )
        root = str(Path(__file__).parents[3])
        command = [sys.executable, "-W", "ignore", "-c", show, root, "a b", "--x=y"]
        first = subprocess.run(command, capture_output=True, check=True)
        arguments = eval(first.stdout)[0]
        second = subprocess.run(arguments, capture_output=True, check=True)
        self.assertEqual((arguments, second.stdout), (command, first.stdout))

    def test_without_twistd_there_is_no_pid_file(self) -> None:
        """As in a pserve."""
        program = this_program()
        program.pidfile.take("")
        self.assertEqual(program.pidfile.path, "")


class PidFileTests(SynchronousTestCase):
    """The file that names the process."""

    def test_it_is_handed_over(self) -> None:
        """The old program does not remove it; the new one names itself, and removes it."""
        path = Path(self.mktemp()).absolute()
        path.write_text("1")
        old: dict[str, Any] = {"pidfile": str(path)}
        new: dict[str, Any] = {"pidfile": ""}
        handed = PidFile(old).path
        PidFile(old).leave()
        PidFile(new).take(handed)
        self.assertEqual((old["pidfile"], new["pidfile"]), ("", str(path)))
        self.assertEqual(path.read_text(), str(os.getpid()))

    def test_a_file_that_cannot_be_written_is_no_reason_to_stop(self) -> None:
        """It was root's, for example."""
        PidFile({}).take(f"{self.mktemp()}/gone/pid")


class TwistdTests(SynchronousTestCase):
    """What twistd does not do again, with the same command line."""

    def options(self, **given: Any) -> dict[str, Any]:
        """twistd's, as they are for a program that takes over."""
        options: dict[str, Any] = {"nodaemon": False, "pidfile": "twistd.pid", "logfile": None}
        options.update(uid=0, gid=0, chroot="/jail", umask=0o22, **given)
        as_upgrade(options)
        return options

    def test_privileges_and_the_terminal_are_gone_already(self) -> None:
        """No fork, no other user, no other root; no pid file until it takes over."""
        options = self.options()
        self.assertEqual(
            [options[name] for name in ("nodaemon", "pidfile", "uid", "gid", "chroot", "umask")],
            [True, "", None, None, None, 0o22],
        )

    def test_a_daemon_goes_on_in_its_log(self) -> None:
        """twistd's default for daemons, which is standard output without ``-n``."""
        self.assertEqual(self.options()["logfile"], "twistd.log")
        options: dict[str, Any] = {"nodaemon": True, "logfile": None}
        as_upgrade(options)
        self.assertIs(options["logfile"], None)

    def test_others_than_twistd_are_left_alone(self) -> None:
        """``twist`` has neither daemons nor pid files."""
        options: dict[str, Any] = {"reactor": None}
        as_upgrade(options)
        self.assertEqual(options, {"reactor": None})
