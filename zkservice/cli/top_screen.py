"""The frames of ``zkservice top``, and the terminal that shows them."""

from __future__ import annotations

import io
import os
import termios
import tty
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from types import TracebackType
from typing import Any, Final

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from zkservice.cli.terminal import Terminal
from zkservice.cli.top_model import ProcessRow, RequestRow
from zkservice.errors import ConfigurationError
from zkservice.web.printable import printable

__all__ = ["Keys", "LiveScreen", "Size", "render", "screen_size"]

#: Escape sequences: show the alternate screen without a cursor; move to its first cell; clear the
#: rest of the line, and of the screen; show the normal screen with the cursor again.
_ENTER: Final = "\x1b[?1049h\x1b[?25l"
_HOME: Final = "\x1b[H"
_CLEAR_LINE: Final = "\x1b[K"
_CLEAR_BELOW: Final = "\x1b[J"
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"

_HEADINGS: Final = ("SERVICE", "STATE", "REQ/S", "P50", "P99", "BUSY", "QUEUE", "CONN", "RSS")
#: How wide the columns are, the most important first: a narrow terminal shows those that fit.
_WIDTHS: Final[Mapping[str, int]] = {
    **{"SERVICE": 20, "STATE": 11, "REQ/S": 8, "BUSY": 6, "P99": 6},
    **{"QUEUE": 6, "P50": 6, "CONN": 5, "RSS": 6},
}
#: Seconds after which a request is shown as slow.
_SLOW: Final = 1.0


@dataclass(frozen=True)
class Size:
    """Columns and lines of a terminal."""

    columns: int = 80
    lines: int = 24


def screen_size(terminal: Terminal) -> Size:
    """The size of a terminal; 80x24 if it is not a terminal."""
    try:
        found = os.get_terminal_size(terminal.stdout.fileno())
    except (OSError, ValueError):
        return Size()
    return Size(max(20, found.columns), max(5, found.lines)) if found.columns else Size()


def render(
    title: str,
    rows: Sequence[ProcessRow],
    requests: Sequence[RequestRow],
    size: Size,
    colour: bool = True,
) -> list[str]:
    """The lines of a frame, cut to the size of the terminal.

    Raises:
        ConfigurationError: rich is not installed.
    """
    try:
        from rich.console import Console
    except ImportError:
        raise ConfigurationError("zkservice top needs rich: pip install 'zkservice[top]'") from None
    out = io.StringIO()
    console = Console(
        file=out,
        width=size.columns,
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
        emoji=False,
        markup=False,
        legacy_windows=False,
        _environ={},
    )
    console.print(title, style="bold", no_wrap=True, overflow="ellipsis")
    console.print(_processes(rows[: max(1, size.lines - 4)], _fitting_headings(size.columns)))
    for row in rows:
        if row.error:
            line = _text(f"{row.address}: {row.error}", "red")
            console.print(line, no_wrap=True, overflow="ellipsis")
    if requests:
        console.print()
        console.print(_requests(requests))
    return [line.rstrip() for line in out.getvalue().splitlines()][: size.lines]


def _fitting_headings(columns: int) -> list[str]:
    """The headings that a terminal has room for, in their order."""
    widths = accumulate(_WIDTHS.values())
    fit = {name for name, width in zip(_WIDTHS, widths, strict=True) if width <= columns}
    return [name for name in _HEADINGS if name in fit or name == "SERVICE"]


def _processes(rows: Sequence[ProcessRow], headings: Sequence[str]) -> Any:
    table = _table()
    for name in headings:
        ratio = {"SERVICE": 3, "STATE": 2}.get(name)
        side = "right" if ratio is None else "left"
        table.add_column(name, justify=side, ratio=ratio, no_wrap=True, overflow="ellipsis")
    for row in rows:
        cells = _cells(row)
        table.add_row(*[cells.get(name, "") for name in headings])
    return table


