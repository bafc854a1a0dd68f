"""``--reload``: replace the workers of a service as soon as its code changes.

The old code serves no more requests after a change: connections wait in the kernel until the new
workers serve.  A worker that cannot load the application serves an error page instead.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from twisted.logger import Logger

from zkservice.deferreds import Alarm
from zkservice.supervisor import FileWatch, WorkerProcess

__all__ = ["Development"]

#: Seconds between two requests for the list of loaded files: code may import modules late.
_ASK: Final = 1.0
#: Paths that a log line names.
_MAX_NAMED: Final = 3


class Development:
    """Watches the files that the workers have loaded.

    Args:
        patterns: globs of more files to watch.
        reactor: tells the time.
        workers: returns the workers that serve.
        reload: starts new workers.

    Attributes:
        holding: whether connections have to wait for new workers.
        problem: why no new worker could start.  The next worker shows it as a page, and does not
            load the application.
    """

    _log = Logger()

    def __init__(
        self,
        patterns: Sequence[str],
        reactor: Any,
        workers: Callable[[], list[WorkerProcess]],
        reload: Callable[[], object],
        make_watch: Callable[..., FileWatch] = FileWatch,
    ) -> None:
        self.holding = False
        self.problem = ""
        self._workers = workers
        self._reload = reload
        self._again = False  # the code has changed since the last reload began
        self._known: dict[WorkerProcess, int] = {}  # the number of modules that each has reported
        self._watch = make_watch(reactor, self._changed, patterns)
        self._alarm = Alarm(reactor, self.ask)

    def start(self) -> None:
        """Start watching."""
        self._log.warn(
            "--reload is for development: clients see tracebacks, and every change of the code "
            "takes effect at once"
        )
        self._watch.start()

    def stop(self) -> None:
        """Stop watching."""
        self._watch.stop()
        self._alarm.cancel()

    def ask(self) -> None:
        """Ask the workers for their loaded files, now and periodically."""
        self._alarm.set(_ASK)
        workers = self._workers()
        self._known = {worker: self._known.get(worker, 0) for worker in workers}
        for worker in workers:
            answered = worker.ask("files", self._known[worker], timeout=_ASK)
            answered.addCallback(self._told, worker)
            answered.addErrback(lambda _: None)  # the worker ends, or is busy: ask again later

    def reloaded(self, error: str) -> None:
        """Handle the end of a reload.

        Args:
            error: why a new worker could not start; "" if all are serving.
        """
        if self._again:  # the pool starts another reload
            self._again = False
        elif error and not self.problem:
            # The worker has ended without serving an error page: have another worker serve it.
            self.problem = error
            self._reload()
        else:
            self.holding = False

    def _told(self, told: dict[str, Any] | None, worker: WorkerProcess) -> None:
        if told is not None:
            self._known[worker] = told["count"]
            self._watch.watch_since(told["files"], told["patterns"])

    def _changed(self, paths: list[str]) -> None:
        others = len(paths) - _MAX_NAMED
        self._log.info(
            "the code has changed: {paths}",
            paths=", ".join(paths[:_MAX_NAMED]) + (f" and {others} more" if others > 0 else ""),
        )
        _remove_bytecode(paths)
        self._again = self.holding
        self.holding = True
        self.problem = ""
        for worker in self._workers():
            worker.ask("finish", timeout=_ASK).addErrback(lambda _: None)
        self._reload()


def _remove_bytecode(paths: Iterable[str]) -> None:
    """Remove the compiled files of modules.

    Python uses a compiled file if the source's time, in seconds, and size are unchanged.  Two
    edits within a second may keep both.
    """
    for path in paths:
        if path.endswith(".py"):
            with contextlib.suppress(OSError, NotImplementedError, ValueError):
                os.unlink(importlib.util.cache_from_source(path))
