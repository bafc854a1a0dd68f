"""The output of the command line: lines, colours, a progress bar, questions."""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TextIO

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.main import CONNECTION_LOST
from twisted.python.failure import Failure
from zope.interface import implementer

from zkservice.tree.plan_text import Effect, PlanLine

#: Seconds before a progress bar appears, and between two of its states.
PROGRESS_DELAY: Final = 0.4
REFRESH_INTERVAL: Final = 0.1

_RED, _GREEN, _PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[0m"
_COLOURS: Final = {Effect.REMOVED: _RED, Effect.ADDED: _GREEN}
_CLEAR: Final = "\r\x1b[K"
_BAR_WIDTH: Final = 30


@dataclass
class Terminal:
    """The streams of a program: results go to ``stdout``, everything else to ``stderr``."""

    stdin: TextIO = field(default_factory=lambda: sys.stdin)
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    clock: Callable[[], float] = time.monotonic
    program: str = "zkservice"
    quiet: bool = False
    blocked: bool = False  # while this waits for input and the reactor does not run

    @property
    def interactive(self) -> bool:
        """Whether a user can answer a question."""
        return self.stdin.isatty() and self.stderr.isatty()

    def out(self, text: str, end: str = "\n") -> None:
        """Print a result."""
        self.stdout.write(text + end)

    def change(self, line: PlanLine) -> None:
        """Print a line about a change: what is removed in red, what is added in green."""
        colour = _COLOURS.get(line.effect)
        if colour is not None and self.stdout.isatty() and "NO_COLOR" not in self.environ:
            self.out(f"{colour}{line}{_PLAIN}")
        else:
            self.out(line)

    def table(self, heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows in columns; at a terminal, lines end where it does.

        Args:
            heading: the names of the columns; empty for none.
            rows: printable text.
        """
        lines = [heading, *rows] if heading else rows
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        limit = self._columns() if self.stdout.isatty() else None
        for row in lines:
            line = "  ".join(map(str.ljust, row, widths)).rstrip()
            cut = limit is not None and len(line) > limit
            self.out(f"{line[: max(limit or 0, 1) - 1]}…" if cut else line)

    def _columns(self) -> int:
        given = self.environ.get("COLUMNS", "")
        if given.isascii() and given.isdigit() and 0 < int(given) < 10_000:
            return int(given)
        try:
            return os.get_terminal_size(self.stdout.fileno()).columns or 80
        except (OSError, ValueError):  # it is not a terminal, or has no descriptor
            return 80

    def out_json(self, value: Any) -> None:
        """Print a result for programs, in JSON."""
        self.out(json.dumps(value, sort_keys=True))

    def note(self, line: str) -> None:
        """Print a summary or a hint, unless ``--quiet`` was given."""
        if not self.quiet:
            self.stderr.write(line + "\n")

    def warn(self, text: str) -> None:
        """Print in one line what is allowed but may be a mistake, also with ``--quiet``."""
        self.stderr.write(f"{self.program}: {' '.join(text.split())}\n")

    def error(self, text: str) -> None:
        """Print in one line what went wrong."""
        line = f"{self.program}: {' '.join(text.split())}"
        if self.stderr.isatty() and "NO_COLOR" not in self.environ:
            line = f"{_RED}{line}{_PLAIN}"
        self.stderr.write(line + "\n")

    def read_all(self) -> str:
        """Read all of standard input; Ctrl-C raises a CancelledError."""
        self.blocked = True
        try:
            return self.stdin.read()
        finally:
            self.blocked = False

    def ask(self, question: str, reactor: Any) -> Deferred[bool]:
        """Ask a question; fires with whether the reply is yes.  The reactor runs meanwhile."""
        self.stderr.write(f"{question} [y/N] ")
        self.stderr.flush()
        line = _TypedLine(self.stdin.fileno(), reactor)
        return line.typed.addCallback(lambda reply: reply.strip().lower() in (b"y", b"yes"))

    def when_abandoned(self, reactor: Any) -> Deferred[None]:
        """Fires when the program that reads the output from a pipe has ended.

        It never fires if the output is not a pipe.  Cancel it when it is not needed any more.
        """
        try:
            descriptor = self.stdout.fileno()
            piped = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        except (OSError, ValueError):  # a stream without a descriptor
            piped = False
        return _PipeWatch(descriptor, reactor).gone if piped else Deferred()

    def progress(self, what: str) -> ProgressBar:
        """A progress bar for a long operation; shown only at a terminal, without ``--quiet``."""
        return ProgressBar(self, what, self.stderr.isatty() and not self.quiet)


@implementer(IReadDescriptor)
class _PipeWatch:
    """Notices that the other end of a pipe was closed although nothing is written."""

    def __init__(self, descriptor: int, reactor: Any) -> None:
        self._descriptor = descriptor
        self._reactor = reactor
        self.gone: Deferred[None] = Deferred(lambda _: reactor.removeReader(self))
        reactor.addReader(self)

    def fileno(self) -> int:
        """The file descriptor, for the reactor."""
        return self._descriptor

    def logPrefix(self) -> str:  # noqa: N802, the reactor's name
        """The name for the log."""
        return "pipe"

    def doRead(self) -> Any:  # noqa: N802, the reactor's name
        """The writing end is readable only when the reading end is closed."""
        return CONNECTION_LOST

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802, the reactor's name
        """The reader has ended."""
        self._reactor.removeReader(self)
        if not self.gone.called:
            self.gone.callback(None)


@implementer(IReadDescriptor)
class _TypedLine:
    """Reads a line that the user types, while the reactor runs."""

    def __init__(self, descriptor: int, reactor: Any) -> None:
        self._descriptor = descriptor
        self._reactor = reactor
        self._data = b""
        self.typed: Deferred[bytes] = Deferred(lambda _: self._stop_reading())
        reactor.addReader(self)

    def fileno(self) -> int:
        """The file descriptor, for the reactor."""
        return self._descriptor

    def logPrefix(self) -> str:  # noqa: N802, the reactor's name
        """The name for the log."""
        return "terminal"

    def doRead(self) -> None:  # noqa: N802, the reactor's name
        """Read what was typed, or the end of the input."""
        data = os.read(self._descriptor, 4096)
        self._data += data
        if not data or b"\n" in data:
            self._stop_reading()
            self.typed.callback(self._data)

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802, the reactor's name
        """The terminal was closed: the reply is empty."""
        self._stop_reading()
        if not self.typed.called:
            self.typed.callback(b"")

    def _stop_reading(self) -> None:
        self._reactor.removeReader(self)


class ProgressBar:
    """Shows progress on one line, which is cleared at the end."""

    def __init__(self, terminal: Terminal, what: str, visible: bool) -> None:
        self._terminal = terminal
        self._what = what
        self._visible = visible
        self._began = terminal.clock()
        self._next = self._began + PROGRESS_DELAY
        self._shown = False

    def __call__(self, done: int, total: int) -> None:
        """Report how much is done, of how much."""
        now = self._terminal.clock()
        if self._visible and now >= self._next:
            self._next = now + REFRESH_INTERVAL
            self._show(done, total, now - self._began)

    def _show(self, done: int, total: int, seconds: float) -> None:
        filled = _BAR_WIDTH * done // max(total, 1)
        bar = "#" * filled + "." * (_BAR_WIDTH - filled)
        rate = done / max(seconds, 0.001)
        text = f"{self._what} [{bar}] {done:,} of {total:,}, {rate:,.0f}/s"
        self._terminal.stderr.write(_CLEAR + text)
        self._terminal.stderr.flush()
        self._shown = True

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        """Clear the line of the bar."""
        if self._shown:
            self._terminal.stderr.write(_CLEAR)
            self._terminal.stderr.flush()
