"""The order of servers, the addresses behind a name, and the pauses between rounds."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, Final

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IReactorPluggableNameResolver, IResolutionReceiver
from zope.interface import implementer

from zkservice.deferreds import Backoff
from zkservice.wire.hosts import Address

#: Seconds; about the first pause between two rounds.
_FIRST_DELAY: Final = 0.05


class ServerOrder:
    """The servers in the order in which they are tried.

    Args:
        addresses: as the connection string has them.
        random: shuffles them, so that not all clients begin with the same one; None keeps
            their order.
    """

    def __init__(self, addresses: tuple[Address, ...], random: Random | None) -> None:
        self._addresses = list(addresses)
        if random is not None:
            random.shuffle(self._addresses)
        self._next = 0

    def __len__(self) -> int:
        return len(self._addresses)

    def round(self) -> Iterator[Address]:
        """Every server once, beginning after the one that was tried last."""
        for _ in range(len(self._addresses)):
            address = self._addresses[self._next]
            self._next = (self._next + 1) % len(self._addresses)
            yield address

    def prefer(self, address: Address) -> None:
        """Begin the next round with this one."""
        self._next = self._addresses.index(address)


def shuffled(hosts: list[str], random: Random | None) -> list[str]:
    """The addresses behind one name, shuffled; with ``random`` None in the resolver's order.

    The family that the resolver put first stays first: it knows what this machine can reach.
    """
    if random is None:
        return hosts
    first = isIPv6Address(hosts[0])
    shuffled = random.sample(hosts, len(hosts))
    return sorted(shuffled, key=lambda host: isIPv6Address(host) is not first)


def reconnect_backoff(session_timeout: float, random: Random) -> Backoff:
    """The pauses between rounds: from 0.05 s up to a tenth of the session's time-out.

    With longer pauses, a session could expire although a server is available again.  Pauses
    are at most 5 s, and have jitter against thundering herds.
    """
    longest = min(5.0, max(0.1, session_timeout / 10))
    return Backoff(_FIRST_DELAY, longest, random.random)


@implementer(IResolutionReceiver)
class _Collector:
    """Gathers the addresses of one name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._hosts: list[str] = []
        self.done: Deferred[list[str]] = Deferred(lambda _: None)

    def resolutionBegan(self, resolutionInProgress: Any) -> None:  # noqa: N802, N803
        """Do nothing; `resolutionComplete` fires the result."""

    def addressResolved(self, address: Any) -> None:  # noqa: N802
        """Add an address."""
        if isinstance(address, IPv4Address | IPv6Address):
            self._hosts.append(address.host)

    def resolutionComplete(self) -> None:  # noqa: N802
        """Fire `done` with the addresses, or fail it if there are none."""
        if self.done.called:
            return  # cancelled
        if self._hosts:
            self.done.callback(self._hosts)
        else:
            self.done.errback(DNSLookupError(f"{self._name} has no address"))


def resolve(reactor: IReactorPluggableNameResolver, host: str) -> Deferred[list[str]]:
    """The IP addresses behind a name, resolved anew each time: servers move.

    Fails with:
        DNSLookupError: the name has no address.
    """
    collector = _Collector(host)
    if isIPAddress(host) or isIPv6Address(host):
        collector.done.callback([host])
    else:
        reactor.nameResolver.resolveHostName(collector, host)
    return collector.done
