"""What can go wrong: one function for each fault, and one table of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.simulation.choices import weighted
from tests.simulation.machine import Machine
from tests.simulation.network import Connection
from tests.simulation.world import SESSION, World
from tests.simulation.zookeeper import ADDRESSES, NAME

Heal = Callable[[], object]
#: Does harm, and returns what ends it; None if it ends by itself.
Strike = Callable[[World, Random], "Heal | None"]


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        strike: does it.
        weight: how often it comes.
        longest: seconds until it is healed.
        bounded: whether a world recovers from it, so that runs which must recover have it.
        voids: names of the invariants that cannot hold where it strikes.
        server: whether it strikes the server as such.
    """

    strike: Strike
    weight: float = 1.0
    longest: float = 5.0
    bounded: bool = True
    voids: tuple[str, ...] = ()
    server: bool = False


def _touch(world: World, machine: Machine) -> Machine:
    world.network.harmed[machine.address] = world.kernel.now
    return machine


def _break(world: World, machine: Machine, heal: Heal) -> Heal:
    """Note that something is wrong with a machine until it is healed."""
    address = machine.address
    world.broken[address] += 1

    def healed() -> None:
        world.broken[address] -= 1
        world.network.harmed[address] = world.kernel.now
        heal()

    return healed


def _zookeeper_connections(world: World) -> list[Connection]:
    return [one for one in world.network.connections if one.server.here.host in ADDRESSES]


def _some(world: World, random: Random) -> list[Connection]:
    found = list(world.network.connections)
    return random.sample(found, min(len(found), random.randint(1, 4)))


def cut(world: World, random: Random) -> None:
    """Connections break."""
    for one in _some(world, random):
        one.cut()


def cut_at_a_byte(world: World, random: Random) -> None:
    """Connections break after some more bytes, in the middle of anything."""
    for one in _some(world, random):
        end = random.choice(one.ends)
        one.harm()
        end.cut_after = end.total + random.choice(
            (1, random.randint(1, 60), random.randint(1, 900))
        )


def half_open(world: World, random: Random) -> None:
    """Nothing comes through any more, and neither side learns it."""
    for one in _some(world, random):
        one.swallow()
        world.sometimes.reached("half-open connection")


