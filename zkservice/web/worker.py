"""One worker thread, and the jobs that it runs."""

from __future__ import annotations

import sys
import threading
import traceback
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Job", "Running", "Worker"]


class Job(Protocol):
    """A task for a worker thread.  ``str`` of it is shown to the administrator."""

    def run(self, worker: Worker) -> None:
        """Run the task (worker thread)."""
        ...


class Worker:
    """One worker thread, as other threads see it."""

    __slots__ = ("began", "completed", "job", "objects", "parked", "retired", "thread")

    def __init__(self) -> None:
        self.job: Job | None = None
        #: When the job began, by the clock of the workers.
        self.began = 0.0
        #: Jobs that the thread has finished; only the thread itself writes it.
        self.completed = 0
        #: Objects that only this thread uses, by the request handler they are for.
        self.objects: dict[object, Any] = {}
        #: Whether another thread has taken its place; it ends with its job.
        self.retired = False
        #: Locked while the thread is running; a parked thread waits for it.
        self.parked = threading.Lock()
        self.parked.acquire()
        self.thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        """The thread's name."""
        return "(not started)" if self.thread is None else self.thread.name

    def stack(self) -> str:
        """Where the thread is at this moment, the innermost call last."""
        ident = None if self.thread is None else self.thread.ident
        frame = None if ident is None else sys._current_frames().get(ident)
        return "" if frame is None else "".join(traceback.format_stack(frame))


@dataclass(frozen=True)
class Running:
    """What one thread is doing at this moment."""

    thread: str
    job: Job | None  #: None if it is idle
    seconds: float  #: since the job began
    stuck: bool  #: whether another thread has taken its place
    stack: str
