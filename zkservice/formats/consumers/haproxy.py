"""``haproxy``: a backend with its servers, in a separate file.

HAProxy cannot include a file in a section, but reads several files: ``haproxy -f haproxy.cfg -f
web.cfg``.  Put balancing and checks into ``defaults``.
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

#: The option of a server with a host name.  Without it, HAProxy neither starts nor reloads while
#: the name cannot be resolved.
_UNRESOLVED: Final = " init-addr last,libc,none"
#: The highest weight that HAProxy accepts.
MAX_WEIGHT: Final = 256


def server_name(member: Member) -> str:
    """The name of a member in a backend: its address, without brackets."""
    return member.address if ":" not in member.host else f"{member.host}_{member.port}"


def server_options(member: Member, weight: int) -> str:
    """The address and the options of a server, which follow its name."""
    tls = " ssl" if member.tls else ""
    return f"{member.address}{tls} check weight {weight}"


def _render(listings: Sequence[Listing]) -> bytes:
    lines = []
    for listing in listings:
        lines.append(f"backend {listing.name}\n")
        members = listing.members
        for member, weight in zip(members, whole_weights(members, MAX_WEIGHT), strict=True):
            # Weight 0 drains a server: it gets no new clients, but keeps those of its sessions.
            options = server_options(member, weight if member.available else 0)
            if not is_ip_address(member.host):
                options += _UNRESOLVED
            lines.append(f"    server {server_name(member)} {options}\n")
    return "".join(lines).encode()


CONSUMER: Final = Consumer("haproxy", _render, content_type=PLAIN)
