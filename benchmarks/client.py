"""Compare the client with kazoo, and with what the server can do at best.

Claims: a sequential ``get`` at least 2.3 times kazoo's rate, a pipelined one at least 2.5
times, pipelined create and delete at least twice; 5,000 children listed at least as fast;
pipelined ``get`` at least 0.8 of a blocking socket whose requests are packed by hand.

    python -m benchmarks.client [--rounds N] [--hosts HOST:PORT]

The two ceilings are a blocking socket and a bare Twisted protocol that pack their requests
before the clock starts and only count the bytes that come back.  Without ``--hosts`` it starts
an Apache ZooKeeper of its own.  The contenders take turns, each in a process of its own; the
table has medians of the rounds, in operations a second.
"""

from __future__ import annotations

import argparse
import json
import resource
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from statistics import median
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react
from typing_extensions import override

from zkservice.client import ZooKeeperClient

NODE, DATA = "/benchmark", bytes(100)
REPLY = 4 + 16 + 4 + len(DATA) + 68  # bytes
CHILDREN = 5_000
#: Operations in one measurement.
SEQUENTIAL, PIPELINED, WRITES, LISTINGS = 2_000, 20_000, 10_000, 20

Figures = dict[str, float]


def rate(count: int, work: Callable[[], object]) -> float:
    """Operations a second, of work that does so many."""
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def in_a_reactor(run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine function to its end."""
    try:
        react(lambda _: Deferred.fromCoroutine(run()), [])
    except SystemExit as end:
        if end.code:
            raise


# -- ours


def ours(hosts: str) -> Figures:
    """The client of this package."""
    figures: Figures = {}

    async def timed(count: int, work: Coroutine[Any, Any, object]) -> float:
        began = time.perf_counter()
        await Deferred.fromCoroutine(work)
        return count / (time.perf_counter() - began)

    async def run() -> None:
        client = await ZooKeeperClient(hosts, 10.0).connect(10)

        async def sequential() -> None:
            for _ in range(SEQUENTIAL):
                await client.get(NODE)

        async def all_of(calls: list[Deferred[Any]]) -> None:
            await gatherResults(calls)

        async def pipelined() -> None:
            await all_of([client.get(NODE) for _ in range(PIPELINED)])

        async def creates() -> None:
            await all_of([client.create(f"{NODE}/ours{n}", DATA) for n in range(WRITES)])

        async def deletes() -> None:
            await all_of([client.delete(f"{NODE}/ours{n}") for n in range(WRITES)])

        async def listings() -> None:
            for _ in range(LISTINGS):
                await client.get_children(f"{NODE}/many")

        await pipelined()  # warm the server up, too
        figures["sequential get"] = await timed(SEQUENTIAL, sequential())
        figures["pipelined get"] = await timed(PIPELINED, pipelined())
        figures["pipelined create"] = await timed(WRITES, creates())
        figures["pipelined delete"] = await timed(WRITES, deletes())
        figures["list 5,000 children"] = await timed(LISTINGS, listings())
        await client.close()

    in_a_reactor(run)
    return figures


# -- kazoo


def kazoo(hosts: str) -> Figures:
    """kazoo, with its default handler of threads."""
    from kazoo.client import KazooClient

    client = KazooClient(hosts=hosts, timeout=10.0)
    client.start()

    def all_of(results: list[Any]) -> None:
        for result in results:
            result.get()

    def pipelined() -> None:
        all_of([client.get_async(NODE) for _ in range(PIPELINED)])

    pipelined()
    figures = {
        "sequential get": rate(SEQUENTIAL, lambda: [client.get(NODE) for _ in range(SEQUENTIAL)]),
        "pipelined get": rate(PIPELINED, pipelined),
        "pipelined create": rate(
            WRITES,
            lambda: all_of([client.create_async(f"{NODE}/kazoo{n}", DATA) for n in range(WRITES)]),
        ),
        "pipelined delete": rate(
            WRITES,
            lambda: all_of([client.delete_async(f"{NODE}/kazoo{n}") for n in range(WRITES)]),
        ),
        "list 5,000 children": rate(
            LISTINGS, lambda: [client.get_children(f"{NODE}/many") for _ in range(LISTINGS)]
        ),
    }
    client.stop()
    client.close()
    return figures


# -- the ceilings

CONNECT_REQUEST = struct.pack(">iiqiqi16s?", 45, 0, 0, 10_000, 0, 16, bytes(16), False)


def get_request(xid: int) -> bytes:
    """A request: length, number, operation 4, path, no watch."""
    path = NODE.encode()
    return struct.pack(f">iiii{len(path)}s?", 13 + len(path), xid, 4, len(path), path, False)


class Bare(Protocol):
    """What any Twisted client costs at least: it counts the bytes of replies, and parses none."""

    def __init__(self) -> None:
        self.due = 0  # bytes of replies that were not received yet
        self.done: Deferred[None] = Deferred()

    def send(self, data: bytes, due: int) -> Deferred[None]:
        """Send requests; fires when ``due`` bytes were received."""
        assert self.transport is not None
        self.due, self.done = due, Deferred()
        self.transport.write(data)
        return self.done

    @override
    def dataReceived(self, data: bytes) -> None:
        self.due -= len(data)
        if self.due <= 0 and not self.done.called:
            self.done.callback(None)


def bare(hosts: str) -> Figures:
    """A Twisted protocol: requests packed before the clock starts, replies only counted."""
    figures: Figures = {}
    host, port = hosts.split(":")

    async def run() -> None:
        from twisted.internet import reactor

        endpoint = TCP4ClientEndpoint(reactor, host, int(port))
        protocol = await endpoint.connect(Factory.forProtocol(Bare))
        protocol.transport.setTcpNoDelay(True)
        await protocol.send(CONNECT_REQUEST, 41)
        reply = REPLY
        requests = [get_request(xid + 1) for xid in range(PIPELINED)]
        await protocol.send(b"".join(requests), reply * PIPELINED)
        began = time.perf_counter()
        for request in requests[:SEQUENTIAL]:
            await protocol.send(request, reply)
        figures["sequential get"] = SEQUENTIAL / (time.perf_counter() - began)
        began = time.perf_counter()
        await protocol.send(b"".join(requests), reply * PIPELINED)
        figures["pipelined get"] = PIPELINED / (time.perf_counter() - began)

    in_a_reactor(run)
    return figures


def by_hand(hosts: str) -> Figures:
    """A blocking socket: requests packed before the clock starts, replies only counted."""
    host, port = hosts.split(":")
    connection = socket.create_connection((host, int(port)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(CONNECT_REQUEST)
    connection.recv(1000)
    connection.sendall(get_request(1))
    reply = len(connection.recv(1000))

    def read(size: int) -> None:
        while size:
            size -= len(connection.recv(min(size, 65536)))

    def sequential() -> None:
        for xid in range(SEQUENTIAL):
            connection.sendall(get_request(xid + 1))
            read(reply)

    def pipelined() -> None:
        # In portions that fit into the buffers between this process and the server.
        portion = 1000
        requests = [b"".join(get_request(xid + 1) for xid in range(portion))] * (
            PIPELINED // portion
        )
        connection.sendall(requests[0])
        for request in requests[1:]:
            connection.sendall(request)
            read(reply * portion)
        read(reply * portion)

    pipelined()
    return {
        "sequential get": rate(SEQUENTIAL, sequential),
        "pipelined get": rate(PIPELINED, pipelined),
    }


# -- memory


def idle(hosts: str) -> Figures:
    """What 1,000 idle clients in one process cost."""
    figures: Figures = {}

    async def run() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        clients = [ZooKeeperClient(hosts, 10.0) for _ in range(1000)]
        await gatherResults([client.connect(30) for client in clients])
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        figures["KiB for each of 1,000 idle clients"] = (after - before) / 1000
        await gatherResults([client.close() for client in clients])

    in_a_reactor(run)
    return figures


# -- taking turns

CONTENDERS = {"ours": ours, "kazoo": kazoo, "by hand": by_hand, "bare": bare, "idle": idle}


def in_a_process(contender: str, hosts: str) -> Figures:
    """Run one contender."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.client",
        "--hosts",
        hosts,
        "--contender",
        contender,
    ]
    answer: Figures = json.loads(subprocess.run(command, check=True, stdout=-1).stdout)
    return answer


