"""Many runs: fresh seeds, seeds that have failed before, and figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from time import monotonic

from tests.simulation.plants import planted
from tests.simulation.run import Outcome, Run

#: Seeds that have failed once, each with the reason; one in a line.
SEEDS = Path(__file__).with_name("seeds.txt")


@dataclass
class Figures:
    """The sum of many runs."""

    runs: int = 0
    simulated: float = 0.0
    processor: float = 0.0
    faults: int = 0
    states: Counter[str] = field(default_factory=Counter)
    failed: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count a run."""
        self.runs += 1
        self.simulated += outcome.simulated
        self.processor += outcome.real
        self.faults += outcome.faults
        self.states.update(outcome.states)
        if outcome.violation is not None:
            self.failed.append(outcome)


def failed_seeds() -> list[int]:
    """The seeds that have failed once."""
    lines = SEEDS.read_text(encoding="utf-8").splitlines()
    return [int(line.split()[0]) for line in lines if line.strip() and line[0] != "#"]


def run_seed(seed: int, plant: str | None = None, only: Collection[str] | None = None) -> Outcome:
    """One run; without its history, which is long."""
    outcome = Run(seed, plant=planted(plant), only=only).run()
    outcome.history = []
    return outcome


def outcomes(
    seeds: Iterable[int], jobs: int, ends: float, plant: str | None = None
) -> Iterator[Outcome]:
    """Run seeds, in several processes if that is asked for, until a time (`monotonic`)."""
    if jobs == 1:
        for seed in seeds:
            if monotonic() >= ends:
                return
            yield run_seed(seed, plant)
        return
    more = iter(seeds)
    with ProcessPoolExecutor(jobs) as pool:
        running = {pool.submit(run_seed, seed, plant) for seed in islice(more, jobs)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for one in done:
                yield one.result()
                if monotonic() < ends:
                    running.update(pool.submit(run_seed, seed, plant) for seed in islice(more, 1))


def campaign(
    figures: Figures,
    first: int,
    seconds: float,
    jobs: int,
    plant: str | None = None,
    told: Callable[[Outcome], object] = lambda outcome: None,
    *,
    old: bool = True,
) -> None:
    """Run the seeds that have failed before, then fresh ones, for so many seconds.

    Args:
        figures: where the runs are counted.
        first: the first fresh seed.
        told: called with each outcome.
        old: whether seeds that have failed before are run.
    """
    ends = monotonic() + seconds
    seeds = (*(failed_seeds() if old else ()),)
    for outcome in outcomes(_chain(seeds, first), jobs, ends, plant):
        figures.add(outcome)
        told(outcome)
        if plant and outcome.violation is not None:
            break


def _chain(seeds: Iterable[int], first: int) -> Iterator[int]:
    yield from seeds
    yield from count(first)
