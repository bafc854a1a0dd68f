"""One Apache server for all tests of a process."""

from __future__ import annotations

import atexit
from itertools import count
from typing import ClassVar

from twisted.internet import reactor  # noqa: TID251 - loopback connections
from typing_extensions import override

from tests.treesync.base import ServerTestCase
from zkservice.testing.apache import ApacheZooKeeper


class SharedApache:
    """Starts a server once, for the tests that can share it."""

    _server: ClassVar[ApacheZooKeeper | None] = None

    @classmethod
    def started(cls) -> ApacheZooKeeper:
        """The server; it takes a second to start, so it runs until the process ends."""
        if SharedApache._server is None:
            SharedApache._server = ApacheZooKeeper()
            atexit.register(SharedApache._server.remove)
            SharedApache._server.start()
        return SharedApache._server


class OnApache(ServerTestCase):
    """Makes tests run on Apache's server, each below its own node."""

    places: ClassVar[count[int]] = count()

    @override
    async def start(self) -> None:
        self.reactor = reactor
        self.hosts = SharedApache.started().connection_string
        place = f"/place{next(self.places)}"
        first = await self.connect()
        await first.create(place)
        self.hosts += place
