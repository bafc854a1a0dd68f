"""``python -m tests.simulation``: run seeds, repeat one, shrink one, plant a bug."""

from __future__ import annotations

import argparse
import contextlib
import resource
import sys
from collections.abc import Sequence
from random import SystemRandom
from time import monotonic

from twisted.logger import globalLogBeginner

from tests.simulation.campaign import Figures, campaign
from tests.simulation.plants import PLANTS, planted
from tests.simulation.run import Outcome, Run
from tests.simulation.shrink import shrink
from tests.simulation.states import SOMETIMES

#: Seconds between lines that say how far a long campaign is.
PROGRESS = 600.0


def arguments(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("python -m tests.simulation", description=__doc__)
    add = parser.add_argument
    add("--seconds", type=float, default=60.0, help="how long to run fresh seeds (default: 60)")
    add("--hours", type=float, help="the same, in hours")
    add("--first", type=int, help="the first fresh seed (default: any)")
    add("--jobs", type=int, default=1, help="processes (default: 1)")
    add("--seed", type=int, help="run only this seed")
    add("--keep", help="with --seed: only these decisions, separated by commas")
    add("--history", action="store_true", help="with --seed: print what happened")
    add("--shrink", action="store_true", help="with --seed: find the decisions that it needs")
    add("--plant", choices=sorted(PLANTS), help="plant a bug, and stop when it is found")
    add("--states", action="store_true", help="print how often each rare state was reached")
    return parser.parse_args(words)


def command(outcome: Outcome, plant: str | None, keep: str | None = None) -> str:
    """What repeats a run."""
    words = f"python -m tests.simulation --seed {outcome.seed}"
    if plant:
        words += f" --plant {plant}"
    return words if keep is None else f"{words} --keep '{keep}'"


def one(chosen: argparse.Namespace) -> int:
    """Run one seed."""
    keep = None if chosen.keep is None else frozenset(chosen.keep.split(","))
    plant = planted(chosen.plant)
    outcome = Run(chosen.seed, keep, plant).run()
    if chosen.history:
        print("\n".join(outcome.history))
    print(outcome.shape)
    print(f"history {outcome.digest}, {outcome.events} events in {outcome.simulated:.0f} s")
    if outcome.violation is None:
        print("every invariant holds")
        return 0
    print(outcome.violation)
    if chosen.shrink:
        name = outcome.violation.name

        def fails(decisions: Sequence[str]) -> bool:
            tried = Run(chosen.seed, frozenset(decisions), plant).run()
            return tried.violation is not None and tried.violation.name == name

        kept = shrink(outcome.decisions, fails, chosen.seconds)
        print(f"{len(kept)} of {len(outcome.decisions)} decisions are needed:")
        print(command(outcome, chosen.plant, ",".join(kept)))
    return 1


def many(chosen: argparse.Namespace) -> int:
    """Run seeds until the time is over."""
    seconds = chosen.seconds if chosen.hours is None else chosen.hours * 3600
    first = SystemRandom().randrange(1, 10**9) if chosen.first is None else chosen.first
    began = told_at = monotonic()
    figures = Figures()

    def told(outcome: Outcome) -> None:
        nonlocal told_at
        if outcome.violation is not None:
            print(f"FAILED {command(outcome, chosen.plant)}\n  {outcome.violation}", flush=True)
        if monotonic() - told_at >= PROGRESS:
            told_at = monotonic()
            progress(figures, told_at - began, seconds)

    with contextlib.suppress(KeyboardInterrupt):  # an impatient reader gets the figures so far
        campaign(figures, first, seconds, chosen.jobs, chosen.plant, told, old=not chosen.plant)
    report(figures, first, monotonic() - began)
    if chosen.states:
        for state in SOMETIMES:
            print(f"{figures.states[state]:8} {state}")
    if chosen.plant:
        return 0 if figures.failures else 1
    for complaint in (complaints := figures.complaints(seconds)):
        print(complaint)
    return 1 if complaints else 0


def progress(figures: Figures, passed: float, seconds: float) -> None:
    """Say how far a campaign is."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"{passed / 3600:.1f} of {seconds / 3600:.1f} h: {figures.runs} seeds, "
        f"{figures.simulated / 3600:.1f} simulated hours, {figures.failures} failed, "
        f"{len(figures.missing())} states not reached, at most {memory} MB",
        flush=True,
    )


def report(figures: Figures, first: int, seconds: float) -> None:
    """The figures of many runs."""
    reached = sum(figures.states[one] > 0 for one in SOMETIMES)
    print(
        f"{figures.runs} seeds from {first}, {figures.simulated / 3600:.2f} simulated hours in "
        f"{seconds:.0f} s ({_speed(figures):.3f} hours in a second of the processor), "
        f"{figures.faults} faults, {reached} of {len(SOMETIMES)} states reached, "
        f"{figures.failures} failed"
    )


def _speed(figures: Figures) -> float:
    return figures.simulated / 3600 / figures.processor if figures.processor else 0.0


def main(words: list[str]) -> int:
    """The command."""
    # What a run logs is judged by the run.
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    chosen = arguments(words)
    return many(chosen) if chosen.seed is None else one(chosen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
