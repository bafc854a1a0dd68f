"""Three real servers under faults that a seed draws, and what must hold meanwhile.

``python -m tests.functional.ensemble --seed 1 --minutes 10`` prints the figures of
docs/reliability.rst.  The seed decides the faults, their order and their lengths; what the
operating system does meanwhile is not repeated.

ZooKeeper 3.8.0 can lose what it has acknowledged if a member is killed while it joins again,
before it has written what it missed (ZOOKEEPER-4643 and 4646).  So before 3.9 every member has
joined again before the next fault, unless ``--reckless`` is given.

Clients reach each member through a proxy, and the members reach each other through one for
each direction, so any part of the network can be cut without a word to either side.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from twisted.internet import reactor as installed  # noqa: TID251 - real connections
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import LoopingCall, deferLater, react
from twisted.internet.threads import deferToThread

from tests.functional.load import Proxy
from tests.simulation.history import Register, Seen
from zkservice.client import ZooKeeperClient
from zkservice.errors import (
    BadVersionError,
    ConnectionLossError,
    LeaseLostError,
    LockTimeoutError,
    SessionExpiredError,
    ZooKeeperError,
)
from zkservice.recipes import Lease, Lock, ReliableQueue
from zkservice.registry import live_children, register
from zkservice.testing.apache import ApacheZooKeeper, ReservedPort
from zkservice.wire.session import State

T = TypeVar("T")

reactor: Any = installed

SESSION = 4.0  # seconds
#: Seconds in which everything must be well again when the last fault is over.
RECOVERY = 40.0
SIZE = 3
#: The invariants that do not hold if servers lose what they have acknowledged.
LOST_DATA = ("zxid:", "linear:", "once:", "not lost:")
#: One fault shows in many calls.
MAX_VIOLATIONS = 50


def sleep(seconds: float) -> Deferred[None]:
    """Wait in real time."""
    return deferLater(reactor, seconds, lambda: None)


async def repeated(call: Callable[[], Awaitable[T]]) -> T:
    """The result of something that may be repeated, where a busy machine may cost a connection."""
    while True:
        try:
            return await call()
        except ConnectionLossError:
            await sleep(0.1)


class Partitionable:
    """Three members, and a network between them and to their clients."""

    def __init__(self) -> None:
        self._reserved = [(ReservedPort(), ReservedPort()) for _ in range(SIZE)]
        quorum = [(one.number, other.number) for one, other in self._reserved]
        #: By source and destination: the proxies of both ports.
        self.between = {
            (source, to): tuple(Proxy(port) for port in quorum[to])
            for source in range(SIZE)
            for to in range(SIZE)
            if source != to
        }
        self.members = [self._member(number, quorum) for number in range(SIZE)]
        self.to_clients = [Proxy(member.port) for member in self.members]

    def _member(self, number: int, quorum: list[tuple[int, int]]) -> ApacheZooKeeper:
        peers = {}
        for to, ports in enumerate(quorum):
            if to == number:
                where = [str(port) for port in ports]
            else:
                proxies = self.between[number, to]
                where = [proxy.connection_string.rpartition(":")[2] for proxy in proxies]
            peers[f"server.{to + 1}"] = ":".join(["127.0.0.1", *where])
        limits = {"initLimit": "10", "syncLimit": "4"}  # ticks
        member = ApacheZooKeeper(
            configuration={**limits, **peers}, properties={"zookeeper.cnxTimeout": "1000"}
        )
        member.data_folder.mkdir()
        (member.data_folder / "myid").write_text(f"{number + 1}\n")
        return member

    @property
    def connection_string(self) -> str:
        """Where clients connect to."""
        return ",".join(proxy.connection_string for proxy in self.to_clients)

    def start(self) -> None:
        """Start all members."""
        for member in self.members:
            member.launch()
        for member in self.members:
            member.wait_until_ready()

    def links_of(self, number: int) -> list[Proxy]:
        """The network between a member and the others, in both directions."""
        return [proxy for ends, both in self.between.items() if number in ends for proxy in both]

    def remove(self) -> None:
        """End everything."""
        for member in self.members:
            member.remove()
        for proxy in (*self.to_clients, *(one for both in self.between.values() for one in both)):
            proxy.close()
        for port in (one for both in self._reserved for one in both):
            port.close()


@dataclass
class Report:
    """What happened."""

    seed: int
    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    slowest_recovery: float = 0.0
    version: tuple[int, ...] = ()  #: of the servers
    logs: str = ""  #: where those of the members are kept; "" if nothing was violated

    def violated(self, name: str, why: str) -> None:
        """An invariant does not hold."""
        if len(self.violations) < MAX_VIOLATIONS:
            self.violations.append(f"{name}: {why}")

    def __str__(self) -> str:
        lines = [f"seed {self.seed}, ZooKeeper {'.'.join(map(str, self.version))}"]
        lines += [f"{number:9,} {what}" for what, number in sorted(self.counts.items())]
        lines.append(f"{self.slowest_recovery:9.1f} s, the slowest recovery after a fault")
        lines += [f"VIOLATED {one}" for one in self.violations] or ["nothing violated"]
        lines += [f"the members' logs are in {self.logs}"] * bool(self.logs)
        return "\n".join(lines)


class Campaign:
    """One run.

    Args:
        seed: decides the faults.
        seconds: until no new fault begins.
        reckless: whether a fault may strike while members join again, with any release.
    """

    def __init__(self, seed: int, seconds: float, *, reckless: bool = False) -> None:
        self._reckless = reckless
        self.random = Random(seed)
        self.report = Report(seed)
        self.ensemble = Partitionable()
        self.clients: list[ZooKeeperClient] = []
        self.working = True
        self._until = time.monotonic() + seconds
        self._seconds = seconds

    # -- faults ------------------------------------------------------------------------

    async def faults(self) -> None:
        """One fault after the other, now and then one on top of another."""
        table: list[Callable[[], Awaitable[None]]] = [
            *(self.kill, self.kill_two, self.suspend, self.restart_each),
            *(self.part_member, self.cut_clients, self.cut_all_clients, self.blink),
        ]
        while time.monotonic() < self._until:
            chosen = self.random.sample(table, self.random.choice((1, 1, 1, 2)))
            for fault in chosen:
                self.report.counts[f"faults: {fault.__name__}"] += 1
                await fault()
                await self.settle()
            await self.recovery(", ".join(fault.__name__ for fault in chosen))
            await sleep(self.random.choice((0.0, 0.5, 2.0)))

    async def settle(self) -> None:
        """Wait until each member has joined again, where it would be a server's fault."""
        if not self._reckless and self.report.version < (3, 9):
            for member in self.ensemble.members:
                await deferToThread(member.wait_until_ready)
            await sleep(0.5)

    def length(self) -> Deferred[None]:
        """Wait for less than a session, or for more."""
        return sleep(self.random.choice((0.1, 1.0, 3.0, SESSION * 1.6)))

    async def kill(self) -> None:
        """A member dies and comes back with its data."""
        member = self.random.choice(self.ensemble.members)
        await deferToThread(member.kill)
        await self.length()
        await deferToThread(member.launch)

    async def kill_two(self) -> None:
        """The quorum is lost."""
        members = self.random.sample(self.ensemble.members, 2)
        for member in members:
            await deferToThread(member.kill)
        await self.length()
        for member in members:
            await deferToThread(member.launch)

    async def suspend(self) -> None:
        """A member stands still, and goes on."""
        member = self.random.choice(self.ensemble.members)
        if member.pid is None:
            return
        os.kill(member.pid, signal.SIGSTOP)
        await self.length()
        os.kill(member.pid, signal.SIGCONT)

    async def restart_each(self) -> None:
        """A rolling restart."""
        for member in self.ensemble.members:
            await deferToThread(member.stop)
            await deferToThread(member.launch)
            await sleep(self.random.choice((0.5, 2.0)))
            await self.settle()

    async def part_member(self) -> None:
        """A member is cut off from the others, but not from its clients."""
        await self._cut(self.ensemble.links_of(self.random.randrange(SIZE)))

    async def cut_clients(self) -> None:
        """A member is cut off from its clients, but not from the others."""
        await self._cut([self.random.choice(self.ensemble.to_clients)])

    async def cut_all_clients(self) -> None:
        """No client reaches any member."""
        await self._cut(self.ensemble.to_clients)

    async def blink(self) -> None:
        """Connections of clients are reset, one time after the other."""
        for _ in range(self.random.randint(2, 6)):
            for proxy in self.ensemble.to_clients:
                proxy.cut()
                proxy.heal()
            await sleep(self.random.random() * 0.2)

    async def _cut(self, proxies: list[Proxy]) -> None:
        for proxy in proxies:
            proxy.cut()
        await self.length()
        for proxy in proxies:
            proxy.heal()

    async def recovery(self, what: str) -> None:
        """Wait until each client has read something through the leader."""
        began = time.monotonic()
        for client in self.clients:
            while True:
                try:
                    await client.sync("/").addTimeout(2.0, reactor)
                    break
                except (ZooKeeperError, TimeoutError) as error:
                    if time.monotonic() - began > RECOVERY:
                        self.report.violated("recovers", f"not {RECOVERY} s after {what}: {error}")
                        return
                    await sleep(0.1)
        took = time.monotonic() - began
        self.report.slowest_recovery = max(self.report.slowest_recovery, took)

    # -- the run -----------------------------------------------------------------------

    def _keep_logs(self) -> None:
        """Keep the members' logs, to find the reason of a failure."""
        folder = Path(tempfile.mkdtemp(prefix="ensemble-"))
        for number, member in enumerate(self.ensemble.members, 1):
            (folder / f"member-{number}.log").write_text(member.log)
        self.report.logs = str(folder)

    async def client(self) -> ZooKeeperClient:
        """One more client."""
        client = ZooKeeperClient(self.ensemble.connection_string, SESSION)
        self.clients.append(client)
        client.subscribe(self._changed)
        return await client.connect(30)

    def _changed(self, state: State) -> None:
        self.report.counts[f"states: {state.name}"] += 1

    async def run(self) -> Report:
        """Work under faults; then everything must end well."""
        try:
            await deferToThread(self.ensemble.start)
            self.report.version = self.ensemble.members[0].version
            self._until = time.monotonic() + self._seconds
            workloads: list[Any] = [
                Registers(self),
                Holders(self),
                Consumers(self),
                Providers(self),
            ]
            for workload in workloads:
                await workload.start()
            checking = LoopingCall(lambda: [workload.check() for workload in workloads])
            checking.start(0.02)
            running = [Deferred.fromCoroutine(one) for work in workloads for one in work.work()]
            await self.faults()
            self.working = False
            for one in running:
                one.addTimeout(RECOVERY, reactor)
                try:
                    await one
                except Exception as error:  # noqa: BLE001 - all are findings
                    self.report.violated("ends", f"a workload: {error!r}")
            checking.stop()
            for workload in workloads:
                await workload.finish()
        finally:
            for client in self.clients:
                await client.close()
            if self.report.violations:
                self._keep_logs()
            await deferToThread(self.ensemble.remove)
        return self.report


