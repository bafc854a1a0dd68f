"""Exit codes, and an exit that threads of the application cannot prevent.

Python waits at exit for every thread that is not a daemon, without a limit.  A thread that an
application leaves behind would keep a process alive that no longer serves requests.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from twisted.logger import Logger

_log: Final = Logger()


class ExitCode:
    """Makes the process exit with another code than 0 although the reactor stopped normally.

    Create it early: handlers that are registered with `atexit` later run before it.

    Attributes:
        code: 0 changes nothing.
    """

    def __init__(
        self,
        register: Callable[[Callable[[], None]], object] = atexit.register,
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        self.code = 0
        self._leave = leave
        register(self._end)

    def _end(self) -> None:
        if self.code:
            logging.shutdown()
            _flush()
            self._leave(self.code)


def force_exit(code: int, grace: float, leave: Callable[[int], object] = os._exit) -> None:
    """Make the process exit soon after its main thread, whatever other threads do.

    Call it in the main thread, as the last step.

    Args:
        code: the exit code if threads had to be cut off; their unsaved work is lost.
        grace: seconds that they have to finish.
    """
    remaining = _remaining_threads()
    if not remaining:
        return
    # Logged now, because logging has stopped when the time is over.
    _log.warn(
        "threads of the application still run: {names}; the process ends in {grace} s without them",
        names=", ".join(sorted(one.name for one in remaining)),
        grace=grace,
    )
    for number in (signal.SIGTERM, signal.SIGINT):  # a further signal ends the process at once
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(number, signal.SIG_DFL)
    threading.Thread(
        target=_wait, args=(code, grace, leave), name="end of the process", daemon=True
    ).start()


def _remaining_threads() -> list[threading.Thread]:
    """The threads that Python waits for at exit."""
    main = threading.main_thread()
    return [one for one in threading.enumerate() if not (one.daemon or one is main)]


def _wait(code: int, grace: float, leave: Callable[[int], object]) -> None:
    threading.main_thread().join()
    until = time.monotonic() + grace
    for thread in _remaining_threads():
        thread.join(max(0.0, until - time.monotonic()))
    if not _remaining_threads():
        return
    _flush()
    leave(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
