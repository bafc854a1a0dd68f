"""Every decision of a run, each drawn from the seed and its own name.

A decision does not depend on how many others were made before it: it has a random generator
of its own, seeded with the run's seed and the decision's name.  So a run can be repeated with
some of its decisions taken out (`shrink`), and the others stay what they were.

There are two kinds.  An *event* is something that happens: a fault, an action of a workload;
without it, it does not happen.  *Noise* is how the network and the reactors behave within one
second of simulated time: the order of what is due together, portions, delays; without it,
everything is in order, whole and as fast as it can be.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")


class Noise:
    """The decisions of one kind within one second; calm ones are always the same."""

    __slots__ = ("_random",)

    def __init__(self, random: Random | None) -> None:
        self._random = random

    def tie(self) -> float:
        """What decides between things that are due at the same time."""
        return 0.0 if self._random is None else self._random.random()

    def shuffle(self, things: list[Any]) -> None:
        """Put things in any order."""
        if self._random is not None and len(things) > 1:
            self._random.shuffle(things)

    def chance(self, probability: float) -> bool:
        """Whether something rare happens."""
        return self._random is not None and self._random.random() < probability

    def portion(self, most: int) -> int:
        """How many bytes of so many go at once: usually all, sometimes one."""
        if self._random is None or most <= 1 or self._random.random() < 0.7:
            return most
        if self._random.random() < 0.2:
            return 1
        return self._random.randint(1, most)

    def delay(self, least: float, most: float) -> float:
        """Seconds, rarely many."""
        if self._random is None:
            return least
        return least + (most - least) * self._random.random() ** 4


class Choices:
    """The decisions of one run.

    Args:
        seed: decides everything.
        keep: the names of the decisions that are made; None makes all of them.
    """

    def __init__(self, seed: int, keep: Collection[str] | None = None) -> None:
        self.seed = seed
        self._keep = keep
        self._noise: dict[str, tuple[int, Noise]] = {}
        #: The names of all decisions that were asked for, in order.
        self.made: dict[str, None] = {}

    def _generator(self, name: str) -> Random | None:
        self.made[name] = None
        if self._keep is not None and name not in self._keep:
            return None
        return Random(f"{self.seed}/{name}")

    def event(self, name: str) -> Random | None:
        """The generator for all that is open about an event; None if it does not happen."""
        return self._generator(name)

    def fixed(self, name: str) -> Random:
        """The generator for something that no shrinking can take out, as the shape of the world."""
        return Random(f"{self.seed}/{name}")

    def noise(self, kind: str, now: float) -> Noise:
        """The noise of a kind at a time."""
        second = int(now)
        known = self._noise.get(kind)
        if known is None or known[0] != second:
            known = second, Noise(self._generator(f"{kind}@{second - 1_000_000}"))
            self._noise[kind] = known
        return known[1]


def weighted(random: Random, menu: dict[T, float]) -> T:
    """One of several, each with a weight."""
    return random.choices(list(menu), list(menu.values()))[0]


Function = Callable[..., object]
