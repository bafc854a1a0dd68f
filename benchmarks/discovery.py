"""Measure what it costs to find a provider for each request, beside a known address.

    python -m benchmarks.discovery [--requests 2000] [--providers 3]

Claims:

* a request over a new connection costs at most 1.5 times as much through ``zk:`` as through
  ``tcp:``;
* a request with treq over kept connections costs at most 1.1 times as much through
  ``zkservice.discovery.agent`` as through ``twisted.web.client.Agent``;
* the ensemble receives nothing for either, apart from pings.

It starts an Apache ZooKeeper of its own and some ``twistd zkserve``, and sends requests one
after another.  Parsing an endpoint string of a plugin costs as much as several requests, since
Twisted looks at the files of all plugins each time; so the figures with a string that is parsed
anew for each request are shown apart.  Then it measures how long it takes from a registration to
the first request, and from ``kill -9`` to the ejection.
"""

from __future__ import annotations

import argparse
import signal
import time
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    clientFromString,
    quoteStringArgument,
    serverFromString,
)
from twisted.internet.task import react
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.server import Site
from twisted.web.static import Data

from benchmarks.discovery_services import (
    PATH,
    Service,
    Way,
    milliseconds,
    over_new_connections,
    with_treq,
)
from zkservice.client import ZooKeeperClient
from zkservice.discovery import Resolver, agent

ROUNDS = 5
CLAIMS = {"zk:, a connection each": 1.5, "agent, with treq": 1.1}


def ways(
    reactor: Any, service: Service, resolver: Resolver, http_agent: Any
) -> list[dict[str, Way]]:
    """Groups of ways to send requests that are compared; the first of each uses a known address."""
    servers = quoteStringArgument(service.connection_string)
    text = f"zk:{PATH}:servers={servers}"
    tcp = [clientFromString(reactor, f"tcp:{one.host}:{one.port}") for one in resolver.providers]
    uris = [f"http://{one.address}/" for one in resolver.providers]
    endpoint = clientFromString(reactor, text)
    known = Agent(reactor, pool=HTTPConnectionPool(reactor))
    return [
        {
            "tcp:, a known address": over_new_connections(lambda number: tcp[number % len(tcp)]),
            "zk:, a connection each": over_new_connections(lambda number: endpoint),
            "zk:, parsed each time": over_new_connections(
                lambda number: clientFromString(reactor, text)
            ),
        },
        {
            "Agent, a known address": with_treq(known, lambda number: uris[number % len(uris)]),
            "agent, with treq": with_treq(http_agent, lambda number: "http://hello/"),
        },
    ]


async def compare(group: dict[str, Way], requests: int) -> list[str]:
    """Measure them in turns, because the machine is not the same from second to second."""
    for way in group.values():
        await milliseconds(way, requests // 10)
    figures: dict[str, list[float]] = {name: [] for name in group}
    for _ in range(ROUNDS):
        for name, way in group.items():
            figures[name].append(await milliseconds(way, requests // ROUNDS))
    first, broken = next(iter(figures)), []
    for name, values in figures.items():
        # Ratios of figures of the same round: what disturbs one of them disturbs the others, too.
        times = median(own / known for own, known in zip(values, figures[first], strict=True))
        print(f"{name:24} {median(values):6.2f} ms a request, {times:5.2f} times")
        if times > CLAIMS.get(name, times):
            broken.append(f"{name} costs more than {CLAIMS[name]} times")
    return broken


async def responder(http_agent: Any) -> str:
    """Send a request; return the address of the provider that has responded."""
    response = await HTTPClient(http_agent).get("http://hello/")
    await response.content()
    address: str = urlsplit(response.request.absolute_uri).netloc
    return address


async def first_requests(
    reactor: Any, client: ZooKeeperClient, resolver: Resolver, http_agent: Any
) -> None:
    """How long it takes from a registration until the first request is responded to.

    What is registered is a server in this process.
    """
    page = Data(b"hello", "text/plain")
    page.isLeaf = True
    port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(Site(page))
    address = f"127.0.0.1:{port.getHost().port}"
    offered, used, requests = [], [], []
    for _ in range(20):
        start, count = time.perf_counter(), 1
        await client.create(f"{PATH}/{address}", ephemeral=True)
        while address not in {one.address for one in resolver.providers}:
            await resolver.when_changed()
        offered.append((time.perf_counter() - start) * 1000)
        while await responder(http_agent) != address:
            count += 1
        used.append((time.perf_counter() - start) * 1000)
        requests.append(count)
        await client.delete(f"{PATH}/{address}")
        while address in {one.address for one in resolver.providers}:
            await resolver.when_changed()
    await port.stopListening()
    print(
        f"registered: offered after {median(offered):.1f} ms; the first request, number "
        f"{median(requests):.0f} because of the slow start, was done after {median(used):.1f} ms"
    )


async def ejection(service: Service, resolver: Resolver, http_agent: Any) -> None:
    """How long a provider that was killed is still tried, and still registered."""
    victim = service.processes[0]
    gone = {one.address for one in resolver.providers if one.properties.get("pid") == victim.pid}
    service.end(victim, signal.SIGKILL)
    start, count = time.perf_counter(), 0
    while not gone & {one.address for one in resolver.ejected}:
        await responder(http_agent)
        count += 1
    ejected = (time.perf_counter() - start) * 1000
    while gone & {one.address for one in resolver.providers}:
        await resolver.when_changed()
    seconds = time.perf_counter() - start
    print(
        f"killed: ejected after {ejected:.1f} ms and {count} requests, all of them responded to; "
        f"its znode was gone after {seconds:.1f} s"
    )


async def measure(reactor: Any, service: Service, requests: int, providers: int) -> None:
    """Run all of it, and print the figures."""
    client = await ZooKeeperClient(service.connection_string, reactor=reactor).connect(10)
    resolver = await Resolver(client, PATH, reactor=reactor).start()
    await resolver.wait_for(providers)
    http_agent = agent(reactor, resolver)
    compared = ways(reactor, service, resolver, http_agent)
    before, sent = service.packets(), client.statistics().requests
    broken = [line for group in compared for line in await compare(group, requests)]
    packets, own = service.packets() - before, client.statistics().requests - sent
    total = int(requests * 1.1) * sum(map(len, compared))
    print(f"ZooKeeper received {packets} packets for {total} requests, pings included", end="; ")
    print(f"the resolver's client sent {own}")
    if own:
        broken.append("the resolver has asked ZooKeeper")
    other = await ZooKeeperClient(service.connection_string, reactor=reactor).connect(10)
    await first_requests(reactor, other, resolver, http_agent)
    await ejection(service, resolver, http_agent)
    await http_agent.close()
    resolver.close()
    await client.close()
    await other.close()
    if broken:
        raise SystemExit(f"the claims do not hold: {'; '.join(broken)}")


def main() -> None:
    """Start the servers, measure, stop them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--providers", type=int, default=3)
    options = parser.parse_args()
    with Service(options.providers) as service:
        react(
            lambda reactor: Deferred.fromCoroutine(
                measure(reactor, service, options.requests, options.providers)
            )
        )


if __name__ == "__main__":
    main()
