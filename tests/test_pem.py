"""Tests for `zkservice.pem`."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.certificates import Authority
from zkservice.errors import ConfigurationError
from zkservice.pem import read_certificates, read_key, read_private_certificate


class PEMTests(SynchronousTestCase):
    """Valid and invalid PEM files."""

    @override
    def setUp(self) -> None:
        self.authority = Authority(self.mktemp())
        self.both = self.authority.issue("localhost")

    def file(self, content: bytes) -> str:
        """A file with this content."""
        path = Path(self.mktemp())
        path.write_bytes(content)
        return str(path)

    def refused(self, read: object, *files: str) -> str:
        """Why files are refused."""
        with self.assertRaises(ConfigurationError) as caught:
            read(*files)  # type: ignore[operator]
        return str(caught.exception)

    def test_every_certificate_is_read(self) -> None:
        """A file may hold several certificates, with text and keys between them."""
        pem = Path(self.both).read_bytes() + b"a comment\n" + Path(self.authority.ca).read_bytes()
        subjects = [str(each.getSubject().commonName) for each in read_certificates(self.file(pem))]
        self.assertEqual(len(subjects), 2)

    def test_certificate_and_key(self) -> None:
        """A certificate and its key may be in one file, or in two."""
        certificate = read_certificates(self.both)[0].dumpPEM()
        key = read_key(self.both).dump(1)
        for files in ((self.both,), (self.file(certificate), self.file(key))):
            read = read_private_certificate(*files)
            self.assertTrue(read.privateKey.matches(read.getPublicKey()))

    def test_a_key_of_another_certificate_is_refused(self) -> None:
        """Both files are named."""
        other = self.authority.issue("other")
        self.assertEqual(
            self.refused(read_private_certificate, self.both, other),
            f"the key in {other} does not match the certificate in {self.both}",
        )

    def test_what_is_missing_or_broken_is_named(self) -> None:
        """The message names the file, and what is wrong with it."""
        empty = self.file(b"nothing here")
        broken = self.file(b"-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n")
        self.assertEqual(
            self.refused(read_certificates, empty), f"{empty} has no certificate in PEM format"
        )
        self.assertEqual(self.refused(read_key, empty), f"{empty} has no private key in PEM format")
        self.assertEqual(
            self.refused(read_certificates, broken), f"certificate 1 in {broken} is broken"
        )
