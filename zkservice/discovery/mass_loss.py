"""Keep the providers of a service for a while when most of them vanish at once.

When an ensemble loses its data, or the network between it and the providers fails, the znodes
vanish although the providers still serve.  A client that dropped them would have no provider
left, or would send all its requests to the few that remain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from zkservice.deferreds import Alarm
from zkservice.discovery.provider import Provider, Registered

__all__ = ["MassLoss", "MassLossGuard"]


@dataclass(frozen=True)
class MassLoss:
    """When lost providers are kept: if more than half of them vanish at about the same time.

    Attributes:
        at_least: the smallest service that this applies to, as a number of providers.
        within: seconds; losses that are no further apart count together.
        keep: seconds for which lost providers are kept.

    Raises:
        ValueError: ``at_least`` is below 1, or a time is negative.
    """

    at_least: int = 3
    within: float = 5.0
    keep: float = 60.0

    def __post_init__(self) -> None:
        if self.at_least < 1:
            raise ValueError(f"at_least must be at least 1, got {self.at_least}")
        if self.within < 0 or self.keep < 0:
            raise ValueError("within and keep must be seconds, at least 0")


class _Loss(NamedTuple):
    """A provider that vanished."""

    since: float  # the clock's seconds
    provider: Provider
    present: int  # the number of providers before, this one included


class MassLossGuard:
    """Decides which of the providers that vanished are still offered.

    Args:
        rules: when lost providers are kept.
        path: the service's path, for the log.
        clock: tells the time.
        expired: called when the doubtful providers have been dropped.

    Attributes:
        doubtful: the providers that vanished and are still offered, by address.
    """

    _log = Logger()

    def __init__(
        self, rules: MassLoss, path: str, clock: IReactorTime, expired: Callable[[], object]
    ) -> None:
        self._rules = rules
        self._path = path
        self._clock = clock
        self._expired = expired
        self._alarm = Alarm(clock, self._give_up)
        self._present: Mapping[str, Provider] = {}
        self._lost: dict[str, _Loss] = {}
        self.doubtful: Mapping[str, Provider] = {}

    def update(self, now: Registered) -> None:
        """Compare with what is registered now, and decide which providers are `doubtful`."""
        self._remember_lost(now)
        lost, before = len(self._lost), len(self._lost) + len(now.providers)
        # `at_least` is compared with the size before the losses.  Providers that came later do not
        # count: they could make a small service look large enough.
        size = max((loss.present for loss in self._lost.values()), default=0)
        mass = size >= self._rules.at_least and lost * 2 > before
        if mass and not self.doubtful:
            self._log.warn(
                "{path}: {lost} of {before} providers vanished within {within} s; "
                "keeping them for {keep} s, as doubtful",
                path=self._path,
                lost=lost,
                before=before,
                within=self._rules.within,
                keep=self._rules.keep,
            )
            self._alarm.set(self._rules.keep)
        elif not mass and self.doubtful:
            self._log.info("{path}: providers are back; none is doubtful", path=self._path)
            self._alarm.cancel()
        lost_providers = {address: loss.provider for address, loss in self._lost.items()}
        self.doubtful = lost_providers if mass else {}

    def cancel(self) -> None:
        """Forget the lost providers, and stop the timer."""
        self._alarm.cancel()
        self._lost, self.doubtful = {}, {}

    def _remember_lost(self, now: Registered) -> None:
        seconds = self._clock.seconds()
        for address, provider in self._present.items():
            # A provider that announced its stop is not lost.
            if address not in now.providers and address not in now.stopping:
                self._lost[address] = _Loss(seconds, provider, len(self._present))
        oldest = seconds - self._rules.within
        self._lost = {
            address: loss
            for address, loss in self._lost.items()
            if address not in now.providers
            and address not in now.stopping
            and (loss.since >= oldest or address in self.doubtful)
        }
        self._present = now.providers

    def _give_up(self) -> None:
        self._log.warn(
            "{path}: {count} providers did not come back; dropping them",
            path=self._path,
            count=len(self.doubtful),
        )
        self.cancel()
        self._expired()
