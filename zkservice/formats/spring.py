"""``spring``: instances as Spring Cloud Zookeeper reads them.

It is Curator's format with a ``ZookeeperInstance`` as the payload: the properties are its
metadata, all of them strings.  Spring uses ``sslPort`` as the port if it is set, and
ignores instances whose ``instance_status`` is ``OUT_OF_SERVICE``.
"""

from __future__ import annotations

from typing import Any, Final

from zkservice.formats.curator import instance, instance_id, is_instance, read_instance
from zkservice.formats.model import Announcement, Format, Member, Unavailable, Znode, text_values
from zkservice.znodes import split

NAME: Final = "spring"

_CLASS: Final = "org.springframework.cloud.zookeeper.discovery.ZookeeperInstance"
_STATUS: Final = "instance_status"
_URI: Final = {
    "parts": [
        {"value": "scheme", "variable": True},
        {"value": "://", "variable": False},
        {"value": "address", "variable": True},
        {"value": ":", "variable": False},
        {"value": "port", "variable": True},
    ]
}


def _data(one: Announcement) -> bytes:
    service = split(one.service)[1]
    payload = {
        "@class": _CLASS,
        "id": service,
        "name": service,
        "metadata": {
            **text_values(one.properties),
            _STATUS: "UP" if one.available else "OUT_OF_SERVICE",
        },
    }
    return instance(one, payload, _URI)


def _read(znode: Znode) -> Member | None:
    payload = znode.properties.get("payload")
    if not is_instance(znode) or not isinstance(payload, dict) or payload.get("@class") != _CLASS:
        return None
    metadata: Any = payload.get("metadata")
    properties = dict(metadata) if isinstance(metadata, dict) else {}
    available = properties.pop(_STATUS, "UP") == "UP"
    return read_instance(znode, NAME, properties, available)


FORMAT: Final = Format(NAME, instance_id, _data, _read, frozenset(Unavailable))
