"""Locks, elections and semaphores: contenders that hold, release, lose and give up."""

from __future__ import annotations

from itertools import count
from random import Random
from typing import Any, ClassVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from typing_extensions import override

from tests.simulation.machine import Machine
from tests.simulation.workloads.base import Workload
from tests.simulation.world import World
from zkservice.errors import ClientClosedError, LockTimeoutError, SessionExpiredError
from zkservice.recipes import Election, Lease, Lock, ReadWriteLock, Semaphore

_EXPECTED = (CancelledError, LockTimeoutError, ClientClosedError, SessionExpiredError)


class Leases(Workload):
    """Contenders for one thing, of which there are ``limit``."""

    limit: ClassVar[int] = 1
    path: ClassVar[str]

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.held: list[tuple[str, Lease]] = []
        self.contending: dict[Deferred[Any], str] = {}
        self.highest = 0  # token

    def make(self, client: Any, machine: Any) -> Any:
        """The recipe of a client."""
        raise NotImplementedError

    def enter(self, recipe: Any, timeout: float | None) -> Deferred[Lease]:
        """Ask for it."""
        entering: Deferred[Lease] = recipe.acquire(timeout)
        return entering

    @override
    def start(self) -> None:
        for number in range(3):
            who = f"{self.name}{number}"
            machine = self.world.machine(who)
            recipe = self.make(self.world.client(who, machine), machine)

            def contend(
                random: Random, who: str = who, recipe: Any = recipe, machine: Machine = machine
            ) -> None:
                self.contend(random, who, recipe, machine)

            self.repeat(str(number), 0.2, 4.0, contend, machine)

    def contend(self, random: Random, who: str, recipe: Any, machine: Machine) -> None:
        """Wait for it, hold it, and release it; rarely give up before."""
        if sum(name == who for name in self.contending.values()) > 1:
            return
        timeout = random.choice((None, None, 3.0))
        acquiring = self.enter(recipe, timeout)
        self.contending[acquiring] = who
        seconds = random.choice((0.05, 0.5, 2.0, 5.0))
        if random.random() < 0.15:
            self.later(random.random() * 2, lambda: self.cancel(acquiring), machine)

        def done(result: Lease | Failure) -> None:
            self.contending.pop(acquiring, None)
            if isinstance(result, Failure):
                if not result.check(*_EXPECTED):
                    self.world.violated("no error", f"{who} failed to acquire: {result.value!r}")
                return
            self.granted(who, result)
            self.later(seconds, lambda: self.release(who, result), machine)

        self.world.outcome(acquiring, f"{who} acquires", done)

    def cancel(self, acquiring: Deferred[Any]) -> None:
        """Give up."""
        if acquiring in self.contending:
            self.world.sometimes.reached("lock: cancelled")
            acquiring.cancel()

    def granted(self, who: str, lease: Lease) -> None:
        """A contender has it."""
        self.held.append((who, lease))
        lease.lost.addCallback(lambda _: self.world.sometimes.reached("lock: lost"))
        if lease.certain and self.limit == 1:
            if lease.token <= self.highest:
                self.world.violated("tokens", f"{lease!r} of {who} comes after {self.highest:#x}")
            self.highest = max(self.highest, lease.token)
        self.check()

    def release(self, who: str, lease: Lease) -> None:
        """Give it back."""
        self.world.must_fire(lease.release(), f"{who} releases {lease.path}")
        self.held = [one for one in self.held if one[1] is not lease]

    @override
    def check(self) -> None:
        certain = [f"{who}: {lease!r}" for who, lease in self.held if lease.certain]
        if len(certain) > self.limit:
            self.world.violated("certain", f"more than {self.limit} at a time: {certain}")
        if len(certain) < sum(lease.held for _, lease in self.held):
            self.world.sometimes.reached("lock: held but not certain")

    @override
    def waiting(self) -> list[str]:
        contending = [f"{who} waits for {self.path}" for who in self.contending.values()]
        return contending + [f"{who} holds {lease!r}" for who, lease in self.held]

    @override
    def at_end(self) -> None:
        node = self.world.node(self.path)
        if node is not None and node.children:
            self.world.violated(
                "recovers", f"{self.path} still has {sorted(node.children)} and no contender"
            )


class LockHolders(Leases):
    """One holder at a time."""

    name = "lock"
    path = "/locks/one"

    @override
    def make(self, client: Any, machine: Any) -> Lock:
        return Lock(client, self.path, machine.name, reactor=machine)


class SemaphoreHolders(Leases):
    """Two holders at a time."""

    name = "semaphore"
    path = "/semaphores/one"
    limit = 2

    @override
    def make(self, client: Any, machine: Any) -> Semaphore:
        return Semaphore(client, self.path, 2, reactor=machine)

    @override
    def at_end(self) -> None:
        """Its nodes have other names; the locks' test has the same code."""


class Candidates(Leases):
    """One leader at a time."""

    name = "election"
    path = "/elections/one"

    @override
    def make(self, client: Any, machine: Any) -> Election:
        return Election(client, self.path, machine.name, reactor=machine)

    @override
    def enter(self, recipe: Any, timeout: float | None) -> Deferred[Lease]:
        leading: Deferred[Lease] = recipe.lead(timeout)
        return leading


class Sharers(Leases):
    """Readers and writers of one thing."""

    name = "sharer"
    path = "/locks/shared"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.turns = count()
        self.highest_written = 0  # token of a writer

    @override
    def make(self, client: Any, machine: Any) -> ReadWriteLock:
        return ReadWriteLock(client, self.path, machine.name, reactor=machine)

    @override
    def enter(self, recipe: Any, timeout: float | None) -> Deferred[Lease]:
        lock = recipe.write() if next(self.turns) % 3 == 0 else recipe.read()
        acquiring: Deferred[Lease] = lock.acquire(timeout)
        return acquiring

    @override
    def granted(self, who: str, lease: Lease) -> None:
        self.held.append((who, lease))
        if lease.certain:
            before = self.highest_written if _reads(lease) else self.highest
            if lease.token <= before:
                self.world.violated("tokens", f"{lease!r} of {who} comes after {before:#x}")
            self.highest = max(self.highest, lease.token)
            if not _reads(lease):
                self.highest_written = lease.token
        self.check()

    @override
    def check(self) -> None:
        certain = [(who, lease) for who, lease in self.held if lease.certain]
        writers = sum(not _reads(lease) for _, lease in certain)
        if writers and len(certain) > 1:
            self.world.violated("shared", f"{writers} of {certain} write")
        if len(certain) > 1:
            self.world.sometimes.reached("lock: several readers")


def _reads(lease: Lease) -> bool:
    return "__rlock__" in lease.path
