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
        stack: where the threads of such a process are, as faulthandler writes it.
    """

    name: str
    pid: int | None
    value: Any = None
    error: str = ""
    stack: str = ""

    @property
    def stuck(self) -> bool:
        """Whether the process has neither replied nor refused."""
        return self.error.startswith(("no answer", "the process does not read"))

    @property
    def problem(self) -> str:
        """The error, for people: whether the process is stuck, and where, or has refused."""
        if not self.stuck:
            return f"{self.title}: {self.error}"
        said = f"{self.title} is stuck: {self.error}"
        return f"{said}\n{self.stack}" if self.stack else said

    @property
    def title(self) -> str:
        """The process, for people."""
        name = self.name or "process"
        return f"{name} ({self.pid})"
