"""The model of all consumers: a service with its members, and checks for safe texts."""

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

# Host names without characters that have a meaning in configuration files, on sockets or in URLs:
# no quotes, separators, comments or line ends.  A host has at most 255 characters.
_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?", re.ASCII)
_SAFE: Final = re.compile(r"[A-Za-z0-9._:/@+,=~%-]{0,255}", re.ASCII)


@dataclass(frozen=True)
class Listing:
    """A service, and the members that are registered at one moment.

    Attributes:
        name: the service's name for consumers.
        path: the service's znode.
        members: the available members, and those that are stopping.
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
    """The format of one kind of program.

    Attributes:
        name: the format's name.
        render: makes the text.  It gets only members without a `problem`.
        single: whether a text can contain only one service.
        content_type: the ``Content-Type`` of the text in an HTTP response.
        problem: returns why the text cannot name a member; "" if it can.
    """

    name: str
    render: Callable[[Sequence[Listing]], bytes]
    single: bool = False
    content_type: str = JSON
    problem: Callable[[Member], str] = lambda member: host_problem(member)


def host_problem(member: Member) -> str:
    """Why a host is not safe to write; "" if it is.

    Every client that may write to ZooKeeper can register any printable text as a host: ``a;evil``
    would be two directives of nginx, or two commands of HAProxy.
    """
    if is_ip_address(member.host) or _NAME.fullmatch(member.host):
        return ""
    return "the host is neither a host name nor an IP address"


def ip_problem(member: Member) -> str:
    """Why a consumer that does not resolve names cannot use a member; "" if it can."""
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
    """Leave out the members that a consumer cannot use, and sort the others.

    Each address occurs once: HAProxy does not start with two servers of the same name.

    Returns:
        The listings, and the reasons by the addresses that were left out.
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
    """The weights as whole numbers, for consumers that need them, in the same proportion.

    A weight above 0 stays above 0.  If all are 0, all get 1, as in zkservice's own strategies.

    Args:
        members: the members of one service.
        highest: the highest weight that the consumer accepts.
    """
    weights = [one.weight for one in members]
    largest = max(weights, default=0.0)
    if largest <= 0:
        return [1] * len(weights)
    if largest <= highest and all(weight == int(weight) for weight in weights):
        return [int(weight) for weight in weights]
    scale = min(100, highest)
    # Divide first: with very small weights, scale / largest could overflow.
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
    """Indented JSON with a line end, for files that people read, too."""
    return json.dumps(value, indent=1, allow_nan=False).encode() + b"\n"
