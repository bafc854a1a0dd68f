"""TLS with Apache's server."""

from __future__ import annotations

import atexit
import socket
from typing import ClassVar

from typing_extensions import override

from tests.client.tls_contract import TLSContract
from zkservice.testing.apache import ApacheZooKeeper, skip_without_apache


@skip_without_apache
class ApacheTests(TLSContract):
    """With Apache's server; one for all tests, since it takes seconds to start."""

    shared: ClassVar[ApacheTests | None] = None

    @override
    def make_certificates(self) -> None:
        first = ApacheTests.shared
        if first is None:
            super().make_certificates()
        else:
            self.authority = first.authority
            self.client_file = first.client_file

    @override
    async def serve(self) -> int:
        if ApacheTests.shared is not None:
            return ApacheTests.shared.port
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
        server = ApacheZooKeeper(
            configuration={
                "secureClientPort": str(port),
                "secureClientPortAddress": "127.0.0.1",
                "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
                "ssl.keyStore.location": self.server_file,
                "ssl.keyStore.type": "PEM",
                "ssl.trustStore.location": self.authority.ca,
                "ssl.trustStore.type": "PEM",
            }
        )
        atexit.register(server.remove)
        server.start()
        ApacheTests.shared = self
        return port


del TLSContract  # not to be run by itself
