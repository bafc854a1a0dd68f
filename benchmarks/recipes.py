"""Count what recipes cost a server.

Claim of ``queue``: an item that is put in while 100 consumers wait causes 5 events at most
and 20 requests at most, that of the put included, however many consumers there are.

    python -m benchmarks.recipes [SECTION ...] [--consumers 100] [--puts 50] [--hosts HOST:PORT]

Each consumer is a client of its own, and gets the next item as soon as it has one.  Without
``--hosts`` the server is an embedded one in the same process: what is counted does not
depend on it; ``waiters`` starts an Apache ZooKeeper.  It ends with exit code 1 if a claim
does not hold.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react
from twisted.internet.threads import deferToThread

from zkservice.client import ZooKeeperClient
from zkservice.recipes import Queue, ReliableQueue
from zkservice.testing import EmbeddedZooKeeper

#: The most events and requests for each item.
EVENTS: Final = 5
REQUESTS: Final = 20

PATH: Final = "/benchmark-recipes"

#: Prints its figures; whether its claim holds.
Section = Callable[[Any, str, argparse.Namespace], Awaitable[bool]]


# -- queues


async def queue(reactor: Any, hosts: str, options: argparse.Namespace) -> bool:
    """Items for many consumers that wait."""
    print(f"{options.consumers} consumers of one queue, for each of {options.puts} items")
    print(f"{'':<14}   events   requests   ms")
    good = [await _measure_puts(reactor, hosts, options, kind) for kind in (Queue, ReliableQueue)]
    return all(good)


async def _measure_puts(reactor: Any, hosts: str, options: argparse.Namespace, kind: Any) -> bool:
    """Put items in, each when all is quiet, and count what that causes."""
    path = f"{PATH}/{kind.__name__}"
    clients = [ZooKeeperClient(hosts, 30.0) for _ in range(options.consumers + 1)]
    await gatherResults([client.connect(10.0) for client in clients])
    producer, *consumers = clients
    taken: list[Deferred[None]] = [Deferred() for _ in range(options.puts)]
    waiting = iter(taken)
    consuming = [Deferred.fromCoroutine(_consume(kind(one, path), waiting)) for one in consumers]
    await _wait_until_quiet(reactor, clients)
    began, before, pauses = time.perf_counter(), _counts(clients), 0.0
    for done in taken:
        await kind(producer, path).put(b"item")
        await done
        paused = time.perf_counter()
        await _wait_until_quiet(reactor, clients)
        pauses += time.perf_counter() - paused
    seconds = time.perf_counter() - began - pauses
    after = _counts(clients)
    for one in consuming:
        one.addErrback(lambda failure: None)
        one.cancel()
    await gatherResults([client.close() for client in clients])
    events, requests = ((b - a) / options.puts for a, b in zip(before, after, strict=True))
    print(
        f"{kind.__name__:<14} {events:8.1f} {requests:10.1f} {seconds / options.puts * 1000:4.1f}"
    )
    return events <= EVENTS and requests <= REQUESTS


async def _consume(items: Any, waiting: Any) -> None:
    """Take items out for ever; fire the next Deferred of ``waiting`` for each."""
    while True:
        item = await items.get()
        if not isinstance(item, bytes):
            await item.delete()
        next(waiting).callback(None)


async def _wait_until_quiet(reactor: Any, clients: list[ZooKeeperClient]) -> None:
    """Wait until nothing more is sent."""
    last = None
    while (now := _counts(clients)) != last:
        last = now
        await deferLater(reactor, 0.05, lambda: None)


def _counts(clients: list[ZooKeeperClient]) -> tuple[int, int]:
    """Events and requests of all clients."""
    known = [client.statistics() for client in clients]
    return sum(one.events for one in known), sum(one.requests for one in known)


# -- locks


async def waiters(_: Any, __: str, options: argparse.Namespace) -> bool:
    """Many waiters for one lock: `benchmarks/recipes_waiters.py`, in processes of their own."""
    words = ["--hosts", options.hosts] if options.hosts else []
    command = [sys.executable, "-m", "benchmarks.recipes_waiters", *words]
    return (await deferToThread(subprocess.run, command)).returncode == 0


# -- all of them

SECTIONS: Final[dict[str, Section]] = {"queue": queue, "waiters": waiters}


async def run(reactor: Any, options: argparse.Namespace) -> None:
    """Run the sections."""
    good = True
    for name in options.sections or SECTIONS:
        if options.hosts:
            good = await SECTIONS[name](reactor, options.hosts, options) and good
            continue
        server = EmbeddedZooKeeper()
        await server.start()
        try:
            good = await SECTIONS[name](reactor, server.connection_string, options) and good
        finally:
            await server.stop()
    if not good:
        raise SystemExit("a claim does not hold")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--consumers", type=int, default=100)
    parser.add_argument("--puts", type=int, default=50)
    parser.add_argument("--hosts")
    options = parser.parse_args()
    for name in options.sections:
        if name not in SECTIONS:
            parser.error(f"there is no section {name}: {', '.join(SECTIONS)}")
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, options)), [])


if __name__ == "__main__":
    sys.exit(main())
