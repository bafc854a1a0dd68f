"""SASL DIGEST-MD5 with Apache's server."""

from __future__ import annotations

import os

from typing_extensions import override

from tests.client.sasl_contract import SaslContract
from zkservice.testing.apache import ApacheZooKeeper, skip_without_apache

JAAS = """
Server {
    org.apache.zookeeper.server.auth.DigestLoginModule required
    user_alice="it's a secret";
};
"""


@skip_without_apache
class ApacheTests(SaslContract):
    """With Apache's server."""

    @override
    def setUp(self) -> None:
        folder = self.mktemp()
        os.makedirs(folder)
        jaas = os.path.abspath(os.path.join(folder, "jaas.conf"))
        with open(jaas, "w") as file:
            file.write(JAAS)
        self.server = ApacheZooKeeper(
            properties={
                "java.security.auth.login.config": jaas,
                "zookeeper.fips-mode": "false",  # since 3.9 it refuses DIGEST-MD5
                "zookeeper.authProvider.1": (
                    "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"
                ),
            }
        )
        self.addCleanup(self.server.remove)
        self.server.start()


del SaslContract  # not to be run by itself
