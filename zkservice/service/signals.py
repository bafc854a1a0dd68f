"""SIGTERM and SIGINT: the first one ends the process in good order, the second one at once.

SIGHUP opens log files and reads certificates again.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReactorCore


def take_signals(
    reactor: Any, hurry: Callable[[], object], hang_up: Callable[[], object] = lambda: None
) -> None:
    """Handle the signals in place of the reactor, once it runs.

    The reactor's own handlers make twistd die of the signal after a clean shutdown; a
    process that has ended in good order exits with 0.

    Args:
        hurry: called in the reactor thread for every such signal after the first.
        hang_up: called in the reactor thread for every SIGHUP, which ends nothing.
    """
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if stopping:
            hurry()
        else:
            stopping = True
            try:
                reactor.stop()
            except ReactorNotRunning:  # somebody else has stopped it
                hurry()

    def heard(number: int, frame: FrameType | None) -> None:
        reactor.callFromThread(stop)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, heard)
        signal.signal(signal.SIGHUP, lambda number, frame: reactor.callFromThread(hang_up))


def take_signals_when_running(
    reactor: Any, hurry: Callable[[], object], hang_up: Callable[[], object] = lambda: None
) -> None:
    """`take_signals`, after the reactor has installed handlers of its own."""
    IReactorCore(reactor).callWhenRunning(take_signals, reactor, hurry, hang_up)