class Work:
    """What clients do.

    Args:
        campaign: in which they do it.
    """

    CLIENTS = 3

    def __init__(self, campaign: Campaign) -> None:
        self.campaign = campaign
        self.report = campaign.report
        self.clients: list[ZooKeeperClient] = []

    async def start(self) -> None:
        """Connect."""
        for _ in range(self.CLIENTS):
            self.clients.append(await self.campaign.client())

    def check(self) -> None:
        """What must hold at any time."""

    def work(self) -> list[Any]:
        """The coroutines of all clients."""
        return [self.act(number, client) for number, client in enumerate(self.clients)]

    async def act(self, number: int, client: ZooKeeperClient) -> None:
        """What one client does until the end."""
        raise NotImplementedError

    async def finish(self) -> None:
        """What must hold in the end."""

    @property
    def working(self) -> bool:
        """Whether to begin something new."""
        return self.campaign.working


class Registers(Work):
    """Values that each client reads, writes and compares: writes are linearizable."""

    PATHS = ("/registers/a", "/registers/b")

    def __init__(self, campaign: Campaign) -> None:
        super().__init__(campaign)
        self.registers = {path: Register(path, self.report.violated) for path in self.PATHS}
        self.numbers = count(1)

    async def start(self) -> None:
        """Connect, and create the znodes."""
        await super().start()
        for path in self.PATHS:
            await repeated(partial(self.clients[0].ensure_path, path))

    async def act(self, number: int, client: ZooKeeperClient) -> None:
        """Reads and writes; a reply may be lost."""
        seen, version = Seen(f"client {number}", self.report.violated), -1
        while self.working:
            path = self.campaign.random.choice(self.PATHS)
            call = seen.call()
            try:
                if self.campaign.random.random() < 0.5:
                    # Followers may be behind, so a read is held against this client's own past.
                    data, stat = await client.get(path)
                    self.registers[path].read(data, stat, 0)
                    version = stat.version
                else:
                    stat = await self._write(client, path, version)
                seen.ended(call, path, stat)
                self.report.counts["calls of registers"] += 1
            except ConnectionLossError:
                await sleep(0.01)
            except (BadVersionError, SessionExpiredError):
                version = -1
            await sleep(0.002)

    async def _write(self, client: ZooKeeperClient, path: str, version: int) -> Any:
        expected = version if self.campaign.random.random() < 0.3 else -1
        register = self.registers[path]
        write = register.writing(b"%d" % next(self.numbers), expected)
        try:
            stat = await client.set(path, write.value, expected)
        except ConnectionLossError as error:
            self.report.counts["writes in doubt"] += error.maybe_applied
            if not error.maybe_applied:
                register.not_written(write)
            raise
        except BadVersionError:
            register.not_written(write)
            raise
        register.written(write, stat)
        return stat


