"""One provider of a service, and all that ZooKeeper says about a service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from typing_extensions import Self

from zkservice.errors import FormatError
from zkservice.formats import Member
from zkservice.formats.addresses import format_address

__all__ = ["Provider", "ReadZnode", "Registered"]


@dataclass(frozen=True)
class Provider:
    """An address at which a service can be used.

    Attributes:
        host: a name, or an IP address without brackets.
        port: from 1 to 65535.
        properties: what else is registered.
        weight: its share of the work in relation to others; 0 means that it gets none.
        zone: its ``zone`` property; empty without one.
        tls: the address speaks TLS, as far as the format says so.
        format: the name of the format that it is registered in.
    """

    host: str
    port: int
    properties: Mapping[str, Any] = field(default_factory=dict, hash=False)
    weight: float = 1.0
    zone: str = ""
    tls: bool = False
    format: str = field(default="", compare=False)

    @classmethod
    def of(cls, member: Member) -> Self:
        """The provider that a member stands for."""
        zone = member.properties.get("zone")
        return cls(
            member.host,
            member.port,
            member.properties,
            member.weight,
            zone if isinstance(zone, str) else "",
            member.tls,
            member.format,
        )

    @cached_property
    def address(self) -> str:
        """``host:port``, with brackets around IPv6."""
        return format_address(self.host, self.port)


class ReadZnode(NamedTuple):
    """What was read from a znode: a provider, or why it is none.

    It is kept until the znode changes, because a service may have thousands of them.
    """

    provider: Provider | None = None
    available: bool = False
    problem: FormatError | None = None


@dataclass(frozen=True)
class Registered:
    """What is registered below a path at one moment.

    Attributes:
        providers: those that may be used, by address.
        stopping: those that are registered as not to be used, by address.
        problems: why other children are no providers.
        error: why the path leads nowhere; None if it leads somewhere.
    """

    providers: Mapping[str, Provider] = field(default_factory=dict)
    stopping: Mapping[str, Provider] = field(default_factory=dict)
    problems: tuple[FormatError, ...] = ()
    error: Exception | None = None

    @classmethod
    def sorted_out(cls, znodes: Iterable[ReadZnode]) -> Self:
        """Tell the znodes apart.  An address that is there twice counts if one is available."""
        providers: dict[str, Provider] = {}
        stopping: dict[str, Provider] = {}
        problems = []
        for provider, available, problem in znodes:
            if provider is None:
                problems.append(problem)
            else:
                (providers if available else stopping).setdefault(provider.address, provider)
        stopping = {at: one for at, one in stopping.items() if at not in providers}
        return cls(providers, stopping, tuple(each for each in problems if each is not None))

    def differs_for_waiters(self, before: Registered | None) -> bool:
        """Whether those that wait for a change should look, even if ``providers`` are the same."""
        return (
            before is None
            or before.stopping != self.stopping
            or (before.error is None) != (self.error is None)
        )

    def why_none(self) -> str | None:
        """Why there is no provider; None where nothing is registered."""
        if self.stopping:
            return f"none of the {len(self.stopping)} registered here is available"
        if self.problems:
            others = len(self.problems) - 1
            more = f", and {others} more like it" if others else ""
            return f"no service instance is registered here: {self.problems[0]}{more}"
        return None
