"""An authority and certificates for tests, made anew each time.

They carry the extensions that RFC 5280 (4.2.1) asks for, as Python 3.13 and later verify strictly.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

#: What an authority's key is for.
_SIGNING: Final = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """Signs certificates; its files are in a folder of the test's.

    Args:
        folder: made if it is missing.
        name: of the authority.
        parent: The authority that signs its certificate; None for self-signed.
    """

    def __init__(
        self, folder: str, name: str = "authority", parent: Authority | None = None
    ) -> None:
        os.makedirs(folder, exist_ok=True)
        self._folder = folder
        self._key = rsa.generate_private_key(65537, 2048)
        self._name = _name(name)
        certificate = (parent or self)._sign(
            self._name, self._key, x509.BasicConstraints(True, None), ()
        )
        #: The file with its own certificate.
        self.ca = self._write(
            f"ca-{name}.pem", certificate.public_bytes(serialization.Encoding.PEM)
        )

    def issue(self, name: str, *alternatives: str) -> str:
        """A PEM file with a key and a certificate for a name, and for others.

        A name that no host can have is the subject's alone.
        """
        key = rsa.generate_private_key(65537, 2048)
        certificate = self._sign(
            _name(name),
            key,
            x509.BasicConstraints(False, None),
            tuple(each for each in (name, *alternatives) if each.isascii()),
        )
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return self._write(
            f"{name}.pem", secret + certificate.public_bytes(serialization.Encoding.PEM)
        )

    def _sign(
        self,
        subject: x509.Name,
        key: rsa.RSAPrivateKey,
        constraints: x509.BasicConstraints,
        names: tuple[str, ...],
    ) -> x509.Certificate:
        now = datetime.now(timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(constraints, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False
            )
        )
        if constraints.ca:
            builder = builder.add_extension(_SIGNING, critical=True)
        if names:
            alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, name: str, data: bytes) -> str:
        path = os.path.abspath(os.path.join(self._folder, name))
        with open(path, "wb") as file:
            file.write(data)
        return path


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
