"""What a registration's znode is called and holds, in the formats that others read.

``properties`` is zc.zk's: the znode is ``host:port``, its data the properties as JSON.
``serverset`` is Finagle's and Aurora's (com.twitter.common.zookeeper.ServerSetImpl):
``member_<host:port>`` with the end point and a status.  ``curator`` is that of Apache
Curator's x-discovery (JsonInstanceSerializer): an id with name, address and port.

Finagle numbers its members with sequential znodes; readers take whatever begins with
``member_``, so the address serves as the number here: a name that is known beforehand
can be replaced, and is never there twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from zkservice.registry.addresses import parse_address
from zkservice.tree.encoding import encode


@dataclass(frozen=True)
class Announcement:
    """One address that is to be registered.

    Attributes:
        service: the path under which it is registered.
        address: ``host:port``.
        properties: what is known about it.
        registered_at: milliseconds since 1970.
    """

    service: str
    address: str
    properties: Mapping[str, Any]
    registered_at: int


@dataclass(frozen=True)
class Payload:
    """A format: the name of an announcement's znode, and its data."""

    name: Callable[[Announcement], str]
    data: Callable[[Announcement], bytes]


def _serverset(one: Announcement) -> bytes:
    extra = {
        name: _endpoint(address)
        for name, address in one.properties.items()
        if name == "monitor" and isinstance(address, str) and "/" not in address
    }
    member: dict[str, Any] = {
        "serviceEndpoint": _endpoint(one.address),
        "additionalEndpoints": extra,
        "status": "ALIVE",
    }
    if isinstance(one.properties.get("shard"), int):
        member["shard"] = one.properties["shard"]
    return _json(member)


def _endpoint(address: str) -> dict[str, Any]:
    host, port = parse_address(address)
    return {"host": host, "port": port}


def _curator_id(one: Announcement) -> str:
    """The same address has the same id, whichever process has it."""
    return str(uuid5(NAMESPACE_URL, f"zk:{one.service}/{one.address}"))


def _curator(one: Announcement) -> bytes:
    host, port = parse_address(one.address)
    return _json(
        {
            "name": one.service.rpartition("/")[2],
            "id": _curator_id(one),
            "address": host,
            "port": port,
            "sslPort": None,
            "payload": dict(one.properties) or None,
            "registrationTimeUTC": one.registered_at,
            "serviceType": "DYNAMIC",
            "uriSpec": None,
        }
    )


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


PROPERTIES: Final = Payload(lambda one: one.address, lambda one: encode(one.properties))

PAYLOADS: Final[Mapping[str, Payload]] = {
    "properties": PROPERTIES,
    "serverset": Payload(lambda one: f"member_{one.address}", _serverset),
    "curator": Payload(_curator_id, _curator),
}
