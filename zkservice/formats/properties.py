"""``properties``: the format of zc.zk, and zkserve's default.

The znode's name is ``host:port``; its data are the properties as a JSON object.
"""

from __future__ import annotations

from typing import Final

from zkservice.formats.model import Format, Member, Znode
from zkservice.properties import encode

NAME: Final = "properties"


def _read(znode: Znode) -> Member | None:
    if znode.address is None:
        return None
    host, port = znode.address
    return Member(NAME, znode.host_of(host), znode.port_of(port), znode.properties)


FORMAT: Final = Format(NAME, lambda one: one.address, lambda one: encode(one.properties), _read)
