"""The reply of one process to a request of an operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["ProcessReport"]


@dataclass(frozen=True)
class ProcessReport:
    """The reply of a process.

    Attributes:
        name: the worker's name; "" if there is only one process.
        value: the reply, in values that JSON can express; None with an ``error``.
        error: why there is no value, as for a process whose reactor does not run.
        stuck: whether the process has not replied in time.
        stack: the stacks of its threads if it is stuck, as written by faulthandler.
    """

    name: str
    pid: int | None
    value: Any = None
    error: str = ""
    stuck: bool = False
    stack: str = ""

    @property
    def problem(self) -> str:
        """The error as a sentence, with the stacks if the process is stuck."""
        if not self.stuck:
            return f"{self.title}: {self.error}"
        text = f"{self.title} is stuck: {self.error}"
        return f"{text}\n{self.stack}" if self.stack else text

    @property
    def title(self) -> str:
        """The process's name and id, for headings."""
        name = self.name or "process"
        return f"{name} ({self.pid})"
