"""The world of one run: its network and server, its clients, and what is noted about them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from random import Random
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tests.simulation.choices import Choices
from tests.simulation.kernel import START, Kernel
from tests.simulation.machine import Machine
from tests.simulation.network import Network
from tests.simulation.states import Sometimes
from tests.simulation.zookeeper import NAME, PORT, Buggify, Ensemble
from zkservice.client import ZooKeeperClient
from zkservice.wire.session import TRANSITIONS, State

T = TypeVar("T")

#: Of an object in memory, which differs from run to run.
_ADDRESS = re.compile(r" at 0x[0-9a-f]{9,}")

#: Seconds of a session; the server grants it as it is.
SESSION = 6.0


class Violation(Exception):  # noqa: N818 - it is what it is called everywhere
    """An invariant does not hold.

    Attributes:
        name: of the invariant.
    """

    def __init__(self, name: str, detail: str, seconds: float) -> None:
        super().__init__(f"{name}: {detail} (after {seconds:.3f} s)")
        self.name = name


class World:
    """Everything of one run.

    Args:
        choices: its decisions.
        options: of the server.
    """

    def __init__(self, choices: Choices, *, durable: bool = False, **options: Any) -> None:
        self.choices = choices
        self.kernel = Kernel(choices)
        self.network = Network(self.kernel)
        self.sometimes = Sometimes()
        #: One line for each thing that happened.
        self.history: list[str] = []
        #: What does not hold; the first one ends the run.
        self.violations: list[Violation] = []
        #: Promises that a fault of this run does not let us make: names of invariants.
        self.void: set[str] = set()
        #: Log lines and errors that a fault explains.
        self.expected: list[Callable[[str], bool]] = []
        self.lost_replies: Callable[[str], bool] = lambda opcode: False
        self.ensemble = Ensemble(
            self.network,
            Buggify(self._lose_reply, self.sometimes.reached),
            durable=durable,
            **options,
        )
        self.machines: list[Machine] = []
        self.clients: list[tuple[str, Machine, ZooKeeperClient]] = []
        #: Deferreds that have to fire before the end, and what they are.
        self.open: dict[Deferred[Any], tuple[str, Machine | None]] = {}
        self._addresses = 1
        #: For each address how many faults of it will be healed.
        self.broken: Counter[str] = Counter()

    # -- time

    @property
    def seconds(self) -> float:
        """Since the start of the run."""
        return self.kernel.now - START

    # -- notes

    def note(self, who: str, what: str) -> None:
        """Write a line of the history."""
        self.history.append(f"{self.seconds:.6f} {who}: {_ADDRESS.sub('', what)}")

    def digest(self) -> str:
        """What tells whether two histories are the same."""
        return sha256("\n".join(self.history).encode()).hexdigest()

    def violated(self, name: str, detail: str) -> None:
        """An invariant does not hold: the run ends."""
        if name in self.void:
            return
        self.note("VIOLATION", f"{name}: {detail}")
        self.violations.append(Violation(name, detail, self.seconds))
        self.kernel.stopped = True

    def logged(self, event: dict[str, Any]) -> None:
        """An error was logged."""
        from twisted.logger import formatEvent

        text = formatEvent(event)
        failure: Failure | None = event.get("log_failure")
        if failure is not None:
            text = f"{text}: {failure.value!r}"
        if any(explains(text) for explains in self.expected):
            return
        if failure is not None:
            text += "\n" + failure.getBriefTraceback()
        self.violated("no error", text)

    # -- machines and clients

    def machine(self, name: str) -> Machine:
        """A new machine."""
        self._addresses += 1
        made = Machine(self.network, name, f"10.0.1.{self._addresses}")
        self.machines.append(made)
        return made

    def process(self, machine: Machine) -> Machine:
        """A new process on a machine whose process has ended."""
        self.machines.remove(machine)
        made = Machine(self.network, machine.name, machine.address)
        self.machines.append(made)
        return made

    @property
    def hosts(self) -> str:
        """The connection string."""
        return f"{NAME}:{PORT}"

    def disturbed(self, since: float, *addresses: str) -> bool:
        """Whether a fault has touched one of these addresses since a time."""
        harmed = self.network.harmed
        if any(self.broken[one] or harmed.get(one, 0.0) >= since for one in addresses):
            return True
        return any(
            connection.harmed and any(end.here.host in addresses for end in connection.ends)
            for connection in self.network.connections
        )

    def client(self, name: str, machine: Machine | None = None, **options: Any) -> ZooKeeperClient:
        """A client that connects, on a machine of its own unless one is given."""
        machine = machine or self.machine(name)
        made = ZooKeeperClient(
            self.hosts,
            SESSION,
            reactor=machine,
            random=self.choices.fixed(f"client {name}"),
            clock=self.kernel.boot_time,
            **options,
        )
        self.clients.append((name, machine, made))
        self.follow(name, made)
        self.must_fire(made.connect(), f"{name} connects")
        return made

    def follow(self, name: str, client: ZooKeeperClient) -> None:
        """Note the states of a client."""
        names = {
            State.SUSPENDED: "session: suspended",
            State.EXPIRED: "session: expired",
            State.AUTH_FAILED: "session: auth failed",
            State.READ_ONLY: "session: read-only",
        }

        before: State | None = None

        def changed(state: State) -> None:
            nonlocal before
            self.note(name, state.name)
            if before is not None and state not in _follow(before):
                self.violated("states", f"{name} is {state.name} after {before.name}")
            before = state
            if state in names:
                self.sometimes.reached(names[state])

        client.subscribe(changed)

    def _lose_reply(self, opcode: str) -> bool:
        if not self.lost_replies(opcode):
            return False
        self.note("zookeeper", f"loses the reply to {opcode}")
        self.sometimes.reached(f"lost reply: {opcode}")
        return True

    def node(self, path: str) -> Any:
        """A znode as the server has it; None if there is none, or no server."""
        return self.ensemble.server.node(path) if self.ensemble.up else None

    # -- Deferreds

    def unfired(self) -> list[str]:
        """What has not ended, but for that of processes that are dead."""
        return [
            what
            for what, machine in self.open.values()
            if machine is None or machine.state != "dead"
        ]

    def must_fire(
        self, deferred: Deferred[T], what: str, machine: Machine | None = None
    ) -> Deferred[T]:
        """Remember a Deferred until it fires; how it ends is of no interest here."""
        self.open[deferred] = what, machine

        def ended(result: T) -> T:
            self.open.pop(deferred, None)
            return result

        deferred.addBoth(ended)
        deferred.addErrback(lambda failure: None)
        return deferred

    def outcome(
        self,
        deferred: Deferred[T],
        what: str,
        done: Callable[[T | Failure], None],
        *,
        must: bool = True,
    ) -> None:
        """Call a function with what a Deferred fires with, and note it.

        Args:
            must: whether it has to fire before the end.
        """

        def ended(result: T | Failure) -> None:
            shown = repr(result)
            if isinstance(result, Failure):
                shown = type(result.value).__name__
            self.note(what, shown[:200])
            done(result)

        if must:
            self.open[deferred] = what, None
        deferred.addBoth(self._closed, deferred)
        deferred.addBoth(ended)
        deferred.addErrback(self._broken, what)

    def _closed(self, result: T, deferred: Deferred[Any]) -> T:
        self.open.pop(deferred, None)
        return result

    def _broken(self, failure: Failure, what: str) -> None:
        """The simulation itself has a bug."""
        self.violated("no error", f"the simulation failed in {what}: {failure.getTraceback()}")


def _follow(state: State) -> set[State]:
    """The states that may follow a client's."""
    new_session = [State.CONNECTING] if state is State.EXPIRED else []
    return {*TRANSITIONS[state].values(), *new_session}


def pause(random: Random, least: float, most: float) -> float:
    """Seconds, more often few than many."""
    return least + (most - least) * random.random() ** 2
