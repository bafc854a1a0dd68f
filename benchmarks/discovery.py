"""Measure what it costs to find a provider for each request, beside a known address.

Claim: a request over a new connection costs at most 1.5 times as much through ``zk:`` as
through ``tcp:``, and nothing of ZooKeeper.

    python -m benchmarks.discovery [--requests 2000] [--providers 3]

It starts an Apache ZooKeeper of its own and some ``twistd zkserve``, and sends requests one
after another, each over a connection of its own.  Parsing an endpoint string of a plugin costs
as much as several requests, since Twisted looks at the files of all plugins each time; so the
figures with a string that is parsed anew for each request are shown apart.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, quoteStringArgument
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react
from typing_extensions import override

from zkservice.client import ZooKeeperClient
from zkservice.discovery import Resolver
from zkservice.testing.apache import ApacheZooKeeper, four_letter_word

ROOT = Path(__file__).parent.parent
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile="]
PATH = "/svc/hello"
REQUEST = b"GET / HTTP/1.1\r\nHost: hello\r\nConnection: close\r\n\r\n"
CLAIM = 1.5


class OneRequest(Protocol):
    """Sends one request, and reads to the end."""

    def __init__(self) -> None:
        self.answer: Deferred[bytes] = Deferred()
        self._data = b""

    @override
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(REQUEST)

    @override
    def dataReceived(self, data: bytes) -> None:
        self._data += data

    @override
    def connectionLost(self, reason: Any = None) -> None:
        self.answer.callback(self._data)


async def milliseconds(endpoint: Callable[[int], Any], requests: int) -> float:
    """What a request costs.

    Args:
        endpoint: returns the endpoint for a request's number.
        requests: how many.
    """
    start = time.perf_counter()
    for number in range(requests):
        one: Any = await endpoint(number).connect(Factory.forProtocol(OneRequest))
        answer = await one.answer
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"unexpected answer: {answer[:80]!r}")
    return (time.perf_counter() - start) * 1000 / requests


def packets(server: ApacheZooKeeper) -> int:
    """What the server has received so far, this question included."""
    said = four_letter_word(server.port, b"srvr").decode()
    return int(next(line for line in said.splitlines() if line.startswith("Received")).split()[1])


async def measure(reactor: Any, server: ApacheZooKeeper, requests: int, providers: int) -> None:
    """Run all of it, and print the table."""
    client = await ZooKeeperClient(server.connection_string, reactor=reactor).connect(10)
    resolver = await Resolver(client, PATH, reactor=reactor).start()
    await resolver.wait_for(providers)
    known = [clientFromString(reactor, f"tcp:{one.host}:{one.port}") for one in resolver.providers]
    resolver.close()
    await client.close()
    text = f"zk:{PATH}:servers={quoteStringArgument(server.connection_string)}"
    found = clientFromString(reactor, text)
    ways: dict[str, Callable[[int], Any]] = {
        "tcp:, a known address": lambda number: known[number % len(known)],
        f"zk:, {providers} providers": lambda number: found,
        "zk:, parsed for each request": lambda number: clientFromString(reactor, text),
    }
    for way in ways.values():
        await milliseconds(way, requests // 10)
    before = packets(server)
    figures: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(5):  # in turns: the machine is not the same from second to second
        for name, way in ways.items():
            figures[name].append(await milliseconds(way, requests // 5))
    cost = packets(server) - before
    best, other = (median(values) for values in list(figures.values())[:2])
    for name, values in figures.items():
        print(f"{name:30} {median(values):6.2f} ms a request, {median(values) / best:5.2f} times")
    print(f"ZooKeeper received {cost} packets meanwhile, pings included")
    if other > CLAIM * best:
        raise SystemExit(f"the claim does not hold: more than {CLAIM} times")


def main() -> None:
    """Start the servers, measure, stop them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--providers", type=int, default=3)
    options = parser.parse_args()
    with ApacheZooKeeper() as server, tempfile.TemporaryDirectory() as folder:
        words = ["--zookeeper", server.connection_string, "--path", PATH, "--host", "127.0.0.1"]
        command = [*TWISTD, "zkserve", *words, str(ROOT / "examples" / "hello.wsgi")]
        started = [
            subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
            for _ in range(options.providers)
        ]
        try:
            react(
                lambda reactor: Deferred.fromCoroutine(
                    measure(reactor, server, options.requests, options.providers)
                )
            )
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(10)


if __name__ == "__main__":
    main()
