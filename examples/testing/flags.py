"""Feature flags that a program reads from ZooKeeper: ``flags.py HOSTS`` prints them.

The flags are the properties of a znode.  They are followed while the program runs, and keep
their last value while ZooKeeper is away.
"""

import json
import sys

from twisted.internet.task import react

from zkservice.client import ZooKeeperClient
from zkservice.registry import live_properties

PATH = "/shop/flags"


class Flags:
    """The flags of the shop."""

    def __init__(self, view):
        self._view = view

    @classmethod
    async def follow(cls, client, reactor):
        """Begin to follow; the flags are known when this returns."""
        await client.ensure_path(PATH)
        return cls(await live_properties(client, PATH, reactor=reactor))

    def is_on(self, name):
        return bool(self._view.get(name, False))

    def as_dict(self):
        return dict(self._view)


async def main(reactor, hosts):
    client = ZooKeeperClient(hosts, reactor=reactor)
    await client.connect(timeout=10)
    flags = await Flags.follow(client, reactor)
    print(json.dumps(flags.as_dict()))
    await client.close()


if __name__ == "__main__":
    react(main, sys.argv[1:])
