"""Lists of addresses in the formats of programs that consume them.

Each kind of consumer is a module with a `Consumer`, which makes one text of any number of services.
Data from ZooKeeper are not trusted: members whose host could end a line or a word of a
configuration file are left out.  Members that a consumer cannot use are left out, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from zkservice.formats.consumers import envoy, haproxy, nginx, plain_json, prometheus, traefik
from zkservice.formats.consumers.model import Consumer, Listing, sort_out
from zkservice.formats.consumers.templates import template

#: All consumers with a fixed format, by name.
CONSUMERS: Final[Mapping[str, Consumer]] = {
    one.name: one
    for one in (
        prometheus.CONSUMER,
        envoy.CONSUMER,
        traefik.CONSUMER,
        haproxy.CONSUMER,
        nginx.CONSUMER,
        plain_json.CONSUMER,
    )
}

__all__ = ["CONSUMERS", "Consumer", "Listing", "sort_out", "template"]
