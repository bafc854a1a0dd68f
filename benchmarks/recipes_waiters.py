"""Many waiters for one lock on one client: the cost of queueing them all, and of a handover.

Claim: with 1,000 waiters a handover takes less than twice the processor time that it takes with
100, and queueing takes less than a millisecond of processor time for each waiter.

    python -m benchmarks.recipes_waiters [--hosts H:P] [--rounds 3]

It starts an Apache ZooKeeper of its own.  Each contender is a process of its own, and they take
turns.  ours: one `Lock` object for all waiters; many: a `Lock` object for each; kazoo: a thread and
a ``Lock`` for each, since its locks block.

settle:    processor time until all are queued, each behind the one before it
handover:  from then on each holder releases at once; the mean processor time and time
           per holder
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from statistics import median
from typing import Any
from uuid import uuid4

from kazoo.client import KazooClient
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react

from zkservice.client import ZooKeeperClient
from zkservice.recipes import Lease, Lock

Figures = dict[str, float]

#: Seconds for which a process must be nearly idle to be considered quiet.
QUIET = 0.25


class Meter:
    """Measures when a process is quiet, and the processor time that it has used until then."""

    def __init__(self) -> None:
        self._began = self._last = time.process_time()

    def is_quiet(self) -> bool:
        """Whether it has used less than a hundredth of `QUIET` since it was asked last."""
        last, self._last = self._last, time.process_time()
        return self._last - last < QUIET / 100

    def settled(self) -> float:
        """Milliseconds that it has used."""
        return (self._last - self._began) * 1000


def handovers(count: int, cpu: float, wall: float) -> Figures:
    """Milliseconds for each."""
    return {"handover": cpu / count * 1000, "handover, time": wall / count * 1000}


def ours(hosts: str, count: int, *, shared: bool = True) -> Figures:
    """Our client, and one lock object or many."""
    figures: Figures = {}

    async def run(reactor: Any) -> None:
        client = await ZooKeeperClient(hosts, 30.0).connect(30)
        path = f"/bench-{uuid4().hex}"
        one = Lock(client, path)
        first = await one.acquire()

        def release(lease: Lease) -> Deferred[None]:
            return lease.release()

        meter = Meter()
        locks = [one if shared else Lock(client, path) for _ in range(count)]
        waiting = [lock.acquire().addCallback(release) for lock in locks]
        await deferLater(reactor, QUIET)
        while not meter.is_quiet():
            await deferLater(reactor, QUIET)
        figures["settle"] = meter.settled()
        cpu, wall = time.process_time(), time.perf_counter()
        await first.release()
        await gatherResults(waiting)
        figures.update(handovers(count, time.process_time() - cpu, time.perf_counter() - wall))
        await client.close()

    try:
        react(run)
    except SystemExit as error:
        if error.code:
            raise
    return figures


def many(hosts: str, count: int) -> Figures:
    """Our client, and as many lock objects."""
    return ours(hosts, count, shared=False)


def kazoo(hosts: str, count: int) -> Figures:
    """kazoo, and as many threads."""
    client = KazooClient(hosts, timeout=30.0)
    client.start()
    path = f"/bench-{uuid4().hex}"
    first = client.Lock(path)
    first.acquire()

    def work() -> None:
        with client.Lock(path):
            pass

    threads = [threading.Thread(target=work) for _ in range(count)]
    meter = Meter()
    for thread in threads:
        thread.start()
    time.sleep(QUIET)
    while not meter.is_quiet():
        time.sleep(QUIET)
    figures = {"settle": meter.settled()}
    cpu, wall = time.process_time(), time.perf_counter()
    first.release()
    for thread in threads:
        thread.join()
    figures.update(handovers(count, time.process_time() - cpu, time.perf_counter() - wall))
    client.stop()
    client.close()
    return figures


CONTENDERS: dict[str, Callable[[str, int], Figures]] = {"ours": ours, "many": many, "kazoo": kazoo}
COUNTS = (100, 1000)


def in_a_process(contender: str, hosts: str, count: int) -> Figures:
    """Run one contender."""
    words = ["--hosts", hosts, "--contender", contender, "--count", str(count)]
    command = [sys.executable, "-m", "benchmarks.recipes_waiters", *words]
    answer: Figures = json.loads(subprocess.run(command, check=True, stdout=-1).stdout)
    return answer


def compare(hosts: str, rounds: int) -> bool:
    """Let them take turns, and print the table; return whether the claim holds."""
    found: dict[tuple[str, int], list[Figures]] = {}
    for _ in range(rounds):
        for name in CONTENDERS:
            for count in COUNTS:
                found.setdefault((name, count), []).append(in_a_process(name, hosts, count))
    print(f"{'milliseconds':16}{'waiters':>8}" + "".join(f"{name:>10}" for name in CONTENDERS))
    medians: dict[tuple[str, int, str], float] = {}
    for what in ("settle", "handover", "handover, time"):
        for count in COUNTS:
            for name in CONTENDERS:
                medians[name, count, what] = median(one[what] for one in found[name, count])
            cells = "".join(f"{medians[name, count, what]:10.2f}" for name in CONTENDERS)
            print(f"{what:16}{count:8}{cells}")
    few_waiters, many_waiters = COUNTS
    flat = medians["ours", many_waiters, "handover"] < 2 * medians["ours", few_waiters, "handover"]
    return flat and medians["ours", many_waiters, "settle"] < many_waiters


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure many waiters for one lock.")
    parser.add_argument("--hosts", help="a server; default: one is started")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        print(json.dumps(CONTENDERS[options.contender](options.hosts, options.count)))
        return 0
    if options.hosts:
        return 0 if compare(options.hosts, options.rounds) else 1
    from zkservice.testing.apache import ApacheZooKeeper

    with ApacheZooKeeper(configuration={"maxSessionTimeout": "60000"}) as server:
        return 0 if compare(server.connection_string, options.rounds) else 1


if __name__ == "__main__":
    raise SystemExit(main())
