"""Access control lists: permissions, identities, and the common lists.

Source of the formats: ZooDefs.java, DigestAuthenticationProvider.java.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from enum import IntFlag
from hashlib import sha1
from typing import Final

from zkservice.wire.jute import Int, LenientUString, record


class Permission(IntFlag):
    """What an ACL entry allows (ZooDefs.Perms)."""

    READ = 1  #: read the data and list the children
    WRITE = 2  #: set the data
    CREATE = 4  #: create children
    DELETE = 8  #: delete children
    ADMIN = 16  #: set the ACL
    ALL = 31  #: all of these


@record
class Id:
    """The identity that an ACL entry is for.

    For example ``Id("world", "anyone")`` or ``Id("ip", "10.0.0.0/8")``.
    """

    scheme: LenientUString  #: ``world``, ``auth``, ``digest``, ``ip``, ``sasl`` or ``x509``
    id: LenientUString  #: what the scheme identifies a client by


@record
class ACL:
    """One entry of an access control list: permission bits and an identity."""

    perms: Int  #: the sum of some `Permission`
    id: Id  #: the clients that have these permissions


#: The identity of any client at all.
ANYONE: Final = Id("world", "anyone")

#: All permissions for every client: ZooKeeper's default.
OPEN_ACL_UNSAFE: Final = (ACL(int(Permission.ALL), ANYONE),)
#: Every client may read; no client may do anything else.
READ_ACL_UNSAFE: Final = (ACL(int(Permission.READ), ANYONE),)
#: All permissions for the identities of the connection; the server expands it.
CREATOR_ALL_ACL: Final = (ACL(int(Permission.ALL), Id("auth", "")),)


def acl_entries(acl: Iterable[ACL]) -> list[ACL]:
    """The entries of an ACL.

    Raises:
        TypeError: it is a single entry, or no list.
    """
    if isinstance(acl, Iterable):
        return list(acl)
    kind = type(acl).__name__
    raise TypeError(f"an ACL must be a list of entries, such as [digest_acl(...)], not {kind}")


def digest_id(user: str, password: str) -> str:
    """The id of scheme ``digest``: ``user:base64(sha1("user:password"))``.

    Source: DigestAuthenticationProvider.generateDigest.
    """
    if not user or ":" in user:
        raise ValueError(
            f"the user of a digest id must not be empty or contain a colon, got {user!r}"
        )
    hashed = sha1(f"{user}:{password}".encode()).digest()
    return f"{user}:{b64encode(hashed).decode('ascii')}"


def digest_acl(user: str, password: str, permissions: int = Permission.ALL) -> ACL:
    """An ACL entry for one user of scheme ``digest``."""
    return ACL(int(permissions), Id("digest", digest_id(user, password)))
