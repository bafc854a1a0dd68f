"""While connected to a read-only server, look for one that accepts writes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

from twisted.internet.task import deferLater

from zkservice.client.four_letter import ask_or_none
from zkservice.client.settings import ClientSettings
from zkservice.deferreds import Backoff
from zkservice.wire.hosts import Address

# Seconds between two rounds (ClientCnxn.java).
_FIRST_DELAY: Final = 0.1
_LAST_DELAY: Final = 60.0
#: Seconds that one server has to reply.
_TIMEOUT: Final = 1.0


async def find_writable(
    reactor: Any,
    settings: ClientSettings,
    current: Address,
    random: Random,
    keep_looking: Callable[[], bool],
) -> Address | None:
    """Ask the other servers in turn, until one accepts writes.

    Cancelling it closes what connection it has.

    Args:
        reactor: connects, and tells the time.
        settings: of the client.
        current: the read-only server, which is left out.
        random: shuffles the others, unless the settings say otherwise, and jitters the pauses.
        keep_looking: returns whether to continue; needed because an attempt that is cancelled
            looks like one that failed.

    Returns:
        The server; None once ``keep_looking`` returns False.
    """
    others = [address for address in settings.ensemble.addresses if address != current]
    if settings.shuffle:
        random.shuffle(others)
    backoff = Backoff(_FIRST_DELAY, _LAST_DELAY, random.random)
    while keep_looking():
        await deferLater(reactor, backoff.next(), lambda: None)
        for address in others:
            if keep_looking() and await _is_writable(reactor, settings, address):
                return address
    return None


async def _is_writable(reactor: Any, settings: ClientSettings, address: Address) -> bool:
    reply = await ask_or_none(reactor, address, "isro", _TIMEOUT, settings.tls)
    return reply is not None and reply.strip() == "rw"
