"""What the threads of this process are executing: places in the code, as plain values.

A thread that holds the interpreter for long delays these functions like everything else.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from linecache import getline
from types import FrameType
from typing import Final

__all__ = [
    "CodeLine",
    "StackSampler",
    "ThreadStack",
    "frames_by_thread",
    "thread_stacks",
    "waiting_place",
]

#: The most frames of a stack that are read; a recursion may have thousands.
MAX_FRAMES: Final = 200
#: Characters of a line of code that are shown.
_MAX_CODE: Final = 120
#: The most different stacks that a profile counts separately.
_MAX_STACKS: Final = 20_000

_HERE: Final = os.path.dirname(os.path.abspath(__file__)) + os.sep
_LIBRARY: Final = tuple(
    path + os.sep for path in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
)
#: Folders of installed packages; on most systems they are inside that of the library.
_PACKAGES: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
#: Twisted's thread pools: a thread that is only there waits for work.
_POOLS: Final = (
    os.path.join("twisted", "_threads", ""),
    os.path.join("twisted", "python", "threadpool.py"),
    os.path.join("twisted", "python", "context.py"),
)


@dataclass(frozen=True)
class CodeLine:
    """A line that a thread is at.

    Attributes:
        code: the text of the line; "" if the file cannot be read.
    """

    file: str
    line: int
    function: str
    code: str

    def __str__(self) -> str:
        code = f": {self.code}" if self.code else ""
        return f"{self.file}:{self.line} in {self.function}{code}"


@dataclass(frozen=True)
class ThreadStack:
    """A thread, and its calls, the innermost last.

    Attributes:
        stack: begins with the first call that is not of the library or of this package.
        idle: it waits for work: no call of its stack belongs to an application.
    """

    name: str
    ident: int
    idle: bool
    stack: tuple[CodeLine, ...]


def frames_by_thread() -> Mapping[int, FrameType]:
    """The innermost frame of each thread, by the thread's ident."""
    return sys._current_frames()


def thread_stacks() -> list[ThreadStack]:
    """All threads of this process, by their names."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    stacks = [
        ThreadStack(
            names.get(ident) or f"thread {ident}",  # one that Python did not start
            ident,
            is_idle(frame),
            tuple(map(place_of, _without_beginning(stack_of(frame)))),
        )
        for ident, frame in frames_by_thread().items()
    ]
    return sorted(stacks, key=lambda each: each.name)


def stack_of(frame: FrameType) -> list[FrameType]:
    """The calls that lead to a frame, the outermost first; of a deep stack the innermost part."""
    found: list[FrameType] = []
    at: FrameType | None = frame
    while at is not None and len(found) < MAX_FRAMES:
        found.append(at)
        at = at.f_back
    return found[::-1]


def _without_beginning(stack: list[FrameType]) -> list[FrameType]:
    """The calls from the first one that is foreign; all calls if there is none."""
    for at, frame in enumerate(stack):
        if _is_foreign(frame.f_code.co_filename):
            return stack[at:]
    return stack


def is_idle(frame: FrameType) -> bool:
    """Whether a thread waits for work: nothing but the library and a pool is on its stack."""
    return not any(
        _is_foreign(each.f_code.co_filename) and not _is_pool(each.f_code.co_filename)
        for each in stack_of(frame)
    )


def waiting_place(frame: FrameType) -> tuple[CodeLine, CodeLine | None]:
    """What a thread waits for, in the words of its application.

    Returns:
        The innermost line of the application: outside the standard library, installed packages and
        this package; of a thread that has none, the innermost line of a package.  Then the
        innermost line of all, if that is another one.
    """
    inner = stack_of(frame)[::-1]
    files = [each.f_code.co_filename for each in inner]
    own = next((each for each, file in zip(inner, files, strict=True) if _is_own(file)), None)
    if own is None:
        foreign = zip(inner, files, strict=True)
        own = next((each for each, file in foreign if _is_foreign(file)), inner[0])
    return place_of(own), None if own is inner[0] else place_of(inner[0])


def place_of(frame: FrameType) -> CodeLine:
    """The line that a frame is at."""
    file = frame.f_code.co_filename
    line = frame.f_lineno or 0  # None in code that has no lines
    code = getline(file, line, frame.f_globals).strip()[:_MAX_CODE] if line else ""
    return CodeLine(file, line, frame.f_code.co_name, code)


def _is_own(file: str) -> bool:
    """Whether a file is the application's own: neither the library's nor a package's."""
    return _is_foreign(file) and not any(folder in file for folder in _PACKAGES)


def _is_foreign(file: str) -> bool:
    """Whether a file is neither of the standard library nor of this package."""
    if any(folder in file for folder in _PACKAGES) and not file.startswith(_HERE):
        return True
    return not file.startswith((*_LIBRARY, _HERE, "<frozen"))


def _is_pool(file: str) -> bool:
    return any(part in file for part in _POOLS)


class StackSampler:
    """Counts where the threads of this process are, in a thread of its own.

    Args:
        seconds: how long.
        interval: seconds between two samples.
        now: seconds of a clock.
    """

    def __init__(
        self,
        seconds: float,
        interval: float = 0.01,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._interval = interval
        self._now = now
        self._stopped = threading.Event()
        self._counts: Counter[tuple[str, ...]] = Counter()

    def stop(self) -> None:
        """Stop taking samples."""
        self._stopped.set()

    def start(self, done: Callable[[str], object]) -> None:
        """Take the samples; then call ``done``, in that thread, with what `folded` returns."""

        def run() -> None:
            self.sample()
            done(self.folded())

        threading.Thread(target=run, name="profile", daemon=True).start()

    def sample(self) -> None:
        """Take the samples (any thread)."""
        until = self._now() + self._seconds
        while not self._stopped.is_set() and self._now() < until:
            self._take()
            self._stopped.wait(self._interval)

    def _take(self) -> None:
        own = threading.get_ident()
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for ident, frame in frames_by_thread().items():
            if ident == own:
                continue
            name = _plain_text(names.get(ident, f"thread {ident}"))
            calls = (
                ("idle",)
                if is_idle(frame)
                else tuple(map(_label, _without_beginning(stack_of(frame))))
            )
            self.note((name, *calls))

    def note(self, stack: tuple[str, ...], count: int = 1) -> None:
        """Count a stack; of too many different ones only the thread is counted."""
        if stack not in self._counts and len(self._counts) >= _MAX_STACKS:
            stack = (stack[0], "(other stacks)")
        self._counts[stack] += count

    def folded(self, most: int = 1 << 20) -> str:
        """The stacks in the format that tools for flame graphs read, the most frequent first.

        Each line is ``thread;call;call N``.

        Args:
            most: characters; rare stacks beyond that are counted in one line.
        """
        lines, size, left = [], 0, 0
        for stack, count in self._counts.most_common():
            line = f"{';'.join(stack)} {count}"
            size += len(line) + 1
            if size <= most:
                lines.append(line)
            else:
                left += count
        return "\n".join([*lines, *([f"(other stacks) {left}"] if left else [])])


def _label(frame: FrameType) -> str:
    """A call in a folded stack."""
    code = frame.f_code
    folder, file = os.path.split(code.co_filename)
    where = f"{os.path.basename(folder)}/{file}" if folder else file
    return _plain_text(f"{code.co_name} ({where}:{frame.f_lineno or 0})")


def _plain_text(text: str) -> str:
    """Text for a folded stack, in which a semicolon or a line end would be another call."""
    text = text.replace(";", ",")
    return text if text.isprintable() else ascii(text)
