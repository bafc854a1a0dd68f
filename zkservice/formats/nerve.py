"""``nerve``: instances as SmartStack's nerve writes them, for Synapse and Prometheus.

nerve creates ``<instance id>_<sequence>``.  Its readers take any name; the number only decides
which instance leads.  So the sequence is always 0 here and the id is the address: the name is
known before the znode exists.
"""

from __future__ import annotations

from typing import Any, Final

from zkservice.formats.model import Announcement, Format, Member, Znode, compact_json, text_values

NAME: Final = "nerve"

_OPTIONS: Final = "haproxy_server_options"


def _data(one: Announcement) -> bytes:
    entry: dict[str, Any] = {"host": one.host, "port": one.port, "name": one.address}
    labels = dict(one.properties)
    weight = labels.get("weight")
    if type(weight) is int and weight >= 0:
        entry["weight"] = labels.pop("weight")
    if isinstance(labels.get(_OPTIONS), str):
        entry[_OPTIONS] = labels.pop(_OPTIONS)
    if labels:
        entry["labels"] = text_values(labels)
    return compact_json(entry)


def _read(znode: Znode) -> Member | None:
    found = znode.properties
    # A znode that is named by its address is zc.zk's; its properties may include host and port.
    if znode.address is not None or not {"host", "port"} <= found.keys():
        return None
    labels = found.get("labels")
    properties = dict(labels) if isinstance(labels, dict) else {}
    properties |= {name: found[name] for name in ("weight", _OPTIONS) if name in found}
    return Member(NAME, znode.host_of(found["host"]), znode.port_of(found["port"]), properties)


FORMAT: Final = Format(NAME, lambda one: f"{one.address}_0", _data, _read)
