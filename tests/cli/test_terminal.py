"""Tests for `zkservice.cli.terminal`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.base import Screen
from zkservice.cli.terminal import Terminal


class ProgressTests(SynchronousTestCase):
    """The progress bar."""

    def bar(self, *, tty: bool, quiet: bool = False) -> str:
        """What a bar shows while time passes."""
        err, now = Screen(), 0.0
        err.tty = tty
        terminal = Terminal(Screen(), Screen(), err, {}, lambda: now, quiet=quiet)
        with terminal.progress("importing") as progress:
            for _ in range(10):
                now += 0.2
                progress(int(now * 1000), 2000)
        return err.getvalue()

    def test_a_bar_appears_moves_and_goes_away(self) -> None:
        """A bar appears after a moment, moves, and goes away."""
        shown = self.bar(tty=True)
        self.assertTrue(shown.startswith("\r\x1b[Kimporting [######"), shown)
        self.assertIn("1,000 of 2,000, 1,000/s", shown)
        self.assertTrue(shown.endswith("\r\x1b[K"))

    def test_there_is_no_bar_in_a_pipe(self) -> None:
        """There is no progress bar in a pipe, and none with ``--quiet``."""
        self.assertEqual(self.bar(tty=False), "")
        self.assertEqual(self.bar(tty=True, quiet=True), "")
