"""The counters of a client, and the snapshot that it returns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

#: Upper bounds of the latency histogram's cells, in seconds; one more cell counts the rest.
LATENCY_BOUNDS: Final = tuple(0.0001 * 2**power for power in range(18))

_CELLS: Final = len(LATENCY_BOUNDS) + 1


@dataclass(frozen=True)
class Statistics:
    """Counters since the client was made, and gauges of this moment."""

    requests: int  #: requests sent, without pings and the handshake
    replies: int  #: replies received, also those with an error
    errors: Mapping[int, int]  #: replies with an error, by the server's code
    events: int  #: watch events received
    pings: int  #: pings sent
    connections: int  #: connections that a server has accepted
    expiries: int  #: sessions that ended without `close`
    outstanding: int  #: requests that are sent, whose reply has not come yet
    waiting: int  #: requests that are not sent yet
    watches: int  #: watches that are set now
    latency: tuple[int, ...]  #: replies by the time they took; `LATENCY_BOUNDS` has the bounds
    latency_sum: float  #: seconds that all replies took


@dataclass
class ClientCounters:
    """The running counts."""

    requests: int = 0
    replies: int = 0
    errors: Counter[int] = field(default_factory=Counter)
    events: int = 0
    pings: int = 0
    connections: int = 0
    expiries: int = 0
    latency: list[int] = field(default_factory=lambda: [0] * _CELLS)
    latency_sum: float = 0.0

    def replied(self, seconds: float) -> None:
        """Count a reply that came so many seconds after its request."""
        self.replies += 1
        self.latency_sum += seconds
        # Cell 0 is for less than 0.1 ms, and each following bound is twice the one before.
        cell = int(seconds * 10_000).bit_length()
        self.latency[cell if cell < _CELLS else -1] += 1

    def refused(self, code: int) -> None:
        """Count a reply with an error code."""
        self.errors[code] += 1

    def snapshot(self, outstanding: int, waiting: int, watches: int) -> Statistics:
        """An immutable copy of the present counts."""
        return Statistics(
            requests=self.requests,
            replies=self.replies,
            errors=dict(self.errors),
            events=self.events,
            pings=self.pings,
            connections=self.connections,
            expiries=self.expiries,
            outstanding=outstanding,
            waiting=waiting,
            watches=watches,
            latency=tuple(self.latency),
            latency_sum=self.latency_sum,
        )