def _cells(row: ProcessRow) -> dict[str, Any]:
    """What is shown of a service, by the headings."""
    if row.error:
        return {"SERVICE": _text(row.address), "STATE": _text(row.state, "red")}
    all_busy = row.threads and row.busy >= row.threads
    return {
        "SERVICE": _text(row.address),
        "STATE": _text(row.state, "green" if row.state == "registered" else "yellow"),
        "REQ/S": "-" if row.requests is None else f"{row.requests:.1f}",
        "P50": _time(row.p50),
        "P99": _time(row.p99),
        "BUSY": _text(f"{row.busy}/{row.threads}", "red" if all_busy else ""),
        "QUEUE": _text(str(row.queued), "red" if row.queued else ""),
        "CONN": str(row.connections),
        "RSS": f"{row.rss / (1 << 20):.0f}M",
    }


def _requests(requests: Sequence[RequestRow]) -> Any:
    table = _table()
    table.add_column("AGE", justify="right", no_wrap=True)
    table.add_column("REQUEST", ratio=2, no_wrap=True, overflow="ellipsis")
    table.add_column("WAITS FOR", ratio=3, no_wrap=True, overflow="ellipsis")
    for row in requests:
        age = _text(_time(row.age), "red" if row.age >= _SLOW else "")
        table.add_row(age, _text(row.request), _text(row.waits_for))
    return table


def _table() -> Any:
    from rich.table import Table

    return Table(box=None, expand=True, pad_edge=False, header_style="dim")


def _text(text: str, style: str = "") -> Any:
    from rich.text import Text

    return Text(printable(text), style)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    return f"{seconds:.1f}s" if seconds < 100 else f"{seconds:.0f}s"


class LiveScreen:
    """Shows each frame in place of the last, and restores the terminal at the end.

    A terminal that cannot move its cursor (``TERM=dumb``) shows one frame below the other.

    Args:
        terminal: a terminal of both directions.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._can_move_cursor = terminal.environ.get("TERM", "dumb") not in ("", "dumb")
        self.colour = self._can_move_cursor and "NO_COLOR" not in terminal.environ
        self._old_settings: list[Any] | None = None

    def __enter__(self) -> LiveScreen:
        descriptor = self._terminal.stdin.fileno()
        self._old_settings = termios.tcgetattr(descriptor)
        tty.setcbreak(descriptor, termios.TCSANOW)
        changed = termios.tcgetattr(descriptor)
        # Disable Ctrl-Z: a suspended process would leave the terminal without cursor and echo.
        changed[6][termios.VSUSP] = b"\x00"
        termios.tcsetattr(descriptor, termios.TCSANOW, changed)
        if self._can_move_cursor:
            self._write(_ENTER)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._can_move_cursor:
                self._write(_LEAVE)
        except OSError:  # the terminal is gone
            pass
        finally:
            self._restore()

    def _restore(self) -> None:
        old, self._old_settings = self._old_settings, None
        if old is None:
            return
        with suppress(OSError, termios.error):  # the terminal is gone
            termios.tcsetattr(self._terminal.stdin.fileno(), termios.TCSANOW, old)

    def show(self, lines: Sequence[str]) -> None:
        """Show a frame."""
        if not self._can_move_cursor:
            self._write("\n".join([*lines, "", ""]))
            return
        # No line end behind the last line: the screen would scroll.
        self._write(_HOME + f"{_CLEAR_LINE}\r\n".join(lines) + _CLEAR_LINE + _CLEAR_BELOW)

    def _write(self, text: str) -> None:
        self._terminal.stdout.write(text)
        self._terminal.stdout.flush()


@implementer(IReadDescriptor)
class Keys:
    """Reads keys while the reactor runs.

    Args:
        descriptor: of the terminal.
        reactor: watches it.
        pressed: called with each piece that comes; with b"" at the end.
    """

    def __init__(self, descriptor: int, reactor: Any, pressed: Callable[[bytes], object]) -> None:
        self._descriptor = descriptor
        self._reactor = reactor
        self._pressed = pressed

    def start(self) -> None:
        """Begin to read."""
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Stop reading."""
        self._reactor.removeReader(self)

    def fileno(self) -> int:
        """The file descriptor, for the reactor."""
        return self._descriptor

    def logPrefix(self) -> str:  # noqa: N802, the reactor's name
        """The name for the log."""
        return "keys"

    def doRead(self) -> None:  # noqa: N802, the reactor's name
        """Read what was typed."""
        try:
            data = os.read(self._descriptor, 1024)
        except OSError:
            data = b""
        if not data:
            self.stop()
        self._pressed(data)

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802, the reactor's name
        """The terminal was closed."""
        self.stop()
        self._pressed(b"")
