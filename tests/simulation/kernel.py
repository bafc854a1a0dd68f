"""The one clock, and what happens when: the only loop of a run."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from typing import Any

from tests.simulation.choices import Choices, Function

#: Where the simulated clock starts.  The embedded server makes ids of the time.
START = 1_000_000.0


class Event:
    """Something that is due; it can be called off."""

    __slots__ = ("args", "function")

    def __init__(self, function: Function, args: tuple[Any, ...]) -> None:
        self.function: Function | None = function
        self.args = args

    def cancel(self) -> None:
        """Let it not happen."""
        self.function = None


class Kernel:
    """Calls what is due, in the order of time; what is due together, in any order."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.now = START
        #: Events that have happened.
        self.count = 0
        #: Set to end the run at once.
        self.stopped = False
        self._due: list[tuple[float, float, int, Event]] = []
        self._numbers = count()

    def at(self, when: float, function: Function, *args: Any) -> Event:
        """Call a function at a time."""
        event = Event(function, args)
        tie = self.choices.noise("order", self.now).tie()
        heappush(self._due, (max(when, self.now), tie, next(self._numbers), event))
        return event

    def after(self, seconds: float, function: Function, *args: Any) -> Event:
        """Call a function after so many seconds."""
        return self.at(self.now + seconds, function, *args)

    def run(self, seconds: float) -> None:
        """Let time go by."""
        end = self.now + seconds
        due = self._due
        while due and due[0][0] <= end and not self.stopped:
            when, _, _, event = heappop(due)
            if event.function is None:
                continue
            self.now = when
            self.count += 1
            event.function(*event.args)
        if not self.stopped:
            self.now = end

    def boot_time(self) -> float:
        """The clock that nothing stops and nothing sets."""
        return self.now