def swizzle(world: World, random: Random) -> Heal:
    """Connections stop one by one, and go on in another order (FoundationDB)."""
    chosen = list(world.network.connections)
    chosen = random.sample(chosen, len(chosen) // 2 + 1 if chosen else 0)
    world.sometimes.reached("swizzle-clog")
    for one in chosen:
        world.kernel.after(random.random() * 2, one.clog)
    again = random.sample(chosen, len(chosen))
    for number, one in enumerate(again):
        world.kernel.after(2.1 + random.random() * 3 + number * 0.05, one.release)

    def heal() -> None:
        for one in chosen:
            one.release()

    return heal


def slow(world: World, random: Random) -> Heal:
    """Everything to and from a machine takes long."""
    machine = random.choice([world.ensemble.machine, *world.machines])
    address = machine.address
    world.network.slow[address] = random.choice((0.1, 0.5, 2.0))
    return _break(world, machine, lambda: world.network.slow.pop(address, None))


def refused(world: World, random: Random) -> Heal:
    """A server refuses connections; those that are open stay."""
    chosen = random.sample(ADDRESSES, random.randint(1, 2))
    world.network.refused.update(chosen)
    return lambda: world.network.refused.difference_update(chosen)


def full(world: World, random: Random) -> Heal:
    """The server accepts connections, and closes them at once."""
    server = world.ensemble.server
    server.refuse = True

    def heal() -> None:
        server.refuse = False

    return heal


def silent(world: World, random: Random) -> Heal:
    """A server does not answer to who wants to connect; open connections break."""
    chosen = random.sample(ADDRESSES, random.randint(1, 2))
    world.network.silent.update(chosen)
    for one in _zookeeper_connections(world):
        if one.server.here.host in chosen and random.random() < 0.7:
            one.cut()
    return lambda: world.network.silent.difference_update(chosen)


def lost_replies(world: World, random: Random) -> Heal:
    """Requests are carried out, and the connection breaks before their reply."""
    share = random.choice((0.05, 0.2, 0.5))
    world.lost_replies = lambda opcode: random.random() < share

    def heal() -> None:
        world.lost_replies = lambda opcode: False

    return heal


def restart(world: World, random: Random) -> Heal:
    """The server's process is killed, and comes back with its data."""
    ensemble = world.ensemble
    if ensemble.disk is None:
        return lambda: None
    ensemble.kill()
    world.sometimes.reached("restart with its data")
    return lambda: ensemble.restart_if_dead(wipe=False)


def wipe(world: World, random: Random) -> Heal:
    """The server's process is killed, and comes back with nothing."""
    ensemble = world.ensemble
    ensemble.kill()
    world.sometimes.reached("restart without its data")
    return lambda: ensemble.restart_if_dead(wipe=True)


def paused(world: World, random: Random) -> Heal:
    """The server's process is suspended."""
    machine = world.ensemble.machine
    machine.suspend()
    return machine.resume


def suspended(world: World, random: Random) -> Heal | None:
    """Another process is suspended."""
    running = [one for one in world.machines if one.state == "running"]
    if not running:
        return None
    machine, began = random.choice(running), world.seconds
    machine.suspend()

    def heal() -> None:
        if world.seconds - began > SESSION and machine.state == "suspended":
            world.sometimes.reached("suspended longer than the session")
        machine.resume()

    return _break(world, machine, heal)


def clock_stands(world: World, random: Random) -> Heal | None:
    """A process is suspended, and its clock with it."""
    running = [one for one in world.machines if one.state == "running"]
    if not running:
        return None
    machine, before = random.choice(running), world.kernel.now
    machine.suspend()

    def go_on() -> None:
        machine.offset -= world.kernel.now - before
        machine.resume()

    return _break(world, machine, go_on)


def jump(world: World, random: Random) -> None:
    """The clock of a client's machine is set, far forward or a little back."""
    world.sometimes.reached("clock jumped")
    machine = _touch(world, random.choice(world.machines))
    machine.jump(random.choice((-5.0, -0.5, 0.5, 5.0, 3600.0)))


def jump_back(world: World, random: Random) -> None:
    """The clock of a client's machine is set back by an hour: all its timers stand that long."""
    world.sometimes.reached("clock jumped")
    _touch(world, random.choice(world.machines)).jump(-3600.0)


def server_jump(world: World, random: Random) -> None:
    """The server's clock is set forward: it may end sessions before their time."""
    world.sometimes.reached("clock jumped")
    world.ensemble.machine.jump(random.choice((0.5, 5.0, 60.0)))


def expire(world: World, random: Random) -> None:
    """The server ends a session before its time."""
    if world.ensemble.up:
        sessions = world.ensemble.server.sessions()
        if sessions:
            world.ensemble.server.expire(random.choice(sessions))


def full_disk(world: World, random: Random) -> Heal | None:
    """The server's disk is full."""
    disk = world.ensemble.disk
    if disk is None:
        return None
    disk.full = True
    world.sometimes.reached("disk full")

    def heal() -> None:
        disk.full = False

    return heal


def read_only(world: World, random: Random) -> Heal:
    """The server is read-only for a while."""
    server = world.ensemble.server
    if world.ensemble.up:
        server.read_only = True

    def heal() -> None:
        if world.ensemble.up and world.ensemble.server is server:
            server.read_only = False

    return heal


def names(world: World, random: Random) -> Heal:
    """The name of the server is not known, or takes long."""
    world.sometimes.reached("names unknown")
    if random.random() < 0.5:
        world.network.unknown_names.add(NAME)
    else:
        world.network.slow_names = 3.0
    for one in _zookeeper_connections(world):
        if random.random() < 0.5:
            one.cut()

    def heal() -> None:
        world.network.unknown_names.discard(NAME)
        world.network.slow_names = 0.0

    return heal


#: What a server's own faults make untrue about leases: it ends sessions before their time.
_LEASES: Final = ("certain", "shared", "together", "tokens")
#: What the loss of the data makes untrue.
_DATA: Final = (
    *_LEASES,
    "once",
    "taken",
    "not lost",
    "counted",
    "linear",
    "zxid",
    "event first",
    "whole",
)

FAULTS: Final[dict[str, Fault]] = {
    "cut": Fault(cut, 4.0),
    "cut at a byte": Fault(cut_at_a_byte, 4.0),
    "half-open": Fault(half_open, 2.0),
    "swizzle-clog": Fault(swizzle, 1.0, 8.0),
    "slow": Fault(slow, 1.0, 10.0),
    "refused": Fault(refused, 1.0, 8.0, server=True),
    "full server": Fault(full, 0.7, 8.0, server=True),
    "silent": Fault(silent, 1.0, 8.0, server=True),
    "lost replies": Fault(lost_replies, 3.0, 8.0, server=True),
    "restart": Fault(restart, 1.5, 5.0, server=True),
    "paused server": Fault(paused, 1.0, 9.0, server=True),
    "suspended": Fault(suspended, 1.5, 12.0),
    "clock stands": Fault(clock_stands, 0.5, 12.0),
    "jump": Fault(jump, 1.0),
    "jump back": Fault(
        jump_back, 0.5, bounded=False, voids=("fires", "nothing left", "own znode", "answered")
    ),
    "full disk": Fault(full_disk, 0.5, 4.0, server=True),
    "names": Fault(names, 0.5, 6.0, server=True),
    "read-only": Fault(read_only, 0.5, 6.0, server=True),
    "expire": Fault(expire, 1.0, voids=_LEASES, server=True),
    "server's clock jumps": Fault(server_jump, 0.5, voids=_LEASES, server=True),
    "wipe": Fault(wipe, 0.5, 5.0, bounded=True, voids=_DATA, server=True),
}


class Storm:
    """Faults one after the other, some at the same time.

    Args:
        menu: the names of the faults that this run may have.
        mean: seconds between faults.
    """

    def __init__(self, world: World, menu: list[str], mean: float) -> None:
        self._world = world
        self._menu = {name: FAULTS[name].weight for name in menu}
        self._mean = mean
        self._healing: dict[int, tuple[str, Heal]] = {}
        self.count = 0
        for name in menu:
            world.void.update(FAULTS[name].voids)

    def start(self, seconds: float) -> None:
        """Have faults for so long."""
        when, number = 1.0, 0
        while True:
            random = self._world.choices.fixed(f"when fault#{number}")
            when += random.expovariate(1 / self._mean)
            if when >= seconds:
                return
            self._world.kernel.after(when, self._strike, number)
            number += 1

    def _strike(self, number: int) -> None:
        world = self._world
        random = world.choices.event(f"fault#{number}")
        if random is None:
            return
        name = weighted(random, self._menu)
        fault = FAULTS[name]
        self.count += 1
        world.note("FAULT", f"#{number} {name}")
        heal = fault.strike(world, random)
        if fault.server:
            _touch(world, world.ensemble.machine)
            heal = _break(world, world.ensemble.machine, heal) if heal is not None else None
        if heal is not None:
            self._healing[number] = name, heal
            world.kernel.after(random.random() * fault.longest, self._heal, number)

    def _heal(self, number: int) -> None:
        name, heal = self._healing.pop(number, (None, None))
        if heal is not None:
            self._world.note("HEALED", f"#{number} {name}")
            heal()

    def stop(self) -> None:
        """Heal everything."""
        for number in list(self._healing):
            self._heal(number)
        network = self._world.network
        for connection in list(network.connections):
            if connection.clogged:
                connection.release()
