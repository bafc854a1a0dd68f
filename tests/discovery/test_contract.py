"""The contract tests with the embedded server; `tests.functional.apache` uses Apache's."""

from __future__ import annotations

from typing_extensions import override

from tests.discovery.contract import Contract
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


del Contract  # not to be run by itself
