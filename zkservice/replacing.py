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

#: No glob such as ``*.json`` or ``*`` matches the names, so programs that read a whole directory
#: do not read a file that is being written.
_SUFFIX: Final = ".new"


@contextmanager
def replacing(name: str) -> Iterator[BinaryIO]:
    """Open a new file, which replaces another one when the block ends without an error.

    Only the owner may read it until its mode is changed.  Temporary files of processes that were
    killed here are removed: they are not locked.

    Args:
        name: the file to replace; a symbolic link would itself be replaced.

    Raises:
        OSError: the file cannot be written or replaced.
    """
    folder, base = os.path.split(name)
    prefix = f".{base}."
    _remove_leftovers(folder or ".", prefix)
    descriptor, temporary = tempfile.mkstemp(dir=folder or ".", prefix=prefix, suffix=_SUFFIX)
    try:
        with open(descriptor, "wb") as file:
            flock(descriptor, LOCK_EX)
            yield file
            file.flush()
            os.replace(temporary, name)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _remove_leftovers(folder: str, prefix: str) -> None:
    temporary = re.compile(rf"{re.escape(prefix)}[a-z0-9_]{{8}}{re.escape(_SUFFIX)}")
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if temporary.fullmatch(entry.name):
                with suppress(OSError):  # it is being written, or another user's
                    _remove_unless_locked(entry.path)


def _remove_unless_locked(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
        os.unlink(path)
    finally:
        os.close(descriptor)
