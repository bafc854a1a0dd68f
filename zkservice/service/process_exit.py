"""The end of the process, although the application has left threads behind.

At its end Python waits for every thread that is no daemon, for ever.  A thread that an
application has forgotten would so keep a process that serves nobody any more.
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
    """Lets the process exit with another code than 0 although the reactor has stopped well.

    Make it early: what is registered with `atexit` later, as by the application, runs before.

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
    """Have the process end soon after its main thread, whatever other threads do.

    To be called in the main thread, once nothing else is left to do.

    Args:
        code: the exit code, if threads had to be cut off; what they hold is lost.
        grace: seconds that they get.
    """
    left = _left()
    if not left:
        return
    # Now: nothing is logged any more when the time is up.
    _log.warn(
        "threads of the application still run: {names}; the process ends in {grace} s without them",
        names=", ".join(sorted(one.name for one in left)),
        grace=grace,
    )
    for number in (signal.SIGTERM, signal.SIGINT):  # asked again, it goes at once
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(number, signal.SIG_DFL)
    threading.Thread(
        target=_wait, args=(code, grace, leave), name="end of the process", daemon=True
    ).start()


def _left() -> list[threading.Thread]:
    """The threads that Python waits for at its end."""
    main = threading.main_thread()
    return [one for one in threading.enumerate() if not (one.daemon or one is main)]


def _wait(code: int, grace: float, leave: Callable[[int], object]) -> None:
    threading.main_thread().join()
    until = time.monotonic() + grace
    for thread in _left():
        thread.join(max(0.0, until - time.monotonic()))
    if not _left():
        return
    _flush()
    leave(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
