"""Tests for `tests.certificates`."""

from __future__ import annotations

import os
import ssl

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority


class StrictTests(SynchronousTestCase):
    """What Python 3.13 and later ask of a certificate, asked for on every version."""

    def handshake(self, authority: Authority, *chain: str) -> None:
        """Verify a server's certificate as a strict client does, without a network."""
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(self.file(*chain))
        client = ssl.create_default_context(cafile=authority.ca)
        client.verify_flags |= ssl.VERIFY_X509_STRICT
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        near = client.wrap_bio(to_client, to_server, server_hostname="localhost")
        far = server.wrap_bio(to_server, to_client, server_side=True)
        for _ in range(4):
            for side in (near, far):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        self.assertIsNotNone(near.version())  # the client has finished

    def file(self, *parts: str) -> str:
        """All of these files in one."""
        path: str = self.mktemp()
        with open(path, "wb") as whole:
            for part in parts:
                with open(part, "rb") as file:
                    whole.write(file.read())
        return path

    def test_strict_client_trusts_them(self) -> None:
        """A client with VERIFY_X509_STRICT accepts a certificate, also through an intermediate."""
        folder = self.mktemp()
        root = Authority(folder, "root")
        self.handshake(root, root.issue("localhost"))
        middle = Authority(os.path.join(folder, "middle"), "middle", root)
        self.handshake(root, middle.issue("localhost"), middle.ca)
