"""``haproxy``: a backend with its servers, in a file of its own.

HAProxy cannot include a file in a section, but reads several files: ``haproxy -f haproxy.cfg -f
web.cfg``.  How to balance and to check is said in ``defaults``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from zkservice.formats.consumers.model import (
    PLAIN,
    Consumer,
    Listing,
    is_ip_address,
    whole_weights,
)
from zkservice.formats.model import Member

#: For a host by its name: HAProxy does not start, nor reload, if it cannot resolve one without it.
_UNRESOLVED: Final = " init-addr last,libc,none"
#: The highest weight that HAProxy takes.
MAX_WEIGHT: Final = 256


def server_name(member: Member) -> str:
    """What a member is called in a backend: its address, without brackets."""
    return member.address if ":" not in member.host else f"{member.host}_{member.port}"


def server_options(member: Member, weight: int) -> str:
    """What stands behind the name of a server."""
    return f"{member.address}{' ssl' * member.tls} check weight {weight}"


def _render(listings: Sequence[Listing]) -> bytes:
    lines = []
    for listing in listings:
        lines.append(f"backend {listing.name}\n")
        members = listing.members
        for member, weight in zip(members, whole_weights(members, MAX_WEIGHT), strict=True):
            # Weight 0 is what draining means: no new clients, but those who stick to the server.
            share = weight if member.available else 0
            name = "" if is_ip_address(member.host) else _UNRESOLVED
            options = server_options(member, share)
            lines.append(f"    server {server_name(member)} {options}{name}\n")
    return "".join(lines).encode()


CONSUMER: Final = Consumer("haproxy", _render, content_type=PLAIN)
