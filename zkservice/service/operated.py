"""What the monitor's commands are given of a running service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from zkservice.client import ZooKeeperClient
from zkservice.registry import Registration
from zkservice.service.availability import Availability
from zkservice.service.process_report import ProcessReport

__all__ = ["NoFront", "Operated", "OperatedFront"]


class OperatedFront(Protocol):
    """What serves, as far as the commands go; see `Front`."""

    @property
    def size(self) -> int:
        """How many worker processes are wanted; 0 if it has none."""
        ...

    def resize(self, size: int) -> None:
        """Have more worker processes, or fewer."""
        ...

    def processes(self) -> list[dict[str, Any]]:
        """The processes that run the application, as plain values."""
        ...

    def inspect(
        self, what: str, *arguments: Any, timeout: float = 1.0
    ) -> Deferred[list[ProcessReport]]:
        """Ask every process that serves."""
        ...


class NoFront:
    """The front of a program that only registers another one: no process serves."""

    size = 0

    def resize(self, size: int) -> None:
        """There is none."""

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
    """A service that operators look at.

    Attributes:
        registrations: returns those of the service.
        status: returns what ``status`` shows, by name.
        availability: ``out`` blocks it, ``in`` unblocks it.
        clock: for how long commands wait.
    """

    registrations: Callable[[], Iterable[Registration]]
    status: Callable[[], Mapping[str, Any]]
    availability: Availability
    clock: IReactorTime
    client: ZooKeeperClient
    front: OperatedFront
