"""From a read-only server, look for one that is part of a quorum."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from zkservice.client.four_letter import ask
from zkservice.client.settings import Settings
from zkservice.errors import ConnectTimeoutError
from zkservice.wire.hosts import Address

# Seconds between two rounds of questions (ClientCnxn.java).
_FIRST_DELAY: Final = 0.1
_LAST_DELAY: Final = 60.0
#: Seconds that one server has to answer.
_PATIENCE: Final = 1.0


async def find_writable(
    reactor: Any,
    settings: Settings,
    current: Address,
    random: Random,
    wanted: Callable[[], bool],
) -> Address | None:
    """Ask the other servers in turn, until one says that it takes writes.

    Cancelling it closes what connection it has.

    Args:
        reactor: connects, and tells the time.
        settings: have the servers.
        current: the one that is not asked.
        random: shuffles them, unless the settings say otherwise, and spreads the waits.
        wanted: whether to go on; an endpoint that is cancelled fails like any other.

    Returns:
        The server; None if it is not wanted any more.
    """
    others = [address for address in settings.ensemble.addresses if address != current]
    if settings.shuffle:
        random.shuffle(others)
    delay = _FIRST_DELAY
    while wanted():
        await deferLater(reactor, delay * random.uniform(0.5, 1.0), lambda: None)
        delay = min(delay * 2, _LAST_DELAY)
        for address in others:
            if wanted() and await _is_writable(reactor, settings, address):
                return address
    return None


async def _is_writable(reactor: Any, settings: Settings, address: Address) -> bool:
    def too_late(_: object, __: float) -> str:
        raise ConnectTimeoutError

    asking = Deferred.fromCoroutine(ask(reactor, address, "isro", _PATIENCE, settings.tls))
    try:
        answer = await asking.addTimeout(_PATIENCE, reactor, onTimeoutCancel=too_late)
        return answer.strip() == "rw"
    except CancelledError:
        raise
    except Exception:  # noqa: BLE001, whatever it is, this one is of no use now
        return False
