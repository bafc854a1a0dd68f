"""Kill and stop the providers of a service again and again, and count the requests that fail.

    python -m benchmarks.discovery_kills [--requests 10000] [--in-flight 8] [WAY ...]

Six ``twistd zkserve`` are registered in an Apache ZooKeeper.  While GETs are sent, 20 processes
are killed with SIGKILL and 21 with SIGTERM, in turn; each is replaced by a new one on another
port, and the next one is not ended before that is registered.  A killed provider stays
registered until its session has expired.  Claim: through ``zkservice.discovery.agent`` no GET
fails.  Beside it:

* ``zk``: a ``zk:`` endpoint and a connection for each request;
* ``known``: the addresses that were registered at the start, and treq with Twisted's agent.
"""

from __future__ import annotations

import argparse
import signal
import time
from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import clientFromString, quoteStringArgument
from twisted.internet.task import deferLater, react
from twisted.web.client import Agent, HTTPConnectionPool

from benchmarks.discovery_services import PATH, Service, Way, over_new_connections, with_treq
from zkservice.client import ZooKeeperClient
from zkservice.discovery import Resolver, agent

PROVIDERS = 6
SIGNALS = [signal.SIGKILL, signal.SIGTERM] * 20 + [signal.SIGTERM]
SESSION_TIMEOUT = 4000  # milliseconds


class Campaign:
    """Requests that are sent while providers are ended.

    Args:
        reactor: tells the time.
        service: its processes.
        observer: knows what is registered.
        way: sends a request.
        requests: how many.
    """

    def __init__(
        self, reactor: Any, service: Service, observer: Resolver, way: Way, requests: int
    ) -> None:
        self._reactor = reactor
        self._service = service
        self._observer = observer
        self._way = way
        self._requests = requests
        self._sent = 0
        self._allowed = 0
        self._last = SIGNALS[0]
        self.errors: Counter[str] = Counter()
        self.slowest = 0.0

    async def run(self, in_flight: int) -> None:
        """Send all requests, and end all those processes."""
        await gatherResults(
            [
                Deferred.fromCoroutine(self._end_providers()),
                *(Deferred.fromCoroutine(self._ask()) for _ in range(in_flight)),
            ]
        )

    async def _ask(self) -> None:
        while self._sent < self._requests:
            if self._sent >= self._allowed:  # the next one is to be ended first
                await deferLater(self._reactor, 0.005)
                continue
            number, self._sent = self._sent, self._sent + 1
            start = time.monotonic()
            try:
                if not await self._way(number):
                    self._count("an incomplete response, or another status")
            except Exception as error:  # noqa: BLE001 - it is counted
                self._count(type(error).__name__)
            self.slowest = max(self.slowest, time.monotonic() - start)

    def _count(self, error: str) -> None:
        self.errors[f"{error} after {self._last.name}"] += 1

    async def _end_providers(self) -> None:
        """End one provider after the other, each in the middle of its part of the requests."""
        part = self._requests / len(SIGNALS)
        for number, how in enumerate(SIGNALS):
            self._allowed = int(part * (number + 1))
            while self._sent < self._allowed - part / 2:
                await deferLater(self._reactor, 0.001)
            self._last = how
            self._service.end(self._service.processes[0], how)
            self._service.add()
            await self._all_registered()
        self._allowed = self._requests

    async def _all_registered(self) -> None:
        wanted = {process.pid for process in self._service.processes}
        while not wanted <= {one.properties.get("pid") for one in self._observer.providers}:
            await self._observer.when_changed()


async def run(reactor: Any, service: Service, name: str, requests: int, in_flight: int) -> int:
    """Run the campaign with a way of finding providers; the number of failures."""
    hosts = service.connection_string
    client = await ZooKeeperClient(hosts, reactor=reactor).connect(10)
    observer = await Resolver(client, PATH, reactor=reactor, mass_loss=None).start()
    await observer.wait_for(PROVIDERS)
    resolver = await Resolver(client, PATH, reactor=reactor).start()
    addresses = [one.address for one in resolver.providers]
    pool = HTTPConnectionPool(reactor)
    if name == "agent":
        way = with_treq(agent(reactor, resolver, pool=pool), lambda number: "http://hello/")
    elif name == "known":
        way = with_treq(
            Agent(reactor, connectTimeout=2, pool=pool),
            lambda number: f"http://{addresses[number % len(addresses)]}/",
        )
    else:
        text = f"zk:{PATH}:servers={quoteStringArgument(hosts)}"
        endpoint = clientFromString(reactor, text)
        way = over_new_connections(lambda number: endpoint)
    campaign = Campaign(reactor, service, observer, way, requests)
    start = time.monotonic()
    await campaign.run(in_flight)
    failed = campaign.errors.total()
    print(
        f"{name:6} {requests:,} GETs in {time.monotonic() - start:.0f} s, "
        f"{failed:,} failed {dict(campaign.errors) or ''}; "
        f"the slowest took {campaign.slowest:.2f} s",
        flush=True,
    )
    await pool.closeCachedConnections()
    resolver.close()
    observer.close()
    await client.close()
    return failed


def main() -> None:
    """Run the campaigns, each with a service of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--in-flight", type=int, default=8)
    parser.add_argument("ways", metavar="WAY", nargs="*", default=["agent", "zk", "known"])
    options = parser.parse_args()
    failed: dict[str, int] = {}

    async def all_ways(reactor: Any) -> None:
        for name in options.ways:
            with Service(PROVIDERS, "--session-timeout", str(SESSION_TIMEOUT)) as service:
                failed[name] = await run(
                    reactor, service, name, options.requests, options.in_flight
                )

    react(lambda reactor: Deferred.fromCoroutine(all_ways(reactor)))
    if failed.get("agent"):
        raise SystemExit("the claim does not hold: GETs through the agent have failed")


if __name__ == "__main__":
    main()
