"""Whom to take: small objects that choose one of several candidates.

Each states its distribution.  A candidate's share is its weight over the sum of the weights;
where all weights are 0 they count as equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import SystemRandom
from typing import Final, Protocol, TypeVar

from zkservice.discovery.provider import Provider

__all__ = [
    "STRATEGIES",
    "Candidate",
    "LeastConnections",
    "PreferZone",
    "RandomChoice",
    "RoundRobin",
    "Strategy",
    "TwoChoices",
]

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


class Strategy(Protocol):
    """Chooses one of several candidates."""

    def choose(self, candidates: Sequence[C]) -> C:
        """One of them; there is at least one."""


class RoundRobin:
    """In turn, as evenly spread as the weights allow.

    Distribution: of any ``n`` choices in a row among the same candidates, each gets its share
    of ``n``, give or take one or two.  A candidate that weighs more is not taken several
    times in a row, but in between the others (nginx's smooth weighted round robin).

    Args:
        random: chooses where the turn begins, so that many processes that start together
            do not take the same provider first.
    """

    def __init__(self, random: Random | None = None) -> None:
        self._random = random or SystemRandom().random
        self._credit: dict[str, float] = {}

    def choose(self, candidates: Sequence[C]) -> C:
        """The one whose turn it is."""
        weights = _weights(candidates)
        credit: dict[str, float] = {}
        best, most = 0, float("-inf")
        for index, (one, weight) in enumerate(zip(candidates, weights, strict=True)):
            address = one.provider.address
            before = self._credit.get(address)
            due = (self._random() * weight if before is None else before) + weight
            credit[address] = due
            if due > most and weight > 0:
                best, most = index, due
        chosen = candidates[best]
        credit[chosen.provider.address] -= sum(weights)
        self._credit = credit
        return chosen


class RandomChoice:
    """At random.

    Distribution: each choice is independent of those before, and takes each candidate with
    the probability of its share.
    """

    def __init__(self, random: Random | None = None) -> None:
        self._random = random or SystemRandom().random

    def choose(self, candidates: Sequence[C]) -> C:
        """Any one."""
        return candidates[_draw(_weights(candidates), self._random)]


class LeastConnections:
    """The one with the fewest connections for its weight; among equals, at random.

    Distribution: connections that stay open are spread by the shares, plus or minus one.
    """

    def __init__(self, random: Random | None = None) -> None:
        self._random = random or SystemRandom().random

    def choose(self, candidates: Sequence[C]) -> C:
        """One with the least load."""
        loads = [
            (one.in_use + 1) / weight if weight > 0 else float("inf")
            for one, weight in zip(candidates, _weights(candidates), strict=True)
        ]
        least = min(loads)
        equal = [one for one, load in zip(candidates, loads, strict=True) if load == least]
        return equal[int(self._random() * len(equal))]


class TwoChoices:
    """Two at random by weight, and of these the one with fewer connections for its weight.

    Distribution: nearly that of `LeastConnections`, but many processes that know only their
    own connections do not all turn to the same provider.  With equal weights the fullest of
    ``n`` candidates is never chosen, as long as it is alone in that.
    """

    def __init__(self, random: Random | None = None) -> None:
        self._random = random or SystemRandom().random

    def choose(self, candidates: Sequence[C]) -> C:
        """The better one of two."""
        weights = _weights(candidates)
        first = _draw(weights, self._random)
        others = [0.0 if index == first else weight for index, weight in enumerate(weights)]
        if not any(others):
            return candidates[first]
        second = _draw(others, self._random)
        loads = {
            index: (candidates[index].in_use + 1) / weights[index] for index in (first, second)
        }
        return candidates[min(loads, key=loads.__getitem__)]


class PreferZone:
    """Candidates of one zone first; all of them where too few are left in the zone.

    Distribution: that of the other strategy, among the candidates of the zone while there are
    enough, else among all.  Providers that are ejected are no candidates.

    Args:
        zone: the ``zone`` property of those to prefer.
        strategy: chooses among them.
        at_least: candidates that the zone must have to be used alone.
    """

    def __init__(self, zone: str, strategy: Strategy, at_least: int = 2) -> None:
        self._zone = zone
        self._strategy = strategy
        self._at_least = at_least

    def choose(self, candidates: Sequence[C]) -> C:
        """One of the zone, if it has enough."""
        near = [one for one in candidates if one.provider.zone == self._zone and one.weight > 0]
        return self._strategy.choose(near if len(near) >= self._at_least else candidates)


#: Makes a strategy; by the names that endpoint strings have for them.
STRATEGIES: Final[Mapping[str, Callable[[Random | None], Strategy]]] = {
    "round-robin": RoundRobin,
    "random": RandomChoice,
    "least-connections": LeastConnections,
    "two-choices": TwoChoices,
}


def _weights(candidates: Sequence[Candidate]) -> list[float]:
    weights = [one.weight for one in candidates]
    return weights if any(weights) else [1.0] * len(weights)


def _draw(weights: Sequence[float], random: Random) -> int:
    """The index of one, drawn by weight; never one whose weight is 0."""
    left = random() * sum(weights)
    last = 0
    for index, weight in enumerate(weights):
        if weight > 0:
            last = index
            left -= weight
            if left < 0:
                break
    return last
