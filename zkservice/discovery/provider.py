"""One provider of a service, and everything that is registered for a service."""

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
        properties: the other properties of the registration.
        weight: its share of the requests in relation to others; 0: it gets none.
        zone: its ``zone`` property, or "".
        tls: whether the registration says that the address speaks TLS.
        format: the name of the registration's format.
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
    """What was read from a znode: a provider, or why the znode is not one.

    It is kept until the znode changes, because a service may have thousands of them.
    """

    provider: Provider | None = None
    available: bool = False
    problem: FormatError | None = None


@dataclass(frozen=True)
class Registered:
    """What is registered below a path at one moment.

    Attributes:
        providers: the providers that may be used, by address.
        stopping: the providers that are registered as not available, by address.
        problems: why other children are not providers.
        error: why the path cannot be resolved; None if it can.
    """

    providers: Mapping[str, Provider] = field(default_factory=dict)
    stopping: Mapping[str, Provider] = field(default_factory=dict)
    problems: tuple[FormatError, ...] = ()
    error: Exception | None = None

    @classmethod
    def classified(cls, znodes: Iterable[ReadZnode]) -> Self:
        """Sort znodes into the attributes.

        An address that is registered twice may be used if one registration is available.
        """
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
        """Whether this is a change to report, even if ``providers`` are the same."""
        return (
            before is None
            or before.stopping != self.stopping
            or (before.error is None) != (self.error is None)
        )

    def why_none(self) -> str | None:
        """Why no registration is usable; None if nothing is registered."""
        if self.stopping:
            return f"none of the {len(self.stopping)} registered here is available"
        if self.problems:
            others = len(self.problems) - 1
            more = f", and {others} more like it" if others else ""
            return f"no service instance is registered here: {self.problems[0]}{more}"
        return None
