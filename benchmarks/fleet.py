"""What a fleet of providers asks of a ZooKeeper ensemble: at rest, and when all restart at once.

``python -m benchmarks.fleet zk1:2181,zk2:2181 --providers 200``.  All providers are sessions of
this process, each with a client and a registration, as a ``twistd zkserve`` has them.  The servers
must allow the four-letter word ``mntr``, and so many connections from one address
(``maxClientCnxns``).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from random import random
from time import perf_counter
from typing import Any, Final

from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater, react

from zkservice.client import ZooKeeperClient, four_letter_word
from zkservice.discovery import Resolver
from zkservice.registry import Registration, register

PATH: Final = "/svc/fleet"
#: Seconds that the fleet is watched at rest.
REST: Final = 20.0
#: The figures of ``mntr``: name, whether each server counts its own clients only, and its meaning.
FIGURES: Final = (
    ("zk_num_alive_connections", True, "connections"),
    ("zk_packets_received", True, "packets"),
    ("zk_watch_count", True, "watches"),
    ("zk_znode_count", False, "znodes"),
    ("zk_approximate_data_size", False, "bytes"),
)


class ProviderFleet:
    """Providers that register below one path."""

    def __init__(self, reactor: Any, hosts: str, size: int) -> None:
        self._reactor = reactor
        self._hosts = hosts
        self._size = size
        self._members: list[tuple[ZooKeeperClient, Registration]] = []

    async def start(self) -> float:
        """Start all of them at once; returns the seconds until the last one is registered."""
        began = perf_counter()
        for number in range(self._size):
            client = ZooKeeperClient(self._hosts, 10.0, reactor=self._reactor)
            client.connect().addErrback(lambda _: None)
            address = f"10.0.{number // 250}.{number % 250 + 1}:8080"
            member = register(
                client,
                PATH,
                address,
                {"monitor": f"{address[:-5]}:9001", "pid": 10_000 + number},
                clock=self._reactor,
                random=random,
            )
            self._members.append((client, member))
        await self.registered()
        return perf_counter() - began

    async def registered(self) -> None:
        """Wait until all of them are registered."""
        await gatherResults([member.when_registered() for _, member in self._members])

    async def stop(self) -> float:
        """Unregister all of them and close their sessions; returns the seconds that it takes."""
        began = perf_counter()
        await gatherResults([member.unregister() for _, member in self._members])
        await gatherResults([client.close() for client, _ in self._members])
        self._members.clear()
        return perf_counter() - began


async def figures(hosts: str) -> dict[str, int]:
    """The figures of all servers: the sum, or the largest where each server has the same."""
    replies = [await four_letter_word(host, "mntr") for host in hosts.split(",")]
    tables = [
        dict(line.split("\t", 1) for line in reply.splitlines() if "\t" in line)
        for reply in replies
    ]
    combined = {}
    for name, own, meaning in FIGURES:
        values = [int(float(table.get(name, 0))) for table in tables]
        combined[meaning] = sum(values) if own else max(values)
    return combined


async def follow(reactor: Any, hosts: str, consumers: int) -> list[Resolver]:
    """Consumers, each with a session of its own, that follow the list of providers."""
    clients = [ZooKeeperClient(hosts, 10.0, reactor=reactor) for _ in range(consumers)]
    await gatherResults([client.connect(10) for client in clients])
    if clients:
        await clients[0].ensure_path(PATH)
    resolvers = [Resolver(client, PATH, reactor=reactor) for client in clients]
    await gatherResults([resolver.start() for resolver in resolvers])
    return resolvers


async def measure(reactor: Any, hosts: str, providers: int, consumers: int) -> None:
    """Start the fleet, watch it at rest, and restart it; prints what the servers counted."""
    fleet = ProviderFleet(reactor, hosts, providers)
    before = await figures(hosts)
    following = await follow(reactor, hosts, consumers)
    print(f"start of all {providers}: {await fleet.start():.2f} s")
    after = await figures(hosts)
    for meaning, value in after.items():
        print(f"  {meaning}: {value - before[meaning]:+}")
    await deferLater(reactor, REST)
    later = await figures(hosts)
    print(f"at rest: {(later['packets'] - after['packets']) / REST:.1f} packets/s")
    stopping = await fleet.stop()
    starting = await fleet.start()
    restarted = await figures(hosts)
    print(
        f"restart of all: {stopping:.2f} s to stop, {starting:.2f} s to start, "
        f"{restarted['packets'] - later['packets']} packets"
    )
    for known in sorted({len(resolver.providers) for resolver in following}):
        print(f"consumers know {known} providers")
    await fleet.stop()


def main(arguments: Sequence[str]) -> None:
    """Read the command line, and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet")
    parser.add_argument("hosts", help="HOST:PORT of each server, with commas between them")
    parser.add_argument("--providers", type=int, default=200)
    parser.add_argument("--consumers", type=int, default=0, help="sessions that follow the list")
    options = parser.parse_args(arguments)

    async def run(reactor: Any) -> None:
        await measure(reactor, options.hosts, options.providers, options.consumers)

    react(run, ())


if __name__ == "__main__":
    main(sys.argv[1:])
