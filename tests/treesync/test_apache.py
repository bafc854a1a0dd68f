"""The tests of reading, writing and live views, on the real server.

Left out are those that break connections and end sessions, or look into the server.
"""

from __future__ import annotations

import atexit
from itertools import count
from typing import ClassVar

from typing_extensions import override

from tests.registry import test_live_views
from tests.treesync import test_reading, test_writing
from tests.treesync.base import ServerTestCase
from zkservice.client import ZooKeeperClient
from zkservice.testing.apache import ApacheZooKeeper, skip_without_apache


class OnApache(ServerTestCase):
    """With a place of its own on a server that all tests share."""

    shared: ClassVar[ApacheZooKeeper | None] = None
    places: ClassVar[count[int]] = count()

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        if OnApache.shared is None:
            OnApache.shared = ApacheZooKeeper()
            atexit.register(OnApache.shared.remove)
            OnApache.shared.start()
        self.hosts = OnApache.shared.connection_string
        place = f"/place{next(self.places)}"
        first = await ZooKeeperClient(self.hosts).connect(timeout=10)
        await first.create(place)
        await first.close()
        self.hosts += place
        self.client = await self.connect()

    @override
    async def connect(self, chroot: str = "") -> ZooKeeperClient:
        client = ZooKeeperClient(self.hosts + chroot)
        self.addCleanup(client.close)
        await client.connect(timeout=10)
        return client


@skip_without_apache
class ApacheReadTests(OnApache, test_reading.ReadTests):
    """Reading."""


@skip_without_apache
class ApacheImportPlanTests(OnApache, test_reading.ImportPlanTests):
    """Plans."""


@skip_without_apache
class ApacheCarryOutTests(OnApache, test_writing.CarryOutTests):
    """Writing."""


@skip_without_apache
class ApacheInterferenceTests(OnApache, test_writing.InterferenceTests):
    """Writing while others write."""


@skip_without_apache
class ApacheAtomicTests(OnApache, test_writing.AtomicTests):
    """Writing in one transaction."""


@skip_without_apache
class ApacheChildrenTests(OnApache, test_live_views.ChildrenTests):
    """Live children."""


@skip_without_apache
class ApachePropertiesTests(OnApache, test_live_views.PropertiesTests):
    """Live properties."""


@skip_without_apache
class ApachePropertyLinkTests(OnApache, test_live_views.PropertyLinkTests):
    """Live properties of other nodes."""
