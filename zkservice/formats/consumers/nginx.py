"""``nginx``: ``server`` lines to be included in an ``upstream``.

nginx refuses an upstream without servers.  So if none is registered, the file has one server that
is marked as down: requests get 502 at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from zkservice.formats.consumers.model import PLAIN, Consumer, Listing, whole_weights

_HIGHEST: Final = 65535
_NO_PROVIDER: Final = "server 127.0.0.1:9 down;  # no provider is registered\n"


def _render(listings: Sequence[Listing]) -> bytes:
    members = [member for listing in listings for member in listing.available]
    lines = []
    for member, weight in zip(members, whole_weights(members, _HIGHEST), strict=True):
        parameter = f" weight={weight}" if weight else " down"  # nginx has no weight of 0
        lines.append(f"server {member.address}{'' if weight == 1 else parameter};\n")
    return "".join(lines or [_NO_PROVIDER]).encode()


CONSUMER: Final = Consumer("nginx", _render, single=True, content_type=PLAIN)
