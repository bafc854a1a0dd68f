"""The shares of candidates, computed once for each tuple of candidates."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Final, Generic, Protocol, TypeVar

from zkservice.discovery.provider import Provider

__all__ = ["Candidate", "Random", "Shares", "SharesCache"]

#: Returns a number from 0 up to, but not including, 1.
Random = Callable[[], float]


class Candidate(Protocol):
    """What a strategy sees of a provider."""

    @property
    def provider(self) -> Provider:
        """The provider."""

    @property
    def weight(self) -> float:
        """Its share in relation to the others' at the moment."""

    @property
    def in_use(self) -> int:
        """Connections or requests that this process has there at the moment."""


C = TypeVar("C", bound=Candidate)

#: The candidates of an empty cache.
_NOTHING: Final[tuple[Any, ...]] = ()


class Shares(Generic[C]):
    """Candidates with their weights; where all weights are 0 they count as equal.

    Building it takes O(n) time, and a draw O(log n).

    Args:
        candidates: at least one, if it is to be used.
    """

    def __init__(self, candidates: Sequence[C]) -> None:
        self.candidates = candidates
        weights = [one.weight for one in candidates]
        self.weights = weights if any(weights) else [1.0] * len(weights)
        self._sums = list(accumulate(self.weights))
        #: The index of the last candidate that has a share; sums of fractions are inexact.
        self._last = max(
            (index for index, weight in enumerate(self.weights) if weight > 0), default=0
        )

    def draw(self, random: Random) -> int:
        """The index of one, drawn by weight; never one whose weight is 0."""
        return self._index_at(random() * self._sums[-1])

    def draw_other(self, first: int, random: Random) -> int:
        """The index of another one than the first, drawn by weight; the first if it is alone."""
        start = self._sums[first - 1] if first else 0.0
        own = self.weights[first]
        others = self._sums[-1] - own
        if others <= 0:
            return first
        drawn = random() * others  # on the line of all weights without that of the first
        return self._index_at(drawn if drawn < start else drawn + own)

    def _index_at(self, running_sum: float) -> int:
        return min(bisect_right(self._sums, running_sum), self._last)


class SharesCache:
    """Remembers the shares of the last tuple of candidates, by its identity."""

    __slots__ = ("_shares",)

    def __init__(self) -> None:
        self._shares: Shares[Any] = Shares(_NOTHING)

    def of(self, candidates: Sequence[C]) -> Shares[C]:
        """The shares of these candidates, computed if they are not those of the last call."""
        if candidates is not self._shares.candidates or not isinstance(candidates, tuple):
            self._shares = Shares(candidates)
        return self._shares
