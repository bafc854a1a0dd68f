"""Barriers and double barriers: clients that wait for something to go, and for each other."""

from __future__ import annotations

from random import Random
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from typing_extensions import override

from tests.simulation.machine import Machine
from tests.simulation.workloads.base import Workload
from tests.simulation.world import SESSION, World
from tests.simulation.zookeeper import ADDRESSES
from zkservice.errors import (
    BarrierTimeoutError,
    ClientClosedError,
    LeaseLostError,
    SessionExpiredError,
)
from zkservice.recipes import Barrier, DoubleBarrier, Participant
from zkservice.wire.session import State

#: Seconds for which the node of a member that has given up may stay: until there is a connection,
#: or the server ends the session, perhaps after a restart.
GHOST: Final = 25.0
_EXPECTED = (BarrierTimeoutError, CancelledError, ClientClosedError, SessionExpiredError)


class Gate(Workload):
    """A barrier that comes and goes, and clients that wait until it is gone."""

    name = "barrier"
    path = "/barriers/one"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.here: dict[Deferred[Any], str] = {}
        self.barriers: list[tuple[Barrier, Machine]] = []

    @override
    def start(self) -> None:
        for number in range(3):
            who = f"{self.name}{number}"
            machine = self.world.machine(who)
            client = self.world.client(who, machine)
            barrier = Barrier(client, self.path, reactor=machine)
            self.barriers.append((barrier, machine))

            def wait(
                random: Random, who: str = who, barrier: Any = barrier, machine: Any = machine
            ) -> None:
                self.wait(random, who, barrier, machine)

            def change(
                random: Random, who: str = who, barrier: Any = barrier, client: Any = client
            ) -> None:
                self.change(random, who, barrier, client)

            self.repeat(f"wait{number}", 0.2, 4.0, wait, machine)
            self.repeat(f"change{number}", 0.5, 8.0, change, machine)

    def standing(self) -> int | None:
        """The transaction that has made the barrier which stands now, on the server."""
        node = self.world.node(self.path)
        return None if node is None else int(node.stat.czxid)

    def wait(self, random: Random, who: str, barrier: Barrier, machine: Machine) -> None:
        """Wait at the barrier; rarely give up before."""
        if sum(name == who for name in self.here.values()) > 1:
            return
        before = self.standing()
        waiting = barrier.wait(random.choice((None, None, 4.0)))
        self.here[waiting] = who
        if random.random() < 0.15:
            self.later(random.random() * 3, waiting.cancel, machine)

        def done(result: object) -> None:
            self.here.pop(waiting, None)
            if isinstance(result, Failure):
                if not result.check(*_EXPECTED):
                    self.world.violated("no error", f"{who} failed to wait: {result.value!r}")
            elif before is not None and before == self.standing():
                self.world.violated("blocked", f"{who} has passed the barrier {before:#x}")
            elif before is not None and self.standing() is not None:
                self.world.sometimes.reached("barrier: made again while a client waits")

        self.world.outcome(waiting, f"{who} waits", done)

    def change(self, random: Random, who: str, barrier: Barrier, client: Any) -> None:
        """Put the barrier up, take it away, or write something to it."""
        kind = random.choice(("create", "create", "remove", "again", "write"))
        self.world.note(who, f"{kind} the barrier")
        if kind == "write":
            self.world.must_fire(client.set(self.path, b"%d" % random.randint(0, 9)), who)
        if kind in ("remove", "again"):
            self.world.must_fire(barrier.remove(), f"{who} removes the barrier")
        if kind in ("create", "again"):
            self.world.must_fire(barrier.create(), f"{who} creates the barrier")

    @override
    def finish(self) -> None:
        if self.working:
            super().finish()
            self.open_up()

    def open_up(self) -> None:
        """Remove the barrier as long as there is one."""
        if self.standing() is not None or not self.world.ensemble.up:
            for barrier, machine in self.barriers:
                if machine.state == "running":
                    self.world.must_fire(barrier.remove(), "the barrier is removed")
                    break
            self.later(2.0, self.open_up)

    @override
    def waiting(self) -> list[str]:
        return [f"{who} waits at the barrier" for who in self.here.values()]


class Visit:
    """A member from its wish to enter until it has left."""

    def __init__(self, who: str, began: float) -> None:
        self.who = who
        self.began = began
        self.inside: Participant | None = None
        self.since = 0.0  # when it has entered
        self.leaving: float | None = None  # since when


