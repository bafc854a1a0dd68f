"""``curator``: instances as Apache Curator's service discovery reads them.

The znode's name is the instance's id; its data are those of ``JsonInstanceSerializer``.
The payload is null: Curator's readers are typed, every type accepts null, and one instance
whose payload does not fit makes the whole list unreadable.  So this format does not store
properties.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from zkservice.errors import FormatError
from zkservice.formats.model import Announcement, Format, Member, Znode, compact_json
from zkservice.znodes import split

NAME: Final = "curator"


def instance_id(one: Announcement) -> str:
    """The id of an announcement: the same for the same address in every process."""
    return str(uuid5(NAMESPACE_URL, f"zk:{one.service}/{one.address}"))


def instance(one: Announcement, payload: object, uri_spec: object) -> bytes:
    """A ``ServiceInstance``, its members in the order in which Curator writes them."""
    return compact_json(
        {
            "name": split(one.service)[1],
            "id": instance_id(one),
            "address": one.host,
            "port": one.port,
            "sslPort": one.port if one.tls else None,
            "payload": payload,
            "registrationTimeUTC": one.registered_at,
            "serviceType": "DYNAMIC",
            "uriSpec": uri_spec,
        }
    )


def is_instance(znode: Znode) -> bool:
    """Whether the data are a ``ServiceInstance``; Curator has always written these members."""
    return {"name", "id", "address", "serviceType"} <= znode.properties.keys()


def read_instance(znode: Znode, name: str, properties: dict[str, Any], available: bool) -> Member:
    """Parse an instance; if it has a TLS port, that is the port of the member.

    Raises:
        FormatError: the address or the port is invalid.
    """
    found = znode.properties
    tls = found.get("sslPort") is not None
    port = znode.port_of(found["sslPort"] if tls else found.get("port"))
    enabled = found.get("enabled", True)
    if not isinstance(enabled, bool):
        raise FormatError(znode.name, "enabled must be true or false")
    return Member(
        name, znode.host_of(found["address"]), port, properties, tls, available and enabled
    )


def _read(znode: Znode) -> Member | None:
    if not is_instance(znode):
        return None
    payload = znode.properties.get("payload")
    return read_instance(znode, NAME, payload if isinstance(payload, dict) else {}, True)


FORMAT: Final = Format(NAME, instance_id, lambda one: instance(one, None, None), _read)
