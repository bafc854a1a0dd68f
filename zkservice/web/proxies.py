"""Trusted proxies: the client's address, scheme and host from their header fields."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from twisted.logger import Logger

from zkservice.http11 import is_port, split_host
from zkservice.web.environ import ConnectionInfo

__all__ = ["FORWARDED_FIELDS", "TrustedProxies", "peer_address"]

#: The fields that proxies set, each with its key in an environ.
FORWARDED_FIELDS: Final = {
    "x-forwarded-for": "HTTP_X_FORWARDED_FOR",
    "x-forwarded-proto": "HTTP_X_FORWARDED_PROTO",
    "x-forwarded-host": "HTTP_X_FORWARDED_HOST",
    "x-forwarded-port": "HTTP_X_FORWARDED_PORT",
    "forwarded": "HTTP_FORWARDED",
}
_KEYS: Final = frozenset(FORWARDED_FIELDS.values())
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
#: RFC 7239 4: a parameter of an element, its value perhaps quoted.
_PAIR: Final = re.compile(r'\s*([A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^";,\s]*))\s*')


class TrustedProxies:
    """Takes the client's address, scheme and host from the fields of known proxies.

    ``X-Forwarded-*`` and ``Forwarded`` of all other clients are dropped.  Those of trusted proxies
    are dropped after use, so that an application sees only one address.

    Args:
        networks: addresses or CIDR networks of the proxies; a Unix socket's peers count
            as 127.0.0.1.
        hops: the maximal number of proxies on the way of a request.
        headers: the fields that the proxies set or remove on every request.  Do not name a field
            that a proxy passes through unchanged: clients could forge it.

    Raises:
        ValueError: a network is invalid, or a header is unknown.
    """

    _log = Logger()

    def __init__(
        self,
        networks: Iterable[str] = (),
        hops: int = 1,
        headers: Iterable[str] = ("x-forwarded-for", "x-forwarded-proto"),
    ) -> None:
        self._networks = [ip_network(network, strict=False) for network in networks]
        if hops < 1:
            raise ValueError(f"the hops must be at least 1, not {hops}")
        self._hops = hops
        self._headers = frozenset(header.lower() for header in headers)
        unknown = self._headers - FORWARDED_FIELDS.keys()
        if unknown:
            raise ValueError(f"unknown proxy header: {', '.join(sorted(unknown))}")
        if "forwarded" in self._headers and len(self._headers) > 1:
            raise ValueError("trust either Forwarded or X-Forwarded-*, not both")
        self._warned = False

    def apply(self, fields: dict[str, str], info: ConnectionInfo) -> ConnectionInfo:
        """Remove the proxy's fields; return the addresses from the client's point of view."""
        if _KEYS.isdisjoint(fields):
            return info
        removed = {key: fields.pop(key) for key in _KEYS & fields.keys()}
        if not self.trusts(info.remote_addr):
            self._warn(info.remote_addr)
            return info
        trusted = {name: removed.get(FORWARDED_FIELDS[name], "") for name in self._headers}
        forwarded = trusted.get("forwarded")
        hops = _x_forwarded(trusted) if forwarded is None else _forwarded(forwarded)
        remote_addr, hop = self._client(info.remote_addr, hops)
        return _rewritten(info._replace(remote_addr=remote_addr), hop, fields)

    def _client(self, peer: str, hops: list[dict[str, str]]) -> tuple[str, dict[str, str]]:
        """The client's address, and what the proxy next to the client says.

        Start at the peer of the connection, and go on towards the client while the address is that
        of a trusted proxy.
        """
        result: dict[str, str] = {}
        for hop in reversed(hops[-self._hops :]):
            if not self.trusts(peer):
                break
            result = hop
            address = peer_address(hop.get("for", ""))
            if address is None:
                break
            peer = str(address)
        return peer, result

    def trusts(self, host: str) -> bool:
        """Whether an address belongs to a trusted proxy."""
        address = peer_address(host)
        return address is not None and any(address in network for network in self._networks)

    def _warn(self, peer: str) -> None:
        if not self._warned:
            self._warned = True
            self._log.warn(
                "ignoring X-Forwarded-* and Forwarded from {peer}, which is not a trusted proxy; "
                "if it is yours, name it with --trusted-proxy",
                peer=peer,
            )


def _rewritten(info: ConnectionInfo, hop: dict[str, str], fields: dict[str, str]) -> ConnectionInfo:
    """Apply the scheme, host and port that the proxy says; the host also to ``fields``."""
    info = info._replace(remote_port="") if hop.get("for") else info
    scheme = hop.get("proto", "").lower()
    if scheme in _DEFAULT_PORTS:
        info = info._replace(scheme=scheme, server_port=_DEFAULT_PORTS[scheme])
    host = hop.get("host", "")
    parts = split_host(host)
    if parts is not None:
        fields["HTTP_HOST"] = host
        name, port = parts
        info = info._replace(server_name=name, server_port=port or _DEFAULT_PORTS[info.scheme])
    if is_port(hop.get("port", "")):
        info = info._replace(server_port=hop["port"])
    return info


def _x_forwarded(values: dict[str, str]) -> list[dict[str, str]]:
    """What each proxy says, by the last word of the field's name; the nearest proxy is last.

    A field with fewer elements than others comes from the nearest proxies.
    """
    lists = {
        name.rpartition("-")[2]: [item.strip() for item in value.split(",")]
        for name, value in values.items()
        if value
    }
    longest = max(map(len, lists.values()), default=0)
    hops: list[dict[str, str]] = [{} for _ in range(longest)]
    for name, items in lists.items():
        for hop, item in zip(reversed(hops), reversed(items), strict=False):
            hop[name] = item
    if hops and len(lists.get("proto", ())) == 1 and longest > 1:
        for hop in hops:  # most proxies overwrite it, so a single value counts for all hops
            hop["proto"] = lists["proto"][0]
    return hops


def _forwarded(value: str) -> list[dict[str, str]]:
    """The elements of RFC 7239's ``Forwarded``; empty if it is malformed."""
    hops: list[dict[str, str]] = [{}]
    at = 0
    while at < len(value):
        pair = _PAIR.match(value, at)
        if pair is None:
            return []
        text = pair[3] if pair[2] is None else re.sub(r"\\(.)", r"\1", pair[2])
        hops[-1][pair[1].lower()] = text
        at = pair.end()
        if at < len(value):
            if value[at] == ",":
                hops.append({})
            elif value[at] != ";":
                return []
            at += 1
    return hops


def peer_address(text: str) -> IPv4Address | IPv6Address | None:
    """Parse an address, with or without brackets and port; None for obfuscated identifiers."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
