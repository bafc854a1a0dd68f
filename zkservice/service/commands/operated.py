"""What the monitor's commands need of a running service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from zkservice.client import ZooKeeperClient
from zkservice.registry import Registration
from zkservice.service.state.availability import Availability
from zkservice.service.state.process_report import ProcessReport

__all__ = ["NoFront", "Operated", "OperatedFront"]


class OperatedFront(Protocol):
    """The part of `Front` that the commands use."""

    @property
    def size(self) -> int:
        """The wanted number of worker processes; 0 for a front end without any."""
        ...

    def resize(self, size: int) -> None:
        """Change the number of worker processes."""
        ...

    def processes(self) -> list[dict[str, Any]]:
        """The processes that run the application, as plain values."""
        ...

    def inspect(
        self, what: str, *arguments: Any, timeout: float = 1.0
    ) -> Deferred[list[ProcessReport]]:
        """Send a request to every process that serves."""
        ...


class NoFront:
    """The front of a program that only registers another one: no process serves."""

    size = 0

    def resize(self, size: int) -> None:
        """Do nothing."""

    def processes(self) -> list[dict[str, Any]]:
        """None."""
        return []

    def inspect(
        self, what: str, *arguments: Any, timeout: float = 1.0
    ) -> Deferred[list[ProcessReport]]:
        """No reports."""
        return succeed([])


@dataclass(frozen=True)
class Operated:
    """A running service, as the monitor's commands see it.

    Attributes:
        registrations: returns the service's registrations.
        status: returns the values that ``status`` shows, by name.
        availability: ``out`` blocks the registration with it, ``in`` unblocks it.
        clock: limits the time for which commands wait.
    """

    registrations: Callable[[], Iterable[Registration]]
    status: Callable[[], Mapping[str, Any]]
    availability: Availability
    clock: IReactorTime
    client: ZooKeeperClient
    front: OperatedFront
