"""How to be let in by a secured ZooKeeper: TLS, identities and ACLs, as a user writes them.

Secrets come from files or the environment, never from the command line, which every
user of the machine can read; they are shown neither in a log nor in a repr.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from twisted.internet.ssl import (
    Certificate,
    PrivateCertificate,
    optionsForClientTLS,
    trustRootFromCertificates,
)

from zkservice.client import DigestMD5
from zkservice.errors import ConfigurationError
from zkservice.wire.acl import (
    ACL,
    CREATOR_ALL_ACL,
    OPEN_ACL_UNSAFE,
    READ_ACL_UNSAFE,
    Id,
    Permission,
)

_LETTERS: Final = {
    "c": Permission.CREATE,
    "d": Permission.DELETE,
    "r": Permission.READ,
    "w": Permission.WRITE,
    "a": Permission.ADMIN,
}
_NAMED: Final = {"read": READ_ACL_UNSAFE, "open": OPEN_ACL_UNSAFE, "creator": CREATOR_ALL_ACL}


@dataclass(frozen=True)
class TLSFiles:
    """A TLS connection to ZooKeeper; the files are PEM.

    Attributes:
        ca: certificates that are trusted, or None for those the system trusts.
        certificate: our own, for servers that ask for one; with its key unless ``key`` is set.
        server_name: what the server's certificate must be for, instead of the host's name.
    """

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    server_name: str | None = None

    def creator(self) -> Any:
        """What the client wants: from a host's name to the TLS side of a connection.

        Raises:
            ConfigurationError: a file cannot be read, or is no PEM.
        """
        extra: dict[str, Any] = {}
        if self.ca is not None:
            extra["trustRoot"] = trustRootFromCertificates(_certificates(self.ca))
        if self.certificate is not None:
            pem = _read(self.certificate)
            if self.key is not None:
                pem += b"\n" + _read(self.key)
            extra["clientCertificate"] = _pem(self.certificate, PrivateCertificate.loadPEM, pem)
        return lambda host: optionsForClientTLS(self.server_name or host, **extra)


@dataclass(frozen=True)
class Security:
    """How to speak to ZooKeeper, and who may do what with what is registered."""

    tls: Any = field(default=None, repr=False)  # from a host's name to a TLS connection's side
    identities: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    sasl: DigestMD5 | None = None
    acl: Sequence[ACL] = READ_ACL_UNSAFE


def identity(text: str, environ: Mapping[str, str]) -> tuple[str, bytes]:
    """Read ``SCHEME:FILE`` or ``SCHEME:env:VARIABLE``: a scheme and its credential.

    Raises:
        ConfigurationError: the file or variable is not there, or holds no credential.
    """
    scheme, colon, where = text.partition(":")
    if not colon or not scheme or not where:
        raise ConfigurationError(f"{text!r}: write SCHEME:FILE or SCHEME:env:VARIABLE")
    credential = secret(where, environ)
    if scheme == "digest" and not all(credential.partition(b":")):
        raise ConfigurationError(f"{where}: it must hold one line, user:password")
    return scheme, credential


def sasl_user(where: str, environ: Mapping[str, str]) -> DigestMD5:
    """Read a file, or ``env:VARIABLE``, with ``user:password``."""
    name, colon, password = secret(where, environ).decode().partition(":")
    if not colon or not name:
        raise ConfigurationError(f"{where}: it must hold one line, user:password")
    return DigestMD5(name, password)


def secret(where: str, environ: Mapping[str, str]) -> bytes:
    """The first line of a file, or what ``env:VARIABLE`` holds."""
    kind, _, variable = where.partition(":")
    if kind == "env":
        if not environ.get(variable):
            raise ConfigurationError(f"the environment has no variable {variable}")
        return environ[variable].encode()
    lines = _read(where).splitlines()
    if not lines or not lines[0].strip():
        raise ConfigurationError(f"{where} is empty; its first line is the credential")
    return lines[0].strip()


def parse_acl(text: str) -> tuple[ACL, ...]:
    """Read ``read``, ``open`` or ``creator``, or zkCli's ``scheme:id:perms,...``.

    Permissions are letters of ``cdrwa``.

    Raises:
        ConfigurationError: it is neither.
    """
    if text in _NAMED:
        return tuple(_NAMED[text])
    return tuple(_entry(one.strip()) for one in text.split(","))


def _entry(text: str) -> ACL:
    scheme, _, rest = text.partition(":")
    who, _, letters = rest.rpartition(":")
    if not scheme or not letters or not set(letters) <= set(_LETTERS):
        raise ConfigurationError(
            f"{text!r} is no ACL entry; write scheme:id:perms with perms of 'cdrwa', "
            "such as world:anyone:r, or read, open or creator"
        )
    return ACL(sum(int(_LETTERS[letter]) for letter in set(letters)), Id(scheme, who))


def _certificates(path: str) -> list[Certificate]:
    """All certificates of a PEM file."""
    end = b"-----END CERTIFICATE-----"
    parts = [part + end for part in _read(path).split(end)[:-1]]
    if not parts:
        raise ConfigurationError(f"{path} holds no certificate in PEM")
    return [_pem(path, Certificate.loadPEM, part) for part in parts]


def _pem(path: str, load: Any, data: bytes) -> Any:
    try:
        return load(data)
    except Exception as error:  # noqa: BLE001 - whatever OpenSSL says
        raise ConfigurationError(f"{path} cannot be used: {error or 'no PEM'}") from None


def _read(path: str) -> bytes:
    try:
        with open(os.path.expanduser(path), "rb") as file:
            return file.read()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
