"""What a service is doing at one moment, as values for those who watch it."""

from __future__ import annotations

from dataclasses import dataclass

from zkservice.client import Statistics
from zkservice.web import FrontEndStatistics, WorkersStatistics

__all__ = ["Figures"]


@dataclass(frozen=True)
class Figures:
    """The state of a service and of its parts.

    Attributes:
        http: None before the front end is there.
        client: None before there is a ZooKeeper client.
    """

    workers: WorkersStatistics
    registered: bool = False
    connected: bool = False
    http: FrontEndStatistics | None = None
    client: Statistics | None = None
