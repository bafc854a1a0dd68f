"""``zkservice top`` in a real terminal: a pty, which has to be as it was afterwards."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.functional.processes import TIMEOUT, Twistd, free_port, wait_for


class TopTests(SynchronousTestCase):
    """One service, and a terminal of 80 columns and 24 lines."""

    @override
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(self.folder)
        with open(os.path.join(self.folder, "app.py"), "w") as file:
            file.write("def app(environ, start):\n    start('200 OK', [])\n    return [b'hi']\n")
        self.port = free_port()
        self.service = Twistd(
            self.folder,
            "zkserve",
            *("--path", "/svc", "--host", "127.0.0.1", "--monitor", f"127.0.0.1:{self.port}"),
            "app:app",
        )
        self.addCleanup(self.service.end)
        found = self.service.wait_for_log(r"embedded ZooKeeper .*?(127\.0\.0\.1:\d+)")
        self.zookeeper = found[1]
        self.service.wait_for_log("Serving on")

    def run_top(self, *words: str, **environ: str) -> tuple[Any, int]:
        """The program in a terminal of its own, and this end of the terminal."""
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self.theirs = theirs
        self.addCleanup(os.close, theirs)
        program = subprocess.Popen(
            [sys.executable, "-m", "zkservice.cli.main", "top", "--interval", "0.2", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**Twistd.environment(), "TERM": "xterm", **environ},
            start_new_session=True,
        )
        self.addCleanup(program.wait)
        self.addCleanup(program.kill)
        self.shown = b""
        return program, ours

    def read(self, terminal: int) -> bytes:
        """All that was shown so far."""
        while select.select([terminal], [], [], 0)[0]:
            self.shown += os.read(terminal, 65536)
        return self.shown

    def until(self, terminal: int, text: bytes) -> None:
        """Wait until a text is shown."""
        wait_for(repr(text), lambda: text in self.read(terminal))

    def assert_restored(self, terminal: int) -> None:
        """The terminal is as it was: its modes, its cursor, its screen."""
        self.assertEqual(termios.tcgetattr(self.theirs), self.before)
        if b"\x1b[?1049h" in self.read(terminal):  # the system may pass the rest on later
            restored = b"\x1b[?25h\x1b[?1049l"
            wait_for("the end", lambda: self.read(terminal).rstrip().endswith(restored))

    def test_q_quits_and_the_terminal_is_restored(self) -> None:
        """The figures are refreshed until q is pressed, also when the service has gone."""
        program, terminal = self.run_top(f"127.0.0.1:{self.port}")
        self.until(terminal, b"registered")
        wait_for("a second frame", lambda: self.read(terminal).count(b"\x1b[H") > 1)
        self.assertNotEqual(termios.tcgetattr(self.theirs), self.before)
        self.service.end()
        self.until(terminal, b"there is no monitor")
        os.write(terminal, b"q")
        self.assertEqual(program.wait(TIMEOUT), 0)
        self.assert_restored(terminal)

    def test_other_terminals_and_other_ways_out(self) -> None:
        """A dumb terminal gets plain text; a signal leaves the terminal as it was, too.

        What is registered at a path is found through ZooKeeper; NO_COLOR is respected.
        """
        path = ("--path", "/svc", "--zookeeper", self.zookeeper)
        program, terminal = self.run_top(*path, TERM="dumb")
        self.until(terminal, f"127.0.0.1:{self.port}".encode())
        os.write(terminal, b"q")
        self.assertEqual(program.wait(TIMEOUT), 0)
        self.assertNotIn(b"\x1b", self.read(terminal))
        self.assert_restored(terminal)
        program, terminal = self.run_top(f"127.0.0.1:{self.port}", NO_COLOR="1")
        self.until(terminal, b"registered")
        program.send_signal(signal.SIGTERM)
        self.assertEqual(program.wait(TIMEOUT), 130)
        self.assertEqual(termios.tcgetattr(self.theirs), self.before)
        self.until(terminal, b"\x1b[?25h\x1b[?1049l")
        self.assertNotRegex(self.shown.decode(), "\x1b\\[[0-9;]*m")
