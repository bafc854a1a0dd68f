"""``traefik``: services for Traefik's HTTP provider and its file provider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from zkservice.formats.consumers.model import Consumer, Listing, readable_json, whole_weights

_HIGHEST: Final = 100_000


def _service(listing: Listing) -> dict[str, Any]:
    members = listing.available
    servers = []
    for member, weight in zip(members, whole_weights(members, _HIGHEST), strict=True):
        scheme = "https" if member.tls else "http"
        server: dict[str, Any] = {"url": f"{scheme}://{member.address}"}
        # Older versions do not know weights, so they are left out if all are 1.
        if any(one.weight != 1.0 for one in members):
            server["weight"] = weight
        servers.append(server)
    return {"loadBalancer": {"servers": servers}}


def _render(listings: Sequence[Listing]) -> bytes:
    services = {listing.name: _service(listing) for listing in listings}
    return readable_json({"http": {"services": services}})


CONSUMER: Final = Consumer("traefik", _render)
