"""Many runs: fresh seeds, seeds that have failed before, and figures."""

from __future__ import annotations

import contextlib
import signal
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from time import monotonic
from traceback import format_exception
from typing import Final

from tests.simulation.plants import planted
from tests.simulation.run import Outcome, Run, crashed
from tests.simulation.states import SOMETIMES

#: Seconds of the processor after which a run counts as one that never ends.
ENDLESS: Final = 300.0
#: Seconds of a campaign from which on each state has to be reached.
LONG: Final = 3600.0
#: Outcomes that are kept of those that have failed.
KEPT: Final = 100
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
    failures: int = 0
    #: The first ones that have failed.
    failed: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count a run."""
        self.runs += 1
        self.simulated += outcome.simulated
        self.processor += outcome.real
        self.faults += outcome.faults
        self.states.update(outcome.states)
        if outcome.violation is not None:
            self.failures += 1
            if len(self.failed) < KEPT:
                self.failed.append(outcome)

    def missing(self) -> list[str]:
        """The states that no run has reached."""
        return [one for one in SOMETIMES if not self.states[one]]

    def complaints(self, seconds: float) -> list[str]:
        """Why a campaign of so many seconds has failed; empty if it has not.

        Args:
            seconds: how long it was meant to last.
        """
        found = [f"{self.failures} seeds failed"] if self.failures else []
        if seconds >= LONG and (missing := self.missing()):
            found.append(f"never reached: {', '.join(missing)}")
        return found


def failed_seeds() -> list[int]:
    """The seeds that have failed once."""
    lines = SEEDS.read_text(encoding="utf-8").splitlines()
    return [int(line.split()[0]) for line in lines if line.strip() and line[0] != "#"]


class EndlessError(BaseException):
    """A run takes too long.  Nothing in the run must catch it."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt what takes more seconds of the processor, even a loop that never ends."""

    def over(number: int, frame: object) -> None:
        raise EndlessError(f"it took more than {seconds:g} s of the processor")

    before = signal.signal(signal.SIGVTALRM, over)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def run_seed(
    seed: int,
    plant: str | None = None,
    only: Collection[str] | None = None,
    limit: float = ENDLESS,
) -> Outcome:
    """One run, without its history and its decisions, which are long.

    A run that raises, or does not end, has failed; those after it go on.
    """
    try:
        with time_limit(limit):
            outcome = Run(seed, plant=planted(plant), only=only).run()
    except (Exception, EndlessError) as error:  # noqa: BLE001 - the error is the finding
        return crashed(seed, "".join(format_exception(error)))
    outcome.history = []
    outcome.decisions = []
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
        running = {pool.submit(run_seed, seed, plant): seed for seed in islice(more, jobs)}
        while running:
            for one in wait(running, return_when=FIRST_COMPLETED).done:
                seed = running.pop(one)
                if error := one.exception():  # its process has died, and the pool with it
                    yield crashed(seed, f"{error!r}, perhaps because of another seed")
                    return
                yield one.result()
                if monotonic() < ends:
                    for seed in islice(more, 1):
                        running[pool.submit(run_seed, seed, plant)] = seed


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
