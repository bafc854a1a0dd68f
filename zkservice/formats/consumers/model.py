"""What all consumers share: a service with its members, and what is safe to write about them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any, Final

from zkservice.formats.model import Member

JSON: Final = "application/json"
PLAIN: Final = "text/plain; charset=utf-8"

# What a configuration file, a socket or a URL takes as an address and nothing else: neither
# quotes nor separators, comments or line ends.  A host is 255 characters at most.
_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?", re.ASCII)
_SAFE: Final = re.compile(r"[A-Za-z0-9._:/@+,=~%-]{0,255}", re.ASCII)


@dataclass(frozen=True)
class Listing:
    """A service, and who is registered there at one moment.

    Attributes:
        name: what consumers call the service.
        path: its znode.
        members: those that may be used and those that are about to stop.
    """

    name: str
    path: str
    members: tuple[Member, ...] = ()

    @property
    def available(self) -> tuple[Member, ...]:
        """The members that may be used."""
        return tuple(one for one in self.members if one.available)


@dataclass(frozen=True)
class Consumer:
    """What one kind of program reads.

    Attributes:
        name: of the format.
        render: makes the text.  It gets only members that have no `problem`.
        single: a text is about one service; otherwise about any number.
        content_type: of the text in an HTTP response.
        problem: returns why the text cannot name a member; "" if it can.
    """

    name: str
    render: Callable[[Sequence[Listing]], bytes]
    single: bool = False
    content_type: str = JSON
    problem: Callable[[Member], str] = lambda member: host_problem(member)


def host_problem(member: Member) -> str:
    """Why a host is not safe to write; "" if it is.

    A znode can be written by anybody whom ZooKeeper allows to, and its host may be any printable
    text: ``a;evil`` would be two directives of nginx, two commands of HAProxy.
    """
    if is_ip_address(member.host) or _NAME.fullmatch(member.host):
        return ""
    return "the host is neither a host name nor an IP address"


def ip_problem(member: Member) -> str:
    """Why a reader that looks no name up cannot use a member; "" if it can."""
    return "" if is_ip_address(member.host) else "the host must be an IP address"


def is_ip_address(host: str) -> bool:
    """Whether a host is an IP address without a zone."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def sort_out(
    consumer: Consumer, listings: Iterable[Listing]
) -> tuple[tuple[Listing, ...], dict[str, str]]:
    """Leave out the members that a consumer cannot use, and bring the others into one order.

    An address stands there once: HAProxy does not start with two servers of one name.

    Returns:
        The listings, and why which address was left out.
    """
    kept, problems = [], {}
    for listing in listings:
        members: dict[str, Member] = {}
        for member in sorted(listing.members, key=lambda one: (one.host, one.port)):
            if problem := consumer.problem(member):
                problems[member.address] = problem
            else:
                members.setdefault(member.address, member)
        kept.append(replace(listing, members=tuple(members.values())))
    return tuple(kept), problems


def whole_weights(members: Sequence[Member], highest: int) -> list[int]:
    """The weights as whole numbers for readers that take no others, in the same proportion.

    A weight above 0 stays above 0.  If all are 0, all get 1, as in zkservice's own strategies.

    Args:
        members: of one service.
        highest: that the reader takes.
    """
    weights = [one.weight for one in members]
    largest = max(weights, default=0.0)
    if largest <= 0:
        return [1] * len(weights)
    if largest <= highest and all(weight == int(weight) for weight in weights):
        return [int(weight) for weight in weights]
    scale = min(100, highest)
    # The division first: weights may be so small that no factor makes whole numbers of them.
    return [max(1, round(weight / largest * scale)) if weight else 0 for weight in weights]


def safe_text(value: Any) -> str | None:
    """A property as text that cannot end a word of a configuration file; None if it could."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value)
    return value if isinstance(value, str) and _SAFE.fullmatch(value) else None


def safe_properties(properties: Mapping[str, Any]) -> dict[str, str]:
    """The properties that are safe to write anywhere; see `safe_text`."""
    texts = {name: safe_text(value) for name, value in properties.items()}
    return {name: text for name, text in texts.items() if text is not None}


def readable_json(value: object) -> bytes:
    """JSON for files that people look at too, with a line end."""
    return json.dumps(value, indent=1, allow_nan=False).encode() + b"\n"