class Holders(Work):
    """A lock: at most one lease is certain, and tokens rise."""

    PATH = "/locks/one"

    def __init__(self, campaign: Campaign) -> None:
        super().__init__(campaign)
        self.leases: list[Lease] = []
        self.highest = 0

    def check(self) -> None:
        """At most one holder."""
        if sum(lease.certain for lease in self.leases) > 1:
            self.report.violated("certain", f"more than one: {self.leases}")

    async def act(self, number: int, client: ZooKeeperClient) -> None:
        """Hold it for a moment."""
        lock = Lock(client, self.PATH, f"holder {number}", reactor=reactor)
        while self.working:
            try:
                lease = await lock.acquire(RECOVERY)
            except (SessionExpiredError, LockTimeoutError, ConnectionLossError):
                self.report.counts["locks: not acquired"] += 1
                continue
            self.report.counts["locks: acquired"] += 1
            if lease.certain:
                if lease.token <= self.highest:
                    self.report.violated("tokens", f"{lease.token:#x} after {self.highest:#x}")
                self.highest = max(self.highest, lease.token)
            self.leases.append(lease)
            self.check()
            await sleep(self.campaign.random.choice((0.0, 0.01, 0.3)))
            self.leases.remove(lease)
            await lease.release()

    async def finish(self) -> None:
        """Nobody is left in the queue."""
        names = await repeated(lambda: self.clients[0].get_children(self.PATH))
        if names:
            self.report.violated("recovers", f"{self.PATH} still has {names}")


