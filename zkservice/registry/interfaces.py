"""The addresses of this machine's network interfaces."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from collections.abc import Iterator
from typing import Final

#: Bytes of a ``sockaddr`` before the address itself, and of the address, by family.
_LAYOUT: Final = {socket.AF_INET: (4, 4), socket.AF_INET6: (8, 16)}


class _Entry(ctypes.Structure):
    """The first members of ``struct ifaddrs``, which are the same on Linux, macOS and the BSDs."""


_Entry._fields_ = [
    ("next", ctypes.POINTER(_Entry)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
]


def interface_addresses(family: socket.AddressFamily = socket.AF_INET) -> list[str]:
    """Read the addresses of this machine's interfaces.

    It uses netifaces, except in a free-threaded Python, where it calls the C library.  There,
    importing netifaces would turn the GIL on for the whole process, because its C module does
    not declare that it runs without the GIL.

    Args:
        family: ``AF_INET`` or ``AF_INET6``.
    """
    gil_enabled = getattr(sys, "_is_gil_enabled", lambda: True)()  # since 3.13
    return netifaces_addresses(family) if gil_enabled else kernel_addresses(family)


def netifaces_addresses(family: socket.AddressFamily) -> list[str]:
    """Read the addresses with netifaces."""
    import netifaces

    return [
        entry["addr"].partition("%")[0]
        for interface in netifaces.interfaces()
        for entry in netifaces.ifaddresses(interface).get(int(family), ())
        if "addr" in entry
    ]


def kernel_addresses(family: socket.AddressFamily) -> list[str]:
    """Read the addresses with getifaddrs(3).

    Raises:
        OSError: the C library cannot read them.
    """
    library = ctypes.CDLL(None, use_errno=True)
    library.freeifaddrs.argtypes = [ctypes.POINTER(_Entry)]
    first = ctypes.POINTER(_Entry)()
    if library.getifaddrs(ctypes.byref(first)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        offset, size = _LAYOUT[family]
        return [
            socket.inet_ntop(family, ctypes.string_at(address + offset, size))
            for address in _socket_addresses(first)
            if _family(address) == family
        ]
    finally:
        library.freeifaddrs(first)


def _socket_addresses(entry: ctypes._Pointer[_Entry]) -> Iterator[int]:
    """Pointers to each ``sockaddr`` of the list; an interface may have no address."""
    while entry:
        if entry.contents.address:
            yield entry.contents.address
        entry = entry.contents.next


def _family(address: int) -> int:
    """Read ``sa_family``: two bytes on Linux; on the BSDs the second byte, after the length."""
    if sys.platform == "linux":
        return ctypes.c_ushort.from_address(address).value
    return ctypes.c_ubyte.from_address(address + 1).value
