"""The resolver's contract tests with Apache's server."""

from __future__ import annotations

from typing_extensions import override

from tests.discovery.contract import Contract
from tests.functional.shared_servers import SharedApache
from zkservice.testing.apache import skip_without_apache


@skip_without_apache
class ApacheTests(Contract):
    """With Apache's server."""

    @override
    def hosts(self) -> str:
        return SharedApache.hosts()


del Contract  # not to be run by itself
