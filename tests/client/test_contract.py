"""The contract, kept with the embedded server and with Apache's."""

from __future__ import annotations

import atexit
from typing import ClassVar

from typing_extensions import override

from tests.client.contract import Contract
from zkservice.testing.apache import ApacheZooKeeper, skip_without_apache
from zkservice.testing.embedded import EmbeddedZooKeeper


class EmbeddedTests(Contract):
    """With the server in this process."""

    semantics = "3.9"

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        self.server = EmbeddedZooKeeper(watch_semantics=self.semantics)
        await self.server.start()
        self.addCleanup(self.server.stop)
        await super().setUp()

    @override
    def hosts(self) -> str:
        return self.server.connection_string


class OldWatchesTests(EmbeddedTests):
    """With the same server, and the watches of ZooKeeper 3.6 to 3.8."""

    semantics = "3.8"


@skip_without_apache
class ApacheTests(Contract):
    """With the real one."""

    server: ClassVar[ApacheZooKeeper | None] = None

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        if ApacheTests.server is None:  # one for all: it takes a second to start
            ApacheTests.server = ApacheZooKeeper()
            atexit.register(ApacheTests.server.remove)
            ApacheTests.server.start()
        await super().setUp()

    @override
    def hosts(self) -> str:
        assert self.server is not None
        return self.server.connection_string


del Contract  # not to be run by itself
