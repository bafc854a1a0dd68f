"""Replace a file in one step: its readers see the old contents or the new ones."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from typing import BinaryIO, Final

__all__ = ["replacing"]

#: The temporary file for ``web.json`` is named ``.web.json.RANDOM.new``.  No glob such as
#: ``*.json`` or ``*`` matches it, so programs that read a whole directory do not read it.
_SUFFIX: Final = ".new"


@contextmanager
def replacing(name: str) -> Iterator[BinaryIO]:
    """Open a new file, which replaces another one when the block ends without an error.

    Only its owner can read the new file, unless the block changes its mode.  It is locked while it
    is written.  Temporary files that no process has locked were left by killed processes, and are
    removed.

    Args:
        name: the file to replace, or to create.  A symbolic link is replaced by the file.

    Raises:
        OSError: the file cannot be written or replaced.
    """
    folder, base = os.path.split(name)
    prefix = f".{base}."
    _remove_leftovers(folder or ".", prefix)
    descriptor, temporary = _create_locked(folder or ".", prefix)
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.replace(temporary, name)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _create_locked(folder: str, prefix: str) -> tuple[int, str]:
    """Create and lock a temporary file; returns its descriptor and its path."""
    while True:
        descriptor, path = tempfile.mkstemp(dir=folder, prefix=prefix, suffix=_SUFFIX)
        try:
            flock(descriptor, LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return descriptor, path
        except BaseException:
            os.close(descriptor)
            with suppress(OSError):
                os.unlink(path)
            raise
        # Before it was locked, another process took it for a leftover and removed it.
        os.close(descriptor)


def _remove_leftovers(folder: str, prefix: str) -> None:
    temporary = re.compile(rf"{re.escape(prefix)}[a-z0-9_]{{8}}{re.escape(_SUFFIX)}")
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if temporary.fullmatch(entry.name):
                with suppress(OSError):  # it is locked, or another user's
                    _remove_unless_locked(entry.path)


def _remove_unless_locked(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
        os.unlink(path)
    finally:
        os.close(descriptor)
