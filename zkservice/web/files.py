"""PEP 3333's ``wsgi.file_wrapper``: a file that the kernel can send to the client."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Any

from zkservice.web.file_segments import FileSegment

__all__ = ["FileWrapper"]


class FileWrapper:
    """An iterable of a file's blocks; a regular file is sent by the kernel instead.

    Args:
        filelike: an object with ``read``; closed with the response if it has ``close``.
        block_size: bytes to read at a time, if the kernel cannot send the file.
    """

    def __init__(self, filelike: Any, block_size: int = 65536) -> None:
        self._filelike = filelike
        self._block_size = block_size
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self._filelike.read(self._block_size), b"")

    def segment(self, most: int | None) -> FileSegment | None:
        """The rest of the file, at most ``most`` bytes; None if the kernel cannot send it."""
        try:
            descriptor = self._filelike.fileno()
            status = os.fstat(descriptor)
            offset = self._filelike.tell()
        except (AttributeError, OSError, ValueError):
            return None  # the object has no descriptor
        if not stat.S_ISREG(status.st_mode) or hasattr(self._filelike, "encoding"):
            return None
        if not _has_size(descriptor, status.st_size):
            return None
        size = max(0, status.st_size - offset)
        return FileSegment.of(descriptor, offset, size if most is None else min(size, most))


def _has_size(descriptor: int, size: int) -> bool:
    """Whether a file is as long as its status says.

    Files in /proc have contents but a size of 0, and files in /sys are shorter than their 4096.
    """
    try:
        return size > 0 and len(os.pread(descriptor, 1, size - 1)) == 1
    except OSError:
        return False
