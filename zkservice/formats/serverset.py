"""``serverset``: members as Finagle, Aurora, linkerd 1.x, Prometheus and Synapse read them.

The data are those of com.twitter.common.zookeeper.ServerSetImpl's JSON codec.  Its writers
number members with sequential znodes, ``member_0000000012``.  Java's ``Group.DefaultScheme``
ignores names that do not match ``member_-?[0-9]+``, and one of them makes
twitter.common.zookeeper fail for the whole set.  So the number is computed from the address: the
name is known before the znode exists, and each address has one znode.
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from zkservice.errors import AddressError, FormatError
from zkservice.formats.addresses import format_address, parse_address
from zkservice.formats.model import (
    Announcement,
    Format,
    Member,
    Unavailable,
    Znode,
    compact_json,
)

NAME: Final = "serverset"

_ENDPOINT: Final = "serviceEndpoint"
_OTHERS: Final = "additionalEndpoints"
#: The name of the main endpoint without TLS and with it.  linkerd (``:http``) and Synapse
#: (``endpoint_name``) choose the endpoint by this name.
_MAIN: Final = {False: "http", True: "https"}


def _znode_name(one: Announcement) -> str:
    return f"member_{_number(one):010d}"


def _number(one: Announcement) -> int:
    """The number of an address: at most 63 bits, since readers may parse it as a Java long."""
    try:
        return int(IPv4Address(one.host)) << 16 | one.port
    except AddressValueError:
        return uuid5(NAMESPACE_URL, f"zk:{one.address}").int >> 65


def _data(one: Announcement) -> bytes:
    main: dict[str, Any] = {"host": one.host, "port": one.port}
    others = {_MAIN[one.tls]: main}
    monitor = _endpoint(one.properties.get("monitor"))
    if monitor is not None:
        others["monitor"] = monitor
    member: dict[str, Any] = {
        _ENDPOINT: main,
        _OTHERS: others,
        "status": "ALIVE" if one.available else "STOPPING",
    }
    if type(one.properties.get("shard")) is int:
        member["shard"] = one.properties["shard"]
    return compact_json(member)


def _endpoint(address: object) -> dict[str, Any] | None:
    """An address as an endpoint; None for what is not one, such as the path of a socket."""
    try:
        host, port = parse_address(str(address))
    except AddressError:
        return None
    return {"host": host, "port": port}


def _read(znode: Znode) -> Member | None:
    endpoint = znode.properties.get(_ENDPOINT)
    if not isinstance(endpoint, dict):
        return None
    host, port = znode.host_of(endpoint.get("host")), znode.port_of(endpoint.get("port"))
    status = znode.properties.get("status", "ALIVE")
    if not isinstance(status, str):
        raise FormatError(znode.name, "the status must be a string")
    others = znode.properties.get(_OTHERS)
    addresses = _addresses(others) if isinstance(others, dict) else {}
    main = {name: addresses.pop(name, None) for name in _MAIN.values()}
    shard = {name: value for name, value in znode.properties.items() if name == "shard"}
    tls = main["https"] == format_address(host, port)
    return Member(NAME, host, port, {**addresses, **shard}, tls, status == "ALIVE")


def _addresses(endpoints: dict[str, Any]) -> dict[str, str]:
    """The additional endpoints that are addresses; others are private to their writers."""
    return {
        name: format_address(value["host"], value["port"])
        for name, value in endpoints.items()
        if isinstance(value, dict)
        and isinstance(value.get("host"), str)
        and type(value.get("port")) is int
    }


FORMAT: Final = Format(NAME, _znode_name, _data, _read, frozenset({Unavailable.STOPPING}))
