"""The process's own clocks, random numbers, ids and logs, taken over while a run lasts."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import random
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

from twisted.logger import ILogObserver, LogLevel, globalLogPublisher
from zope.interface import implementer

from tests.simulation.choices import Choices
from tests.simulation.kernel import Kernel
from tests.simulation.pool import SimulatedWorkers
from zkservice.client import ZooKeeperClient
from zkservice.service import lifecycle
from zkservice.service.application import server
from zkservice.web import server as web_server
from zkservice.web.turns import Turns

#: What a process is called in everything that it writes.
PID = 4242


class _Exit:
    """An exit code that no process has."""

    def __init__(self) -> None:
        self.code = 0


def _none(*args: Any, **named: Any) -> None:
    """Do nothing."""


@contextlib.contextmanager
def hermetic(
    choices: Choices, kernel: Kernel, logged: Callable[[dict[str, Any]], object]
) -> Iterator[None]:
    """Nothing from outside gets into the run, and nothing gets out.

    Args:
        choices: where random numbers come from.
        kernel: where the time comes from.
        logged: called with each event that is logged as an error.
    """
    source = choices.fixed("os.urandom")
    before = random.getstate()
    random.seed(f"{choices.seed}/random")

    def urandom(size: int) -> bytes:
        return source.randbytes(size)

    @implementer(ILogObserver)
    def observe(event: dict[str, Any]) -> None:
        if event["log_level"] in (LogLevel.error, LogLevel.critical) or "log_failure" in event:
            logged(event)

    clock = patch.dict(ZooKeeperClient.__init__.__kwdefaults__, {"clock": kernel.boot_time})
    gc.collect()
    gc.disable()
    gc.freeze()  # `bounds` looks at what the run makes, and at nothing else
    observers = list(globalLogPublisher._observers)
    globalLogPublisher.addObserver(observe)
    with contextlib.ExitStack() as stack:
        for one in (
            clock,
            patch.object(os, "urandom", urandom),
            patch.object(random, "_urandom", urandom),
            patch.object(os, "getpid", lambda: PID),
            patch.object(web_server, "time", lambda: kernel.now),
            patch.object(Turns.__init__, "__defaults__", (kernel.boot_time,)),
            patch.object(server, "Workers", SimulatedWorkers),
            patch.object(lifecycle, "take_signals_when_running", _none),
            patch.object(lifecycle, "force_exit", _none),
            patch.object(lifecycle, "escape_log_texts", _none),
            patch.object(lifecycle, "ExitCode", _Exit),
        ):
            stack.enter_context(one)
        # A service says there why it ends.
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        try:
            yield
        finally:
            gc.unfreeze()
            gc.collect()
            # Also those of processes that were killed, which could not remove them.
            globalLogPublisher._observers[:] = observers
            random.setstate(before)
            gc.enable()
