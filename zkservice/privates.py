"""What the package uses of its dependencies although they do not document it.

One function each, which says what it relies on and with which version that was checked;
``tests/test_privates.py`` has a test for each, so that a new version that differs is noticed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import ISSLTransport

__all__ = ["immediate_write"]


def immediate_write(transport: Any) -> Callable[[bytes], int | BaseException] | None:
    """The function with which a transport sends bytes at once, past its own buffer.

    It returns how many bytes the kernel took, or the exception of a lost connection.  It may
    be called only while nothing is in the transport's buffer; the rest of the bytes must be
    given to ``write``.  None for transports that have no such function.

    Relies on ``FileDescriptor.writeSomeData`` (checked with Twisted 26.10), which subclasses
    implement and only ``doWrite`` calls.  A TLS transport may look like the socket's one
    below it, but has to encrypt the bytes first, so it is left alone.
    """
    if not isinstance(transport, FileDescriptor) or ISSLTransport.providedBy(transport):
        return None
    write: Callable[[bytes], int | BaseException] = transport.writeSomeData
    return write
