"""The recipes together with kazoo's, on Apache's server."""

from __future__ import annotations

from twisted.internet.threads import deferToThread

from tests.functional.shared_servers import SharedApache
from tests.recipes.test_kazoo import Contract, KazooTestCase
from zkservice.client import ZooKeeperClient
from zkservice.recipes import Lock
from zkservice.testing.apache import skip_without_apache


@skip_without_apache
class ApacheTests(Contract, KazooTestCase):
    """With Apache's server."""

    async def setUp(self) -> None:  # type: ignore[override]
        """A server that has started."""
        self.server = await deferToThread(SharedApache.started)
        await self.start(self.server.connection_string)

    async def test_leases_outlive_a_server_that_is_restarted(self) -> None:
        """Leases and places in the queue survive a server that is killed and restarted."""
        lease = await Lock(self.ours, self.path).acquire()
        second = ZooKeeperClient(self.server.connection_string, 10.0)
        self.addCleanup(second.close)
        await second.connect(60.0)
        waiting = Lock(second, self.path).acquire()
        await self.assert_waits(waiting)
        await deferToThread(self.server.kill)
        releasing = lease.release()
        await deferToThread(self.server.start)
        await releasing
        self.assertGreater((await waiting).token, lease.token)
