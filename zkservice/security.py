"""Read TLS files, credentials and ACLs for ZooKeeper, as users write them in options.

Secrets come from files or the environment, never from the command line, which every
user of the machine can read.  They are never shown in a log or a repr.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from zkservice.client import TLS, DigestMD5, read_secret
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
class Security:
    """How to connect and authenticate to ZooKeeper, and the ACL of what is registered."""

    tls: Any = field(default=None, repr=False)  # the client's ``tls``; None for no TLS
    identities: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    sasl: DigestMD5 | None = None
    acl: Sequence[ACL] = READ_ACL_UNSAFE


def load_tls(tls: TLS) -> Callable[[str], Any]:
    """Read the files of a TLS connection now; see `TLS.load`.

    Raises:
        ConfigurationError: a file cannot be read, or has invalid contents.
    """
    try:
        return tls.load()
    except OSError as error:
        raise ConfigurationError(f"{error.filename} cannot be read: {error.strerror}") from None


def identity(text: str, environ: Mapping[str, str]) -> tuple[str, bytes]:
    """Read ``SCHEME:SECRET``: a scheme and its credential; see `secret`.

    Raises:
        ConfigurationError: the file or variable does not exist, or holds no credential.
    """
    scheme, _, source = text.partition(":")
    if not scheme or not source:
        raise ConfigurationError(
            f"{text!r}: must be SCHEME:file:FILE or SCHEME:env:VARIABLE, such as digest:env:AUTH"
        )
    credential = secret(source, environ)
    if scheme == "digest" and not all(credential.partition(b":")):
        raise _not_user_and_password(source)
    return scheme, credential


def sasl_user(source: str, environ: Mapping[str, str]) -> DigestMD5:
    """Read ``user:password`` from a file or variable; see `secret`.

    Raises:
        ConfigurationError: the file or variable does not exist, or holds something else.
    """
    try:
        name, colon, password = secret(source, environ).decode().partition(":")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{source}: must be text in UTF-8") from None
    if not colon or not name:
        raise _not_user_and_password(source)
    return DigestMD5(name, password)


def _not_user_and_password(source: str) -> ConfigurationError:
    return ConfigurationError(f"{source}: must hold one line, user:password")


def secret(source: str, environ: Mapping[str, str]) -> bytes:
    """The first line of the file ``file:FILE``, or the value of ``env:VARIABLE``.

    ``FILE`` alone is accepted, too.

    Raises:
        ConfigurationError: the file or variable does not exist, or is empty.
    """
    kind, _, name = source.partition(":")
    if kind == "env":
        if not environ.get(name):
            raise ConfigurationError(f"the environment has no variable {name}")
        return environ[name].encode()
    path = os.path.expanduser(name if kind == "file" else source)
    try:
        line = read_secret(f"file:{path}").partition(b"\n")[0].strip()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        line = b""
    if not line:
        raise ConfigurationError(f"{path} is empty; its first line must be the credential")
    return line


def parse_acl(text: str) -> tuple[ACL, ...]:
    """Parse an ACL: ``read``, ``open`` or ``creator``, or zkCli's ``scheme:id:perms,...``.

    Permissions are letters of ``cdrwa``.

    Raises:
        ConfigurationError: the text has neither form.
    """
    if text in _NAMED:
        return tuple(_NAMED[text])
    return tuple(_entry(one.strip()) for one in text.split(","))


def _entry(text: str) -> ACL:
    scheme, _, rest = text.partition(":")
    id, _, letters = rest.rpartition(":")
    if not scheme or not letters or not set(letters) <= set(_LETTERS):
        raise ConfigurationError(
            f"{text!r} is not an ACL entry; write scheme:id:perms with perms of 'cdrwa', "
            "such as world:anyone:r, or read, open or creator"
        )
    return ACL(sum(int(_LETTERS[letter]) for letter in set(letters)), Id(scheme, id))
