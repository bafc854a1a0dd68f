"""The identities of a connection, and access control lists.

Source: ZooKeeperServer.checkACL, PrepRequestProcessor.fixupACL, and the providers
DigestAuthenticationProvider, IPAuthenticationProvider.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha1
from hmac import compare_digest
from ipaddress import ip_address
from typing import Final, NamedTuple

from zkservice.embedded.nodes import AccessList
from zkservice.errors import AuthFailedError, InvalidACLError, NoAuthError
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE, Id

_SUPER: Final = Id("super", "")
#: The user that matches every ``sasl`` entry (SASLAuthenticationProvider.matches).
_SASL_SUPER: Final = Id("sasl", "super")
#: Schemes of the identities that an ``auth`` entry of an ACL stands for.
_AUTHENTICATED: Final = frozenset(("digest", "sasl"))


def digest_of(credential: bytes) -> str:
    """The id that scheme ``digest`` derives from a credential, usually ``user:password``."""
    user = credential.split(b":", 1)[0].decode("utf-8", "replace")
    return f"{user}:{b64encode(sha1(credential).digest()).decode('ascii')}"


#: Identities of one connection.  A client can prove any number of digests, so there must be a
#: limit; Java has none.
MAX_IDENTITIES: Final = 1000


class ConnectionIdentities:
    """The identities that ACLs are checked against: a connection's address and credentials.

    Args:
        address: the client's IP address.
        super_digest: the digest id (``super:HASH``) of the super user; None if there is none.
    """

    def __init__(self, address: str, super_digest: str | None = None) -> None:
        # A dict serves as a set that remembers its order.
        self._ids: dict[Id, None] = {Id("ip", address): None}
        self._address = address
        self._super_digest = super_digest

    @property
    def is_super(self) -> bool:
        """Whether ACLs do not apply to this connection."""
        return _SUPER in self._ids

    def add(self, identity: Id) -> None:
        """Add an identity that was proved.

        Raises:
            AuthFailedError: the connection has `MAX_IDENTITIES` already.
        """
        if len(self._ids) >= MAX_IDENTITIES and identity not in self._ids:
            raise AuthFailedError
        self._ids[identity] = None

    def authenticate(self, scheme: str, credential: bytes | None) -> None:
        """Add the identity that an auth packet proves.

        Raises:
            AuthFailedError: the scheme has no auth packets, or the credential is null.
        """
        if scheme == "ip":
            return
        if scheme != "digest" or credential is None:
            raise AuthFailedError
        identity = digest_of(credential)
        if self._super_digest and compare_digest(identity.encode(), self._super_digest.encode()):
            self.add(_SUPER)
        self.add(Id("digest", identity))

    def names(self) -> list[tuple[str, str]]:
        """Scheme and user of each identity, for whoAmI; digests are left out."""
        return [
            (one.scheme, one.id.partition(":")[0] if one.scheme == "digest" else one.id)
            for one in self._ids
            if one != _SUPER
        ]

    def may(self, acl: AccessList, permission: int) -> bool:
        """Whether an ACL allows this connection at least one of the permissions (bits)."""
        if acl is OPEN_ACL_UNSAFE or not acl or self.is_super:
            return True
        return any(entry.perms & permission and self._matches(entry.id) for entry in acl)

    def require(self, acl: AccessList, permission: int, path: str) -> None:
        """Check that an ACL allows this connection at least one of the permissions (bits).

        Raises:
            NoAuthError: it does not.
        """
        if acl is not OPEN_ACL_UNSAFE and not self.may(acl, permission):
            raise NoAuthError(path)

    def _matches(self, wanted: Id) -> bool:
        if wanted.scheme == "world":
            return True
        if wanted.scheme == "ip":
            return _ip_matches(self._address, wanted.id)
        if wanted.scheme == "sasl" and _SASL_SUPER in self._ids:
            return True
        return wanted in self._ids

    def resolve(self, acl: Sequence[ACL] | None, schemes: frozenset[str]) -> AccessList:
        """Return the list to store for a create or setACL request; replaces ``auth`` entries.

        Args:
            acl: as the client sent it.
            schemes: the schemes that entries may have, besides ``auth``.

        Raises:
            InvalidACLError: it is empty, or an entry has an unknown scheme or an invalid id.
        """
        if not acl:
            raise InvalidACLError
        found: dict[ACL, None] = {}
        for entry in acl:
            if entry.id.scheme == "auth":
                found.update(dict.fromkeys(self._expand(entry.perms)))
            elif entry.id.scheme in schemes and _is_valid(entry.id):
                found[entry] = None
            else:
                raise InvalidACLError
        if len(found) == 1 and OPEN_ACL_UNSAFE[0] in found:
            return OPEN_ACL_UNSAFE  # one shared object: `may` compares by identity first
        return tuple(found)

    def _expand(self, permissions: int) -> list[ACL]:
        mine = [one for one in self._ids if one.scheme in _AUTHENTICATED]
        if not mine:
            raise InvalidACLError
        return [ACL(permissions, one) for one in mine]


def redact_digests(acl: AccessList) -> list[ACL]:
    """The list for clients without ADMIN permission: the digests of passwords are hidden."""
    return [
        ACL(entry.perms, Id("digest", entry.id.id.partition(":")[0] + ":x"))
        if entry.id.scheme == "digest"
        else entry
        for entry in acl
    ]


def _is_valid(identity: Id) -> bool:
    if identity.scheme == "world":
        return identity.id == "anyone"
    if identity.scheme == "digest":
        user, _, hashed = identity.id.partition(":")
        return bool(user and hashed) and ":" not in hashed
    if identity.scheme == "ip":
        return _network(identity.id) is not None
    return bool(identity.id)


class _Network(NamedTuple):
    """An address with a prefix length, as in ``10.0.0.1/8``: bits after the prefix may be set."""

    width: int  # bits of an address: 32 or 128
    address: int
    prefix: int  # bits


def _network(text: str) -> _Network | None:
    """Parse an address, with or without a prefix length; None if the text is invalid."""
    number, slash, bits = text.partition("/")
    try:
        address = ip_address(number)
    except ValueError:
        return None
    width = address.max_prefixlen
    if not slash:
        return _Network(width, int(address), width)
    if not (bits.isascii() and bits.isdigit()) or int(bits) > width:
        return None
    return _Network(width, int(address), int(bits))


def _ip_matches(address: str, wanted: str) -> bool:
    client, network = _network(address), _network(wanted)
    if client is None or network is None or client.width != network.width:
        return False
    shift = network.width - network.prefix
    return client.address >> shift == network.address >> shift
