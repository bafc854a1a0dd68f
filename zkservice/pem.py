"""Certificates and keys in PEM files: of servers, of clients, and of the authorities they trust."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from OpenSSL import crypto
from twisted.internet.ssl import Certificate, KeyPair, PrivateCertificate

from zkservice.errors import ConfigurationError

__all__ = ["AnyPath", "read_certificates", "read_key", "read_private_certificate"]

AnyPath = str | os.PathLike[str]

_END: Final = b"-----END CERTIFICATE-----"


def read_certificates(file: AnyPath) -> list[Certificate]:
    """Read all certificates of a PEM file, which must have at least one.

    Raises:
        ConfigurationError: the file has no certificate, or one that is invalid.
        OSError: the file cannot be read.
    """
    found: list[Certificate] = []
    for part in Path(file).read_bytes().split(_END)[:-1]:
        try:
            found.append(Certificate.loadPEM(part + _END))
        except crypto.Error:
            raise ConfigurationError(f"certificate {len(found) + 1} in {file} is broken") from None
    if not found:
        raise ConfigurationError(f"{file} has no certificate in PEM format")
    return found


def read_key(file: AnyPath) -> KeyPair:
    """Read the private key of a PEM file.

    Raises:
        ConfigurationError: the file has no private key that can be read without a password.
        OSError: the file cannot be read.
    """
    try:
        return KeyPair.load(Path(file).read_bytes(), crypto.FILETYPE_PEM)
    except crypto.Error:
        raise ConfigurationError(f"{file} has no private key in PEM format") from None


def read_private_certificate(
    certificate: AnyPath, key: AnyPath | None = None
) -> PrivateCertificate:
    """Read the certificate with which a program identifies itself, and its key.

    Args:
        certificate: the file of the certificate; the first one in it is used.
        key: the file of its key; None if it is in the same file.

    Raises:
        ConfigurationError: one of them is missing or broken, or they do not match.
        OSError: a file cannot be read.
    """
    key_file = certificate if key is None else key
    first_certificate = read_certificates(certificate)[0]
    key_pair = read_key(key_file)
    if not key_pair.matches(first_certificate.getPublicKey()):
        raise ConfigurationError(
            f"the key in {key_file} does not match the certificate in {certificate}"
        )
    both: PrivateCertificate
    both = PrivateCertificate.fromCertificateAndKeyPair(first_certificate, key_pair)
    return both
