"""Distinguish servers that have lost data from servers that have only lost their quorum.

Both close the connection during the handshake without a reply: one because this client has
seen newer data than it has (``ZooKeeperServer.processConnectRequest``), the other because it
does not serve at all.  In the first case the session is gone for good, in the second it is
continued as soon as there is a quorum.  The four-letter word ``srvr``, to which servers reply
unless configured otherwise, shows which of the two it is.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import Enum, auto
from typing import Any, Final

from zkservice.client.four_letter import ask_or_none
from zkservice.client.settings import ClientSettings
from zkservice.wire.hosts import Address

#: Seconds that a server has to reply.
_TIMEOUT: Final = 1.0

_ZXID: Final = re.compile(r"^Zxid: 0x([0-9a-f]{1,16})$", re.MULTILINE)
_NOT_SERVING: Final = ("not currently serving requests", "Mode: read-only")


class CloseReason(Enum):
    """Why a server closes the connection during the handshake."""

    NO_QUORUM = auto()  # it is not serving, or is read-only
    DATA_MISSING = auto()  # it serves, but lacks data that this client has seen
    OTHER = auto()  # it serves and has the data; perhaps it has too many connections
    UNKNOWN = auto()  # it does not reply to ``srvr``


async def find_close_reason(
    reactor: Any, settings: ClientSettings, address: Address, seen: int
) -> CloseReason:
    """Ask a server that has closed the connection during the handshake.

    Args:
        reactor: connects, and tells the time.
        settings: of the client.
        address: the server's.
        seen: the highest zxid that the session has seen.
    """
    reply = await ask_or_none(reactor, address, "srvr", _TIMEOUT, settings.tls)
    return CloseReason.UNKNOWN if reply is None else _reason(reply, seen)


def _reason(reply: str, seen: int) -> CloseReason:
    if any(text in reply for text in _NOT_SERVING):
        return CloseReason.NO_QUORUM
    zxid = _ZXID.search(reply)
    if zxid is None:
        return CloseReason.UNKNOWN
    return CloseReason.DATA_MISSING if int(zxid[1], 16) < seen else CloseReason.OTHER


class DataLoss:
    """The evidence that the ensemble has lost data, since the last connection.

    Args:
        addresses: of all servers.
    """

    def __init__(self, addresses: Collection[Address]) -> None:
        self._addresses = frozenset(addresses)
        self._missing_since: float | None = None
        self._silent_since: float | None = None  # when the first of the silent servers was asked
        self._silent: set[Address] = set()

    def reset(self) -> None:
        """Drop the evidence: a server has accepted the session, or there is a new one."""
        self._missing_since = None
        self.failed_otherwise()

    def failed_otherwise(self) -> None:
        """Note that a server failed in another way than by a silent close: it may have the data.

        So it is not certain any more that every server closes the connection.
        """
        self._silent_since = None
        self._silent.clear()

    def closed(self, address: Address, reason: CloseReason, now: float) -> None:
        """Note that a server has closed the connection during the handshake."""
        if reason is CloseReason.UNKNOWN:
            self._silent.add(address)
            self._silent_since = now if self._silent_since is None else self._silent_since
            return
        self.failed_otherwise()
        if reason is CloseReason.OTHER:
            self._missing_since = None  # the servers that lack data were only behind
        elif reason is CloseReason.DATA_MISSING and self._missing_since is None:
            self._missing_since = now

    def is_certain(self, now: float, limit: float) -> bool:
        """Whether the evidence has stood for more than ``limit`` seconds.

        A server that serves without the data proves that there is a quorum that has lost it,
        whatever the other servers do.  If no server replies to ``srvr``, the evidence is that all
        of them have closed the connection.
        """
        if self._missing_since is not None:
            return now - self._missing_since > limit
        all_silent = self._silent == self._addresses
        return all_silent and self._silent_since is not None and now - self._silent_since > limit
