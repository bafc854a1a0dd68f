"""Notice that files change, by looking at their times and sizes."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime

from zkservice.deferreds import Alarm

__all__ = ["FileWatch", "expand", "stamp_of"]

#: Seconds between two scans; a scan of a thousand files takes about 2 ms.
_SCAN_INTERVAL: Final = 0.3
#: The patterns are expanded in every third scan only: they may stand for large trees.
_SCANS_PER_EXPANSION: Final = 3


def stamp_of(path: str) -> str | None:
    """A text that differs after a change of the file; None if the file does not exist."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    # With the inode's number, because editors write another file and rename it.
    return f"{found.st_mtime_ns} {found.st_size} {found.st_ino}"


def expand(pattern: str) -> list[str]:
    """The files that match a pattern, in which ``**`` stands for any folders."""
    return glob.glob(pattern, recursive=True)


class FileWatch:
    """Polls files, and the files that match patterns.

    Files are never forgotten: watching one that is not needed any more does no harm.

    Args:
        clock: schedules the scans.
        changed: called with the paths that have changed since the last scan.
        patterns: globs; a file that appears or vanishes is a change, too.
        stamp: returns a value that differs after a change of the file.
        expand: returns the files that match a pattern.
    """

    def __init__(
        self,
        clock: IReactorTime,
        changed: Callable[[list[str]], object],
        patterns: Iterable[str] = (),
        stamp: Callable[[str], Any] = stamp_of,
        expand: Callable[[str], list[str]] = expand,
    ) -> None:
        self._changed = changed
        self._stamp = stamp
        self._expand = expand
        self._stamps: dict[str, Any] = {}
        self._patterns: dict[str, set[str]] = {}
        self._scans = 0
        self._alarm = Alarm(clock, self._scan)
        self.watch((), patterns)

    def start(self) -> None:
        """Start polling."""
        self._alarm.set(_SCAN_INTERVAL)

    def stop(self) -> None:
        """Stop polling."""
        self._alarm.cancel()

    def watch(self, files: Iterable[str], patterns: Iterable[str] = ()) -> None:
        """Poll these, too.  Files that are polled already keep their last stamp."""
        for path in files:
            if path not in self._stamps:
                self._stamps[path] = self._stamp(path)
        for pattern in patterns:
            if pattern not in self._patterns:
                self._patterns[pattern] = set(self._expand(pattern))
                self.watch(self._patterns[pattern])

    def watch_since(self, stamps: Mapping[str, Any], found: Mapping[str, Iterable[str]]) -> None:
        """Poll these, too; what has changed since another process looked at them is a change.

        Args:
            stamps: of the files, as the other process saw them.
            found: the files that matched each pattern.
        """
        self._stamps = {**stamps, **self._stamps}
        for pattern, paths in found.items():
            self._patterns.setdefault(pattern, set(paths))

    def _scan(self) -> None:
        self._scans += 1
        changed = [] if self._scans % _SCANS_PER_EXPANSION else self._appeared()
        for path, before in self._stamps.items():
            now = self._stamp(path)
            if now != before:
                self._stamps[path] = now
                changed.append(path)
        self._alarm.set(_SCAN_INTERVAL)
        if changed:
            self._changed(changed)

    def _appeared(self) -> list[str]:
        """Files that match a pattern now and did not before."""
        appeared = []
        for pattern, before in self._patterns.items():
            now = set(self._expand(pattern))
            appeared += sorted(now - before - self._stamps.keys())
            self._patterns[pattern] = now
        self.watch(appeared)
        return appeared
