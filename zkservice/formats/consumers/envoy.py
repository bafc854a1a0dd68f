"""``envoy``: a file for ``eds_config``, one ``ClusterLoadAssignment`` for each service.

Envoy accepts only IP addresses: a single host name makes it refuse the whole update.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

from zkservice.formats.consumers.model import (
    Consumer,
    Listing,
    ip_problem,
    readable_json,
    whole_weights,
)
from zkservice.formats.model import Member, compact_json

_TYPE: Final = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
#: The sum of the weights of a locality must fit into 32 bits.
_HIGHEST: Final = 100_000


def _endpoint(member: Member, weight: int) -> dict[str, Any]:
    address = {"address": member.host, "port_value": member.port}
    return {
        "endpoint": {"address": {"socket_address": address}},
        "health_status": "HEALTHY" if member.available else "DRAINING",
        "load_balancing_weight": weight,
    }


def _assignment(listing: Listing) -> dict[str, Any]:
    weights = whole_weights(listing.members, _HIGHEST)
    endpoints = [
        # Envoy has no weight of 0.
        _endpoint(member, weight)
        for member, weight in zip(listing.members, weights, strict=True)
        if weight
    ]
    return {
        "@type": _TYPE,
        "cluster_name": listing.name,
        "endpoints": [{"lb_endpoints": endpoints}] if endpoints else [],
    }


def _render(listings: Sequence[Listing]) -> bytes:
    resources = [_assignment(listing) for listing in listings]
    # The version is a hash of the contents, so it is the same in every process.
    version = sha256(compact_json(resources)).hexdigest()[:16]
    return readable_json({"version_info": version, "resources": resources})


CONSUMER: Final = Consumer("envoy", _render, problem=ip_problem)