class Consumers(Work):
    """A queue: nothing is lost, made up, or done again after it is confirmed to be done."""

    PATH = "/queues/one"

    def __init__(self, campaign: Campaign) -> None:
        super().__init__(campaign)
        self.numbers = count()
        self.asked: set[bytes] = set()
        self.put: set[bytes] = set()
        self.done: set[bytes] = set()
        self.doubtful: set[bytes] = set()

    async def act(self, number: int, client: ZooKeeperClient) -> None:
        """Put an item and get one."""
        queue = ReliableQueue(client, self.PATH, reactor=reactor)
        while self.working:
            item = b"%d" % next(self.numbers)
            self.asked.add(item)
            try:
                await queue.put(item)
                self.put.add(item)
                await self._consume(queue)
            except (ConnectionLossError, SessionExpiredError):
                self.report.counts["queues: failed"] += 1
            except TimeoutError:
                self.report.counts["queues: cancelled"] += 1
        await self._drain(queue)

    async def _consume(self, queue: ReliableQueue) -> None:
        # Not for ever: another client that has ended its work may drain the queue.
        got = await queue.get().addTimeout(10.0, reactor)
        if got.data not in self.asked:
            self.report.violated("once", f"{got.data!r} was never put")
        if got.data in self.done:
            self.report.violated("once", f"{got.data!r} was done before")
        try:
            await got.delete()
        except LeaseLostError:
            self.doubtful.add(got.data)
        else:
            self.done.add(got.data)
            self.report.counts["queues: items done"] += 1

    async def _drain(self, queue: ReliableQueue) -> None:
        while True:
            try:
                got = await queue.get().addTimeout(3.0, reactor)
                await got.delete()
                self.done.add(got.data)
            except LeaseLostError:
                continue
            except (ZooKeeperError, TimeoutError):
                return

    async def finish(self) -> None:
        """Everything that was put is done."""
        lost = self.put - self.done - self.doubtful
        if lost:
            self.report.violated("not lost", f"{sorted(lost)} were put, and are not done")
        if made_up := self.done - self.asked:
            self.report.violated("once", f"{sorted(made_up)} were never put")


