"""``json``: everything that is known, for a user's own programs and scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from zkservice.formats.consumers.model import Consumer, Listing, readable_json
from zkservice.formats.model import Member


def _provider(member: Member) -> dict[str, Any]:
    return {
        "address": member.address,
        "host": member.host,
        "port": member.port,
        "tls": member.tls,
        "available": member.available,
        "weight": member.weight,
        "properties": dict(member.properties),
    }


def _render(listings: Sequence[Listing]) -> bytes:
    services = [
        {
            "service": listing.name,
            "path": listing.path,
            "providers": [_provider(member) for member in listing.members],
        }
        for listing in listings
    ]
    return readable_json(services)


CONSUMER: Final = Consumer("json", _render)
