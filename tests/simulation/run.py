"""One run: a world, a storm, and then, where it must recover, the calm after it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from random import Random
from time import process_time
from typing import Final

from tests.simulation.bounds import exceeded
from tests.simulation.choices import Choices
from tests.simulation.consistency import disagreements
from tests.simulation.faults import FAULTS, Storm
from tests.simulation.hermetic import hermetic
from tests.simulation.workloads.base import Workload
from tests.simulation.workloads.leases import (
    Candidates,
    LockHolders,
    SemaphoreHolders,
    Sharers,
)
from tests.simulation.workloads.meetings import Gate, Meetings
from tests.simulation.workloads.members import Members
from tests.simulation.workloads.owners import Owners
from tests.simulation.workloads.queues import Consumers, Takers
from tests.simulation.workloads.registers import Numbers, Pairs, Registers
from tests.simulation.workloads.services import Services
from tests.simulation.workloads.trees import Trees
from tests.simulation.workloads.visitors import Visitors
from tests.simulation.world import Violation, World

#: Simulated seconds with faults, and those after which everything must have recovered.
STORM: Final = 40.0
RECOVERY: Final = 60.0
#: Simulated seconds within which everything ends that was asked to.
ENDING: Final = 60.0
#: Simulated seconds between checks.
CHECK: Final = 0.25
#: Each so many of them, the containers of the server are compared with each other.
AGREE: Final = 4
#: Each so many of them, all containers are looked at.
BOUNDS: Final = 40

WORKLOADS: Final[tuple[type[Workload], ...]] = (
    LockHolders,
    SemaphoreHolders,
    Candidates,
    Consumers,
    Registers,
    Pairs,
    Numbers,
    Services,
    Trees,
    Visitors,
    Members,
)
#: Those that came later.  They are drawn by themselves, so that a seed from before keeps its
#: meaning unless it draws one of them.
LATER: Final[tuple[type[Workload], ...]] = (Sharers, Takers, Gate, Meetings, Owners)

#: A bug that is planted while a run lasts.
Plant = Callable[[], AbstractContextManager[object]]


@dataclass
class Outcome:
    """What became of a run."""

    seed: int
    violation: Violation | None
    simulated: float
    #: Seconds of the processor.
    real: float
    events: int
    faults: int
    digest: str
    states: dict[str, int]
    decisions: list[str]
    history: list[str] = field(repr=False)
    shape: str = ""


def crashed(seed: int, why: str) -> Outcome:
    """The outcome of a run that has raised, or was interrupted."""
    violation = Violation("no error", f"the run itself failed: {why}", 0.0)
    return Outcome(seed, violation, 0.0, 0.0, 0, 0, "", {}, [], [])


class Run:
    """One run.

    Args:
        seed: decides everything.
        keep: the decisions that are made; None makes all of them.
        plant: a bug.
        only: the names of the workloads; None leaves it to the seed.
    """

    def __init__(
        self,
        seed: int,
        keep: Collection[str] | None = None,
        plant: Plant = nullcontext,
        only: Collection[str] | None = None,
    ) -> None:
        self.seed = seed
        self._plant = plant
        self._choices = Choices(seed, keep)
        shape = self._choices.fixed("shape")
        #: Whether the faults are such that everything recovers once they stop.
        self.bounded = shape.random() < 0.7
        self._semantics = shape.choice(("3.8", "3.9"))
        self._durable = shape.random() < 0.7
        self._menu = _menu(shape, bounded=self.bounded)
        self._mean = shape.choice((1.0, 3.0, 8.0))
        self._kinds = _some_workloads(shape, self._choices.fixed("later shape"), only)
        self._workloads: list[Workload] = []
        self._checks = 0
        #: The most connections that were open at a time.
        self._peak = 0

    @property
    def shape(self) -> str:
        """What the run is like, in a line."""
        mode = "bounded" if self.bounded else "unbounded"
        kinds = " ".join(kind.name for kind in self._kinds)
        kept = "with a disk" if self._durable else "in memory"
        return f"{mode}; {kinds}; like {self._semantics}, {kept}; {', '.join(self._menu)}"

    def run(self) -> Outcome:
        """Do it."""
        began = process_time()
        self._choices.made.clear()
        with self._plant():
            world, storm = self._live()
        violation = world.violations[0] if world.violations else None
        return Outcome(
            self.seed,
            violation,
            world.seconds,
            process_time() - began,
            world.kernel.count,
            storm.count,
            world.digest(),
            dict(world.sometimes.counts),
            list(self._choices.made),
            world.history,
            self.shape,
        )

    def _live(self) -> tuple[World, Storm]:
        choices = self._choices
        world = World(choices, durable=self._durable, watch_semantics=self._semantics)
        with hermetic(choices, world.kernel, world.logged):
            world.ensemble.start()
            storm = Storm(world, self._menu, self._mean)
            self._expect(world)
            self._workloads = [kind(world) for kind in self._kinds]
            for workload in self._workloads:
                workload.start()
            self._check_again(world)
            storm.start(STORM)
            world.kernel.run(STORM)
            if not self.bounded:
                self._end(world, storm)
            elif not world.violations:
                storm.stop()
                self._recover(world)
                self._end(world, storm)
            # What is not fired is dropped here, with all that it refers to.
            world.open.clear()
            self._workloads.clear()
            for machine in [*world.machines, world.ensemble.machine]:
                machine.die()
        return world, storm

    def _expect(self, world: World) -> None:
        """Log lines that a fault of the menu explains."""
        if "full disk" in self._menu:
            world.expected.append(lambda text: "the database or disk is full" in text)
            world.expected.append(lambda text: "database or disk is full" in text)

    def _check_again(self, world: World) -> None:
        for workload in self._workloads:
            workload.check()
        for machine in world.machines:
            calls, ends, waiting = machine.load
            if calls > 1000 or ends > 300 or waiting > 20_000_000:
                world.violated("bounded", f"{machine.name} has {machine.load}")
        self._checks += 1
        self._peak = max(self._peak, len(world.network.connections))
        if self._checks % AGREE == 0 and world.ensemble.up:
            for one in disagreements(world.ensemble.server):
                world.violated("agree", one)
        if self._checks % BOUNDS == 0:
            for one in exceeded(self._peak):
                world.violated("bounded", one)
        world.kernel.after(CHECK, self._check_again, world)

    def _recover(self, world: World) -> None:
        """Without faults everything goes on, and comes to its end."""
        world.kernel.run(5.0)
        for workload in self._workloads:
            workload.finish()
        waited = 5.0
        while waited < RECOVERY and not world.violations:
            world.kernel.run(1.0)
            waited += 1.0
            if waited > 25 and not self._waiting():
                break
        if world.violations:
            return
        if waiting := self._waiting():
            world.violated("recovers", f"after {RECOVERY:g} s: {'; '.join(waiting[:5])}")
            return
        for workload in self._workloads:
            workload.at_end()

    def _waiting(self) -> list[str]:
        return [one for workload in self._workloads for one in workload.waiting()]

    def _end(self, world: World, storm: Storm) -> None:
        """Everything is asked to end, and has to."""
        if world.violations:
            return
        for workload in self._workloads:
            workload.finish()
        for machine in world.machines:
            machine.resume()
        for workload in self._workloads:
            workload.close()
        for name, machine, client in world.clients:
            if machine.state == "running":
                world.must_fire(client.close(), f"{name} closes")
        world.kernel.run(ENDING)
        if world.violations:
            return
        if unfired := world.unfired():
            world.violated("fires", f"{len(unfired)}: {'; '.join(unfired[:5])}")
            return
        for who, left in self._left(world):
            world.violated("nothing left", f"{who}: {'; '.join(left[:5])}")
            return

    def _left(self, world: World) -> Iterator[tuple[str, list[str]]]:
        """What is left of clients and processes, and on the server."""
        for machine in world.machines:
            if left := machine.leftovers():
                yield machine.name, left
        for name, machine, client in world.clients:
            statistics = client.statistics()
            if machine.state == "running" and (statistics.watches or statistics.waiting):
                yield name, [f"{statistics.watches} watches, {statistics.waiting} calls"]
        if self.bounded and world.ensemble.up:
            there = world.ensemble.server.statistics()
            if there.sessions or there.ephemerals or there.watches or there.connections:
                yield "the server", [str(there)]


def _menu(shape: Random, *, bounded: bool) -> list[str]:
    """The faults of a run: some of them, so that they do not hide each other (swarm testing)."""
    known = [name for name, fault in FAULTS.items() if fault.bounded or not bounded]
    most = shape.choice((1, 3, 6, len(known)))
    chosen = set(shape.sample(known, min(most, len(known))))
    # Those that void promises come in few runs.
    if shape.random() < 0.75:
        chosen = {name for name in chosen if not FAULTS[name].voids}
    return [name for name in known if name in chosen] or ["cut"]


def _some_workloads(
    shape: Random, later: Random, only: Collection[str] | None
) -> tuple[type[Workload], ...]:
    if only is not None:
        return tuple(kind for kind in (*WORKLOADS, *LATER) if kind.name in only)
    others = [kind for kind in WORKLOADS if kind is not Services]
    chosen = shape.sample(others, shape.choice((1, 2)))
    if shape.random() < 0.5:  # it has the most parts
        chosen = [Services, *chosen[: shape.choice((0, 1))]]
    if later.random() < 0.4:
        chosen = [*later.sample(LATER, later.choice((1, 2))), *chosen[: later.choice((0, 1))]]
    return tuple(kind for kind in (*WORKLOADS, *LATER) if kind in chosen)
