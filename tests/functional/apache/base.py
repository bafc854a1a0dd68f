"""Tests on the one Apache server of a process."""

from __future__ import annotations

from itertools import count
from typing import ClassVar

from twisted.internet import reactor  # noqa: TID251 - loopback connections
from typing_extensions import override

from tests.functional.shared_servers import SharedApache
from tests.treesync.base import ServerTestCase


class OnApache(ServerTestCase):
    """Makes tests run on Apache's server, each below its own node."""

    places: ClassVar[count[int]] = count()

    @override
    async def start(self) -> None:
        self.reactor = reactor
        self.hosts = SharedApache.hosts()
        place = f"/place{next(self.places)}"
        first = await self.connect()
        await first.create(place)
        self.hosts += place
