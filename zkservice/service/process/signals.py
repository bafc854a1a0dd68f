"""Signals: the first SIGTERM or SIGINT shuts down gracefully, the second one at once.

The service supplies handlers for other signals, such as SIGHUP.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping
from functools import partial
from types import FrameType, MappingProxyType
from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReactorCore


def take_signals(
    reactor: Any,
    stop_at_once: Callable[[], object],
    handlers: Mapping[signal.Signals, Callable[[], object]] = MappingProxyType({}),
    on_first: Callable[[signal.Signals], object] = lambda number: None,
) -> None:
    """Replace the signal handlers of the running reactor.

    The reactor's own handlers make twistd kill itself with the signal after a clean shutdown, but
    a process that has shut down gracefully should exit with 0.

    Args:
        reactor: is stopped by the first SIGTERM or SIGINT.
        stop_at_once: called in the reactor thread for every further SIGTERM or SIGINT.
        handlers: called in the reactor thread for other signals.
        on_first: called with the first SIGTERM or SIGINT, before the reactor is stopped.
    """
    stopping = False

    def stop(number: int) -> None:
        nonlocal stopping
        if stopping:
            stop_at_once()
        else:
            stopping = True
            on_first(signal.Signals(number))
            try:
                reactor.stop()
            except ReactorNotRunning:  # something else has stopped it
                stop_at_once()

    def handle(number: int, frame: FrameType | None) -> None:
        reactor.callFromThread(stop, number)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, handle)
        for number, handler in handlers.items():
            signal.signal(number, partial(_handle, reactor, handler))


def _handle(
    reactor: Any, handler: Callable[[], object], number: int, frame: FrameType | None
) -> None:
    reactor.callFromThread(handler)


def take_signals_when_running(
    reactor: Any,
    stop_at_once: Callable[[], object],
    handlers: Mapping[signal.Signals, Callable[[], object]] = MappingProxyType({}),
    on_first: Callable[[signal.Signals], object] = lambda number: None,
) -> None:
    """Call `take_signals` with these arguments after the reactor has installed its own handlers."""
    IReactorCore(reactor).callWhenRunning(take_signals, reactor, stop_at_once, handlers, on_first)