def prepare(hosts: str) -> None:
    """Create the nodes that are read, unless they exist."""

    async def run() -> None:
        client = await ZooKeeperClient(hosts).connect(10)
        if await client.exists(NODE) is None:
            await client.create(NODE, DATA)
            await client.create(f"{NODE}/many")
            many = [client.create(f"{NODE}/many/child-{n:010}") for n in range(CHILDREN)]
            await gatherResults(many)
        await client.close()

    in_a_reactor(run)


def compare(hosts: str, rounds: int) -> None:
    """Let them take turns, and print the table."""
    subprocess.run(
        [sys.executable, "-m", "benchmarks.client", "--hosts", hosts, "--contender", "prepare"],
        check=True,
    )
    results: dict[str, list[Figures]] = {name: [] for name in ("by hand", "bare", "kazoo", "ours")}
    for _ in range(rounds):
        for name, found in results.items():
            found.append(in_a_process(name, hosts))
    medians = {
        name: {what: median(one[what] for one in found) for what in found[0]}
        for name, found in results.items()
    }
    others = ("kazoo", "bare", "by hand")
    print(f"{'':24}{'ours':>10}" + "".join(f"{name:>10}{'ratio':>8}" for name in others))
    for what, figure in medians["ours"].items():
        line = f"{what:24}{figure:10,.0f}"
        for name in others:
            other = medians[name].get(what)
            line += f"{other:10,.0f}{figure / other:8.2f}" if other else ""
        print(line)
    for what, figure in in_a_process("idle", hosts).items():
        print(f"{what}: {figure:.1f}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Compare ZooKeeper clients.")
    parser.add_argument("--hosts", help="a server; default: one is started")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender == "prepare":
        prepare(options.hosts)
    elif options.contender:
        print(json.dumps(CONTENDERS[options.contender](options.hosts)))
    elif options.hosts:
        compare(options.hosts, options.rounds)
    else:
        from zkservice.testing.apache import ApacheZooKeeper

        with ApacheZooKeeper() as server:
            compare(server.connection_string, options.rounds)


if __name__ == "__main__":
    main()
