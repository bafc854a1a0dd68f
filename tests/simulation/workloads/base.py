"""What workloads have in common: actions at times that the seed decides."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import ClassVar

from tests.simulation.machine import Machine
from tests.simulation.world import World, pause

Action = Callable[[Random], object]


class Workload:
    """Something that is done in a world.

    Args:
        world: where it is done.
    """

    name: ClassVar[str]

    def __init__(self, world: World) -> None:
        self.world = world
        #: Whether new work begins.
        self.working = True

    def start(self) -> None:
        """Begin."""
        raise NotImplementedError

    def check(self) -> None:
        """Check what must hold at any time; called several times a second."""

    def finish(self) -> None:
        """Begin nothing more, and let what runs come to its end."""
        self.working = False

    def waiting(self) -> list[str]:
        """What should come to its end by itself, now that there are no more faults."""
        return []

    def at_end(self) -> None:
        """Check the outcome, while clients and server still are there."""

    def close(self) -> None:
        """End what `world` does not end itself."""

    # -- how

    def repeat(
        self, who: str, least: float, most: float, action: Action, machine: Machine | None = None
    ) -> None:
        """Do something again and again, with pauses.

        Args:
            who: names it.
            machine: the process that does it; it does nothing while it is suspended.
        """
        number = 0

        def once() -> None:
            nonlocal number
            if not self.working:
                return
            name = f"{self.name}.{who}#{number}"
            number += 1
            seconds = pause(self.world.choices.fixed(f"when {name}"), least, most)
            self.world.kernel.after(seconds, once)
            random = self.world.choices.event(name)
            if random is None:
                return
            if machine is None:
                action(random)
            elif machine.state == "running":
                machine.from_kernel(action, random)

        self.world.kernel.after(0, once)

    def later(
        self, seconds: float, function: Callable[[], object], machine: Machine | None = None
    ) -> None:
        """Do something once, in a process that is not suspended by then, or when it goes on."""

        def due() -> None:
            if machine is None:
                function()
            elif machine.state == "suspended":
                self.world.kernel.after(0.5, due)
            elif machine.state == "running":
                machine.from_kernel(function)

        self.world.kernel.after(seconds, due)
