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

#: Seconds between two requests for the list of loaded files, as code may import modules late; and
#: for the reply.
_POLL_INTERVAL: Final = 1.0
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
        self._changed_again = False  # since the last reload began
        self._module_counts: dict[WorkerProcess, int] = {}  # as each worker has reported it
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
        self._alarm.set(_POLL_INTERVAL)
        workers = self._workers()
        self._module_counts = {worker: self._module_counts.get(worker, 0) for worker in workers}
        for worker in workers:
            reply = worker.ask("files", self._module_counts[worker], timeout=_POLL_INTERVAL)
            reply.addCallback(self._watch_files, worker)
            reply.addErrback(lambda _: None)  # the worker ends, or is busy: ask again later

    def reloaded(self, error: str) -> None:
        """Handle the end of a reload.

        Args:
            error: why a new worker could not start; "" if all are serving.
        """
        if self._changed_again:  # the pool starts another reload
            self._changed_again = False
        elif error and not self.problem:
            # The worker has ended without serving an error page: have another worker serve it.
            self.problem = error
            self._reload()
        else:
            self.holding = False

    def _watch_files(self, loaded: dict[str, Any] | None, worker: WorkerProcess) -> None:
        """Watch the files of a reply of `LoadedCode.files`."""
        if loaded is not None:
            self._module_counts[worker] = loaded["count"]
            self._watch.watch_since(loaded["files"], loaded["patterns"])

    def _changed(self, paths: list[str]) -> None:
        others = len(paths) - _MAX_NAMED
        self._log.info(
            "the code has changed: {paths}",
            paths=", ".join(paths[:_MAX_NAMED]) + (f" and {others} more" if others > 0 else ""),
        )
        _remove_bytecode(paths)
        self._changed_again = self.holding  # a reload is under way
        self.holding = True
        self.problem = ""
        for worker in self._workers():  # the old code takes no more requests
            worker.ask("finish", timeout=_POLL_INTERVAL).addErrback(lambda _: None)
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
