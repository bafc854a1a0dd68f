"""Notify systemd of the state of the service (sd_notify(3)), if systemd runs it."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger


class Notifier:
    """Sends states to systemd's socket; does nothing without one.

    Args:
        environ: systemd sets ``NOTIFY_SOCKET`` and ``WATCHDOG_USEC`` (microseconds).
        clock: schedules the notifications of the watchdog.
    """

    _log = Logger()

    def __init__(self, environ: Mapping[str, str], clock: IReactorTime) -> None:
        #: Whether to send: systemd accepts messages of the main process only.
        self.enabled = True
        self._address = environ.get("NOTIFY_SOCKET", "")
        period = environ.get("WATCHDOG_USEC", "")
        self._watchdog: LoopingCall | None = None
        if self._address and period.isdigit() and int(period) > 0:
            self._watchdog = LoopingCall(self.send, "WATCHDOG=1")
            self._watchdog.clock = clock
            # Twice in each period, as sd_watchdog_enabled(3) advises.
            self._interval = int(period) / 1_000_000 / 2

    def ready(self, status: str) -> None:
        """Report that the service has started; from now on the watchdog is notified."""
        self.send(f"READY=1\nSTATUS={status}")
        if self.enabled and self._watchdog is not None and not self._watchdog.running:
            self._watchdog.start(self._interval)

    def reloading(self, now: int) -> None:
        """Report that an upgrade has begun; `ready` reports its end.

        Args:
            now: microseconds of CLOCK_MONOTONIC, which newer versions of systemd require.
        """
        self.send(f"RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=Starting a new program")

    def stopping(self) -> None:
        """Report that the service shuts down."""
        self.send("STOPPING=1")

    def stop(self) -> None:
        """Stop notifying the watchdog."""
        if self._watchdog is not None and self._watchdog.running:
            self._watchdog.stop()

    def send(self, state: str) -> None:
        """Send a text of assignments, one on each line."""
        if not self._address or not self.enabled:
            return
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(state.encode(), address)
        except OSError as error:
            self._log.warn("cannot notify systemd of {state!r}: {error}", state=state, error=error)
