"""Passive health checks: what this process has seen of each provider.

A provider that fails several times in a row is ejected: it is not used for a while, and for
longer each time.  At most half of the providers are ejected, because when more than that fail
the fault is likely to be on this side.  A new provider gets its full share only after a while,
since a process that has just started may still be loading code or filling caches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from zkservice.discovery.provider import Provider

__all__ = ["HealthRules", "ProviderHealth", "ProviderRecord", "ProviderUse"]

# Computing the candidates takes time in proportion to the providers, for one ejection as for many.
# So in a large service, ejections do not each compute them anew.

#: Up to this number of providers, an ejection changes the candidates immediately.
MAX_AT_ONCE: Final = 100
#: With more, the candidates are valid for this many seconds for each provider: 0.1 s for 1,000.
SECONDS_EACH: Final = 0.0001

#: Steps in which the weight of a new provider grows, from a tenth at the start to all of it.
STEPS: Final = 10


@dataclass(frozen=True)
class HealthRules:
    """When a provider is ejected, and how slowly a new one starts.

    Attributes:
        failures: failures in a row after which a provider is ejected.
        pause: seconds of the first ejection; each further one takes twice as long.
        longest_pause: seconds that an ejection takes at most.
        slow_start: seconds after which a new provider gets its full share; 0: at once.

    Raises:
        ValueError: an attribute is out of range.
    """

    failures: int = 2
    pause: float = 5.0
    longest_pause: float = 300.0
    slow_start: float = 10.0

    def __post_init__(self) -> None:
        if self.failures < 1:
            raise ValueError(f"failures must be at least 1, got {self.failures}")
        if not 0 < self.pause <= self.longest_pause:
            raise ValueError("pause must be over 0 and at most longest_pause")
        if self.slow_start < 0:
            raise ValueError(f"slow_start must be at least 0, got {self.slow_start}")


class ProviderRecord:
    """What this process has seen of one provider."""

    __slots__ = ("ejected_until", "ejections", "failures", "in_use", "provider", "since", "weight")

    def __init__(self, provider: Provider, since: float | None) -> None:
        self.provider = provider
        self.since = since  #: when its slow start began; None after that
        self.weight = provider.weight
        self.in_use = 0  #: uses that have not ended
        self.failures = 0  #: in a row
        self.ejections = 0  #: doublings of the next pause; a success takes one back
        self.ejected_until = 0.0  #: in the clock's seconds


class ProviderHealth:
    """The records of the providers that are offered.

    Args:
        rules: when a provider is ejected, and how slowly a new one starts.
        path: the service's path, for the log.
        clock: tells the time.
    """

    _log = Logger()

    def __init__(self, rules: HealthRules, path: str, clock: IReactorTime) -> None:
        self._rules = rules
        self._path = path
        self._clock = clock
        self._records: dict[str, ProviderRecord] = {}
        self._changing: set[str] = set()  # addresses that are ejected, or start slowly
        # The candidates by the argument ``tls``.  Strategies cache what they compute by a tuple's
        # identity, so a tuple is replaced only when a provider or a weight changes.
        self._candidates: dict[bool | None, tuple[ProviderRecord, ...]] = {}
        self._valid_until = 0.0  # until then `_candidates` are valid, if any provider is changing
        self._computed_at = 0.0

    def update(self, providers: Mapping[str, Provider]) -> None:
        """Replace the providers.  Those of the first update start with their full share."""
        since = self._clock.seconds() if self._records and self._rules.slow_start else None
        records = {}
        for address, provider in providers.items():
            record = self._records.get(address)
            if record is None:
                record = ProviderRecord(provider, since)
                if since is not None:
                    self._changing.add(address)
            elif record.provider is not provider:
                record.provider, record.weight = provider, provider.weight
            records[address] = record
        self._records = records
        self._changing &= records.keys()
        self._candidates.clear()
        self._valid_until = 0.0

    def candidates(
        self, tried: Collection[str] = (), tls: bool | None = None
    ) -> tuple[ProviderRecord, ...]:
        """The records to choose from: the same tuple until one of them or a weight changes.

        Ejected providers are among them if there are no others.  In a large service, one that was
        ejected a moment ago may still be among them, so check `is_ejected`.

        Args:
            tried: addresses to leave out.
            tls: True: only those that speak TLS; False: only those that do not; None: all.
        """
        if self._changing and self._clock.seconds() >= self._valid_until:
            self._refresh_changing()
        if tried:
            return self._find(tried, tls)
        ready = self._candidates.get(tls)
        if ready is None:
            ready = self._candidates[tls] = self._find((), tls)
        return ready

    def ejected(self) -> list[Provider]:
        """The providers that are ejected at the moment."""
        now = self._clock.seconds()
        changing = (self._records[address] for address in sorted(self._changing))
        return [record.provider for record in changing if record.ejected_until > now]

    def is_ejected(self, record: ProviderRecord) -> bool:
        """Whether the provider is to be used only if there are no others."""
        return record.ejected_until > 0 and record.ejected_until > self._clock.seconds()

    def use(self, record: ProviderRecord) -> ProviderUse:
        """Begin to use a provider."""
        record.in_use += 1
        return ProviderUse(record, self._failed)

    def _find(self, tried: Collection[str], tls: bool | None) -> tuple[ProviderRecord, ...]:
        now = self._clock.seconds()
        matching = [
            record
            for address, record in self._records.items()
            if address not in tried and (tls is None or record.provider.tls is tls)
        ]
        usable = [record for record in matching if record.ejected_until <= now]
        return tuple(usable or matching)

    def _refresh_changing(self) -> None:
        """Update the changing records, and compute until when the candidates are valid."""
        now = self._clock.seconds()
        self._candidates.clear()
        self._computed_at, self._valid_until = now, float("inf")
        for address in list(self._changing):
            self._refresh(self._records[address], now)
        self._valid_until = max(self._valid_until, self._next_change())

    def _next_change(self) -> float:
        """When the candidates may change again."""
        count = len(self._records)
        return self._computed_at + (SECONDS_EACH * count if count > MAX_AT_ONCE else 0)

    def _refresh(self, record: ProviderRecord, now: float) -> None:
        full, slow_start = record.provider.weight, self._rules.slow_start
        age = slow_start if record.since is None else now - record.since
        if age >= slow_start:
            record.since, record.weight = None, full
        else:
            record.weight = full * max(int(age / slow_start * STEPS), 1) / STEPS
            self._valid_until = min(self._valid_until, now + slow_start / STEPS)
        if record.ejected_until > now:
            self._valid_until = min(self._valid_until, record.ejected_until)
        elif record.since is None:
            self._changing.discard(record.provider.address)

    def _failed(self, record: ProviderRecord) -> None:
        now = self._clock.seconds()
        current = self._records.get(record.provider.address) is record
        if not current or record.ejected_until > now:
            return
        record.failures += 1
        if record.failures < self._rules.failures:
            return
        ejected = sum(self._records[address].ejected_until > now for address in self._changing)
        if 2 * (ejected + 1) > len(self._records):
            return  # more than half would be ejected
        rules = self._rules
        pause = min(rules.pause * 2.0 ** min(record.ejections, 64), rules.longest_pause)
        record.ejections += 1
        record.ejected_until = now + pause
        # One more failure after the pause is enough to eject it again.
        record.failures = rules.failures - 1
        self._changing.add(record.provider.address)
        self._valid_until = min(self._valid_until, self._next_change())
        self._log.warn(
            "{path}: {address} failed repeatedly; ejected for {pause:g} s",
            path=self._path,
            address=record.provider.address,
            pause=pause,
        )


class ProviderUse:
    """One use of a provider: a connection or a request.  Call `ended` as soon as it is over.

    Attributes:
        provider: the provider that is used.
    """

    __slots__ = ("_failed", "_record", "provider")

    def __init__(self, record: ProviderRecord, failed: Callable[[ProviderRecord], object]) -> None:
        self.provider = record.provider
        self._record: ProviderRecord | None = record
        self._failed = failed

    def succeeded(self) -> None:
        """Record a success; the use continues until `ended`."""
        record = self._record
        if record is not None and record.failures:
            record.failures = 0
        if record is not None and record.ejections:
            record.ejections -= 1

    def failed(self) -> None:
        """Record a failure, and end the use."""
        record = self._record
        self.ended()
        if record is not None:
            self._failed(record)

    def ended(self) -> None:
        """End the use; more calls have no effect."""
        record, self._record = self._record, None
        if record is not None:
            record.in_use -= 1
