"""Where the threads of this process are: places in the code, as plain values.

A thread that holds the interpreter for long delays these functions like everything else.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from linecache import getline
from types import FrameType
from typing import Final

__all__ = ["CodeLine", "ThreadStack", "frames_by_thread", "thread_stacks", "waiting_place"]

#: Frames of a stack that are looked at; a recursion may have thousands.
MAX_FRAMES: Final = 200
#: Characters of a line of code that are shown.
_MAX_CODE: Final = 120

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
            tuple(map(place_of, stack_of(frame))),
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
