"""What one of the processes that run the application has told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["ProcessReport"]


@dataclass(frozen=True)
class ProcessReport:
    """What a process has told.

    Attributes:
        name: the worker's; "" if there is only one process.
        value: what was asked for, in values that JSON has; None with an ``error``.
        error: why there is no value, as for a process whose reactor does not turn.
    """

    name: str
    pid: int | None
    value: Any = None
    error: str = ""

    @property
    def problem(self) -> str:
        """The error, for people: whether the process is stuck, or has refused."""
        stuck = self.error.startswith(("no answer", "the process does not read"))
        return f"{self.title} is stuck: {self.error}" if stuck else f"{self.title}: {self.error}"

    @property
    def title(self) -> str:
        """The process, for people."""
        name = self.name or "process"
        return f"{name} ({self.pid})"
