"""What one serving process tells about itself: this process, or a worker that its parent asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from zkservice.service.application_server import ApplicationServer
from zkservice.stacks import thread_stacks
from zkservice.web import running_requests

__all__ = ["Inspector", "ProcessReport"]

#: Of a list that crosses to the parent, and of one that is shown.
_MAX_REQUESTS: Final = 1000
_MAX_THREADS: Final = 500


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


class Inspector:
    """Tells what a process is doing, in values that JSON has.

    Args:
        server: what the process serves.
    """

    def __init__(self, server: ApplicationServer) -> None:
        self._server = server
        self._known: Mapping[str, Callable[..., Any]] = {
            "requests": self.requests,
            "stacks": self.stacks,
        }

    def knows(self, what: str) -> bool:
        """Whether this can be asked."""
        return what in self._known

    def answer(self, what: str, arguments: list[Any]) -> Any:
        """What is asked for; a value or a Deferred of one.

        Raises:
            LookupError: it cannot be asked.
            ValueError: an argument is invalid.
        """
        return self._known[what](*arguments)

    def requests(self) -> dict[str, Any]:
        """The requests in service, the oldest first, and how many more there are."""
        shown, more = running_requests(self._server.factory.server, _MAX_REQUESTS)
        return {
            "requests": [{**asdict(each), "waits_for": each.waits_for} for each in shown],
            "more": more,
        }

    def stacks(self) -> dict[str, Any]:
        """All threads; those of the application with what they run."""
        running = {each.thread: each for each in self._server.workers.running()}
        found = thread_stacks()
        threads = []
        for each in found[:_MAX_THREADS]:
            worker = running.get(each.name)
            threads.append(
                {
                    "name": each.name,
                    "idle": each.idle if worker is None else worker.job is None,
                    "job": "" if worker is None or worker.job is None else str(worker.job),
                    "seconds": None if worker is None or worker.job is None else worker.seconds,
                    "stuck": worker is not None and worker.stuck,
                    "stack": [asdict(place) for place in each.stack],
                }
            )
        return {"threads": threads, "more": len(found) - len(threads)}