class Meetings(Workload):
    """A double barrier, at which three members meet again and again."""

    name = "meeting"
    path = "/barriers/two"
    members = 3

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.visits: dict[str, Visit] = {}
        self.until = 0.0  # when all were there for the last time
        self.entering: dict[Deferred[Any], Machine] = {}
        #: Until when nodes of members that are not there any more may be counted.
        self.ghosts: list[float] = []

    @override
    def start(self) -> None:
        for number in range(self.members):
            who = f"{self.name}{number}"
            machine = self.world.machine(who)
            client = self.world.client(who, machine)
            client.subscribe(self.state_changed)
            barrier = DoubleBarrier(client, self.path, self.members, who, reactor=machine)

            def come(
                random: Random, who: str = who, barrier: Any = barrier, machine: Any = machine
            ) -> None:
                if who not in self.visits:
                    self.come(random, who, barrier, machine)

            self.repeat(str(number), 0.1, 2.0, come, machine)

    def state_changed(self, state: State) -> None:
        """A client may give a session up earlier than the server, which still has its node."""
        if state is State.EXPIRED:
            self.haunt()

    def haunt(self) -> None:
        """A node of a member may stay although the member is not there any more."""
        now = self.world.kernel.now
        self.ghosts = [*(one for one in self.ghosts if one > now), now + GHOST]

    def all_together(self) -> float:
        """The latest time at which all members may have been counted as inside."""
        now = self.world.kernel.now
        there = sum(one.leaving is None for one in self.visits.values())
        ghosts = sum(one > now for one in self.ghosts)
        return now if there + ghosts >= self.members else self.until

    @override
    def check(self) -> None:
        self.until = self.all_together()

    def gone(self, visit: Visit) -> None:
        """A member is not there any more, or is about to leave."""
        self.until = self.all_together()
        visit.leaving = self.world.kernel.now

    def come(self, random: Random, who: str, barrier: DoubleBarrier, machine: Machine) -> None:
        """Enter, stay, and leave; rarely give up before."""
        visit = self.visits[who] = Visit(who, self.world.kernel.now)
        entering = barrier.enter(random.choice((None, None, None, 6.0)))
        self.entering[entering] = machine
        seconds = random.choice((0.0, 0.3, 3.0))
        if random.random() < 0.1:
            self.later(random.random() * 3, lambda: self.give_up(visit, entering), machine)

        def done(result: Any) -> None:
            self.entering.pop(entering, None)
            if isinstance(result, Failure):
                self.gone(visit)
                self.haunt_if_disturbed(visit, machine)
                del self.visits[who]
                if not result.check(*_EXPECTED):
                    self.world.violated("no error", f"{who} failed to enter: {result.value!r}")
                return
            visit.inside, visit.since = result, self.world.kernel.now
            if self.all_together() < visit.began:
                self.world.violated("together", f"{who} has entered, and not all were there")
            self.later(seconds, lambda: self.leave(visit, result), machine)

        self.world.outcome(entering, f"{who} enters", done)

    def haunt_if_disturbed(self, visit: Visit, machine: Machine) -> None:
        """A member has given up: without a fault its node is gone by now."""
        if self.world.disturbed(visit.began - SESSION, *ADDRESSES, machine.address):
            self.haunt()

    def give_up(self, visit: Visit, entering: Deferred[Any]) -> None:
        """Do not wait for the others."""
        if entering in self.entering:
            self.gone(visit)
            self.haunt_if_disturbed(visit, self.entering[entering])
            entering.cancel()

    def leave(self, visit: Visit, participant: Participant) -> None:
        """Leave together with the others."""
        self.gone(visit)

        def done(result: object) -> None:
            del self.visits[visit.who]
            if not isinstance(result, Failure):
                self.world.sometimes.reached("double barrier: all have left")
                self.left(visit)
            elif result.check(LeaseLostError):
                self.world.sometimes.reached("double barrier: member lost")
            elif not result.check(ClientClosedError, SessionExpiredError):
                self.world.violated("no error", f"{visit.who} failed to leave: {result.value!r}")

        self.world.outcome(participant.leave(), f"{visit.who} leaves", done)

    def left(self, visit: Visit) -> None:
        """A member has left: no other one may still stay inside."""
        for other in self.visits.values():
            stays = other.inside is not None and other.leaving is None
            if stays and other.since <= (visit.leaving or 0.0) and other.inside.lease.certain:  # type: ignore[union-attr]
                self.world.violated(
                    "together", f"{visit.who} has left, and {other.who} is still inside"
                )

    @override
    def finish(self) -> None:
        if self.working:
            super().finish()
            self.later(15.0, self.stop)

    def stop(self) -> None:
        """Let no member wait for others that do not come any more."""
        for entering, machine in list(self.entering.items()):
            self.later(0.0, entering.cancel, machine)
        if self.visits:
            self.later(5.0, self.stop)

    @override
    def waiting(self) -> list[str]:
        return [f"{who} is at the double barrier" for who in self.visits]

    @override
    def at_end(self) -> None:
        node = self.world.node(self.path)
        left = sorted(node.children or ()) if node is not None else []
        if left not in ([], ["ready"]):
            self.world.violated("recovers", f"{self.path} still has {left} and no member")
