"""Load-balancing strategies, each with a stated distribution.

A candidate's share is its weight divided by the sum of the weights; if all weights are 0, they
count as equal.  A strategy keeps what it computes for as long as it gets the same tuple of
candidates, so a choice among ten thousand costs hardly more than one among ten.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from random import SystemRandom
from typing import Any, Final, Protocol

from zkservice.discovery.shares import C, Candidate, Random, Shares, SharesCache

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

#: Different weights for which `RoundRobin` keeps a group; each group makes a choice slower.
MAX_GROUPS: Final = 64

#: Up to so many candidates `LeastConnections` compares all; of more it draws a sample.
MAX_COMPARED: Final = 64
DRAWN: Final = 16


class Strategy(Protocol):
    """Chooses one of several candidates."""

    def choose(self, candidates: Sequence[C]) -> C:
        """Return one of the candidates.

        Args:
            candidates: at least one; the same tuple as in the last call if neither the
                candidates nor their weights have changed.
        """


class _Group:
    """Candidates of the same weight, in the order of their turns.

    Attributes:
        queue: the candidates; the next one is first.
        weight: the sum of the candidates' weights.
        credit: grows by ``weight`` with each choice; the group with the most credit is next, and
            pays the sum of all weights.
    """

    __slots__ = ("credit", "queue", "weight")

    def __init__(self, queue: deque[Any], weight: float) -> None:
        self.queue = queue
        self.weight = weight
        self.credit = 0.0


class RoundRobin:
    """Weighted round robin.

    Distribution: of any ``n`` choices in a row among the same candidates, each gets its share
    of ``n``, plus or minus less than two.  A candidate with a higher weight is not chosen several
    times in a row: its turns lie between the others'.  With more than 64 different weights the
    choice is that of `RandomChoice`.

    Candidates of the same weight form a group and take turns; the groups take turns by
    nginx's smooth weighted round robin.

    Args:
        random: chooses where the turn begins, so that many processes that start together
            do not take the same provider first.
    """

    def __init__(self, random: Random | None = None) -> None:
        self._random = random or SystemRandom().random
        self._cache = SharesCache()
        self._shares: Shares[Any] | None = None  # the groups were made from these
        self._groups: dict[float, _Group] = {}  # by the weight of one candidate

    def choose(self, candidates: Sequence[C]) -> C:
        """The candidate whose turn it is."""
        shares = self._cache.of(candidates)
        if shares is not self._shares:
            self._form_groups(shares)
        if not self._groups:
            return candidates[shares.draw(self._random)]
        total = 0.0
        for group in self._groups.values():
            group.credit += group.weight
            total += group.weight
        due = max(self._groups.values(), key=lambda one: one.credit)
        due.credit -= total
        due.queue.rotate(-1)
        chosen: C = due.queue[-1]
        return chosen

    def _form_groups(self, shares: Shares[Any]) -> None:
        """Form new groups for changed candidates, without starting the turns anew.

        A candidate keeps its relative place in a queue, and a group its relative credit.
        """
        before, self._groups, self._shares = self._groups, {}, shares
        members: dict[float, list[Any]] = {}
        for one, weight in zip(shares.candidates, shares.weights, strict=True):
            if weight > 0:
                members.setdefault(weight, []).append(one)
        if len(members) > MAX_GROUPS:
            return
        places = {
            one.provider.address: place / len(group.queue)
            for group in before.values()
            for place, one in enumerate(group.queue)
        }
        old_total = sum(group.weight for group in before.values()) or 1.0
        total = sum(weight * len(some) for weight, some in members.items())
        for weight, some in members.items():
            group = _Group(self._queue(some, places), weight * len(some))
            known = before.get(weight)
            # A new group starts with a random credit.  Otherwise all processes would choose a new
            # candidate at the same moment.
            if known is None:
                group.credit = self._random() * group.weight
            else:
                group.credit = known.credit / old_total * total
            self._groups[weight] = group
        # The credits of smooth weighted round robin add up to 0.
        mean = sum(group.credit for group in self._groups.values()) / len(self._groups)
        for group in self._groups.values():
            group.credit -= mean

    def _queue(self, some: list[Any], places: Mapping[str, float]) -> deque[Any]:
        """Some candidates in the order of their earlier places; new ones at random places."""
        if not places:
            queue = deque(some)
            queue.rotate(-int(self._random() * len(queue)))
            return queue
        ranks = [places.get(one.provider.address, -1.0) for one in some]
        order = [rank if rank >= 0 else self._random() for rank in ranks]
        return deque(some[at] for at in sorted(range(len(some)), key=order.__getitem__))


class RandomChoice:
    """Weighted random choice.

    Distribution: each choice is independent of those before; a candidate's probability is its
    share.
    """

    def __init__(self, random: Random | None = None) -> None:
        self._random = random or SystemRandom().random
        self._cache = SharesCache()

    def choose(self, candidates: Sequence[C]) -> C:
        """A random candidate."""
        return candidates[self._cache.of(candidates).draw(self._random)]


class LeastConnections:
    """Chooses the candidate with the fewest connections for its weight; among equals, at random.

    Distribution: connections that stay open are spread by the shares, plus or minus one.  Of
    more than 64 candidates it compares 16, which are drawn by weight for each choice.
    """

    def __init__(self, random: Random | None = None) -> None:
        self._random = random or SystemRandom().random
        self._cache = SharesCache()

    def choose(self, candidates: Sequence[C]) -> C:
        """One of the candidates with the least load."""
        shares = self._cache.of(candidates)
        if len(candidates) > MAX_COMPARED:
            compared = [shares.draw(self._random) for _ in range(DRAWN)]
        else:
            compared = [at for at, weight in enumerate(shares.weights) if weight > 0]
        loads = [_load(shares, at) for at in compared]
        least = min(loads)
        equal = [at for at, load in zip(compared, loads, strict=True) if load == least]
        return candidates[equal[int(self._random() * len(equal))]]


class TwoChoices:
    """Draws two candidates by weight, and chooses the one with fewer connections for its weight.

    Distribution: nearly that of `LeastConnections`, but many processes that know only their
    own connections do not all turn to the same provider.  With equal weights, the one candidate
    that has the most connections is never chosen.
    """

    def __init__(self, random: Random | None = None) -> None:
        self._random = random or SystemRandom().random
        self._cache = SharesCache()

    def choose(self, candidates: Sequence[C]) -> C:
        """The less loaded of two random candidates."""
        shares = self._cache.of(candidates)
        first = shares.draw(self._random)
        second = shares.draw_other(first, self._random)
        return candidates[second if _load(shares, second) < _load(shares, first) else first]


class PreferZone:
    """Prefers the candidates of one zone; chooses among all if too few are left in the zone.

    Distribution: that of the other strategy, among the candidates of the zone if there are
    enough, else among all.  Ejected providers are not candidates.

    Args:
        zone: the ``zone`` property of the preferred candidates.
        strategy: chooses among them.
        at_least: candidates that the zone must have to be used alone.
    """

    def __init__(self, zone: str, strategy: Strategy, at_least: int = 2) -> None:
        self._zone = zone
        self._strategy = strategy
        self._at_least = at_least
        self._all: Sequence[Candidate] = ()
        self._preferred: Sequence[Any] = ()

    def choose(self, candidates: Sequence[C]) -> C:
        """A candidate of the zone, if the zone has enough of them."""
        if candidates is not self._all or not isinstance(candidates, tuple):
            near = tuple(
                one for one in candidates if one.provider.zone == self._zone and one.weight > 0
            )
            self._all = candidates
            self._preferred = near if len(near) >= self._at_least else candidates
        chosen: C = self._strategy.choose(self._preferred)
        return chosen


#: Functions that make a strategy, by the name in an endpoint string.
STRATEGIES: Final[Mapping[str, Callable[[Random | None], Strategy]]] = {
    "round-robin": RoundRobin,
    "random": RandomChoice,
    "least-connections": LeastConnections,
    "two-choices": TwoChoices,
}


def _load(shares: Shares[Any], index: int) -> float:
    """The load that a candidate would have with one more connection, for its weight."""
    in_use: int = shares.candidates[index].in_use
    return (in_use + 1) / shares.weights[index]