class Providers(Work):
    """Registrations and a live view of them."""

    PATH = "/svc/providers"

    async def start(self) -> None:
        """Register an address for each client but the last, which looks."""
        await super().start()
        await repeated(lambda: self.clients[0].ensure_path(self.PATH))
        self.registrations = [
            register(client, self.PATH, f"10.0.0.{number}:80")
            for number, client in enumerate(self.clients[:-1], 1)
        ]
        look = partial(live_children, self.clients[-1], self.PATH, reactor=reactor)
        self.view = await repeated(look)
        for one in self.registrations:
            await one.when_registered()
            one.subscribe(lambda change: self._count(change))

    def _count(self, change: Any) -> None:
        self.report.counts[f"registration: {change.state.name}"] += 1

    def work(self) -> list[Any]:
        """Registrations work by themselves."""
        return []

    async def finish(self) -> None:
        """All are registered, by the sessions that clients have now, and the view shows it."""
        wanted = sorted(address for one in self.registrations for address in one.addresses)
        end = time.monotonic() + RECOVERY
        while sorted(self.view) != wanted:
            if time.monotonic() > end:
                self.report.violated("registered", f"the view has {sorted(self.view)}")
                return
            await sleep(0.05)
        await repeated(lambda: self.clients[-1].sync(self.PATH))
        for one, client in zip(self.registrations, self.clients, strict=False):
            stat = await repeated(partial(self.clients[-1].exists, one.path))
            identity = client.client_id
            if stat is None or identity is None or stat.ephemeral_owner != identity[0]:
                self.report.violated("registered", f"{one.path} is not its client's: {stat}")


async def run(seed: int, seconds: float, *, reckless: bool = False) -> Report:
    """Run one campaign."""
    return await Campaign(seed, seconds, reckless=reckless).run()


def main(arguments: list[str]) -> None:
    """Run, print the figures, and exit with 1 if something was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.functional.ensemble")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--reckless", action="store_true", help="see above, of old servers")
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}", flush=True)

    async def once(_: Any) -> None:
        report = await run(options.seed, options.minutes * 60, reckless=options.reckless)
        print(report, flush=True)
        if report.violations:
            raise SystemExit(1)

    react(lambda reactor: Deferred.fromCoroutine(once(reactor)))


if __name__ == "__main__":
    main(sys.argv[1:])
