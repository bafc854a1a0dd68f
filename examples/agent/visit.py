"""Send GETs to a service, wherever it is registered: ``visit.py HOSTS PATH [COUNT]``."""

import sys
from collections import Counter

from treq.client import HTTPClient
from twisted.internet.task import deferLater, react

from zkservice.client import ZooKeeperClient
from zkservice.discovery import Resolver, agent


async def main(reactor, hosts, path, count="10"):
    client = ZooKeeperClient(hosts, reactor=reactor)
    await client.connect(timeout=10)
    resolver = Resolver(client, path, reactor=reactor)
    balancing = agent(reactor, resolver, response_timeout=5)
    http = HTTPClient(balancing)
    await resolver.start()
    await resolver.wait_for(1)

    seen = Counter()
    for _ in range(int(count)):
        response = await http.get("http://service/")
        seen[response.code] += 1
        print((await response.text()).strip(), flush=True)
        await deferLater(reactor, 0.01)
    print(f"{len(resolver.providers)} providers, responses by status: {dict(seen)}")

    await balancing.close()
    resolver.close()
    await client.close()


react(main, sys.argv[1:])
