"""PEP 3333's ``wsgi.file_wrapper``: a file that the kernel can send to the client."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Any

from zkservice.web.file_segments import FileSegment

__all__ = ["FileWrapper"]


class FileWrapper:
    """An iterable of a file's blocks; the server sends a regular file by itself.

    Args:
        filelike: anything with ``read``; closed with the response if it can be.
        block_size: bytes that are read at a time, if they have to be read.
    """

    def __init__(self, filelike: Any, block_size: int = 65536) -> None:
        self._filelike = filelike
        self._block_size = block_size
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self._filelike.read(self._block_size), b"")

    def segment(self, most: int | None) -> FileSegment | None:
        """What is left of the file, ``most`` bytes if that is given; None if it has to be read."""
        try:
            descriptor = self._filelike.fileno()
            status = os.fstat(descriptor)
            offset = self._filelike.tell()
        except (AttributeError, OSError, ValueError):
            return None  # no file, or none that the system knows
        if not stat.S_ISREG(status.st_mode) or hasattr(self._filelike, "encoding"):
            return None
        if not _has_size(descriptor, status.st_size):
            return None
        size = max(0, status.st_size - offset)
        return FileSegment.of(descriptor, offset, size if most is None else min(size, most))


def _has_size(descriptor: int, size: int) -> bool:
    """Whether a file is as long as its status says, which files of the kernel are not.

    Those in /proc have contents and a size of 0, those in /sys are shorter than their 4096.
    """
    try:
        return size > 0 and len(os.pread(descriptor, 1, size - 1)) == 1
    except OSError:
        return False
