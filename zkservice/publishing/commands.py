"""Commands that make a consumer read its file again: one at a time, within a time limit."""

from __future__ import annotations

import contextlib
import signal
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from zkservice.deferreds import Alarm
from zkservice.errors import PublishError

__all__ = ["CommandRunner"]

#: Bytes at the end of a command's output that are kept.
MAX_OUTPUT: Final = 4096
#: Characters of the output's last line that are shown.
MAX_SHOWN: Final = 200
#: Seconds between SIGTERM and SIGKILL for a command that takes too long.
TERMINATE: Final = 2.0
#: Seconds to wait for the last output after the process has ended.  Not until the pipe is closed: a
#: program that the command left in the background may keep it open for ever.
LAST_OUTPUT: Final = 0.2


class CommandRunner:
    """Runs shell commands one after another.

    Args:
        reactor: spawns them.
        timeout: seconds after which a command is ended.
    """

    _log = Logger()

    def __init__(self, reactor: Any, timeout: float) -> None:
        self._reactor = reactor
        self._timeout = timeout
        self._lock = DeferredLock()
        self._running: _ShellCommand | None = None

    async def run(self, command: str) -> None:
        """Run a command after those that are queued.

        Raises:
            PublishError: its exit code was not 0, or it took too long.
        """
        await self._lock.acquire()
        try:
            self._running = running = _ShellCommand(self._reactor, self._timeout)
            self._reactor.spawnProcess(running, "/bin/sh", ["/bin/sh", "-c", command], env=None)
            problem = await running.ended
        finally:
            self._running = None
            self._lock.release()
        if problem:
            raise PublishError(f"the command {command!r} {problem}")
        self._log.info("ran {command}", command=command)

    def stop(self) -> None:
        """End the running command, if there is one."""
        if self._running is not None:
            self._running.stop()


class _ShellCommand(ProcessProtocol):
    """A running command.

    Attributes:
        ended: fires when the command has ended, with what went wrong; "" for success.
    """

    def __init__(self, reactor: Any, timeout: float) -> None:
        self.ended: Deferred[str] = Deferred()
        self._output = b""
        self._timeout = timeout
        self._timed_out = False
        self._problem = ""
        self._time_limit = Alarm(reactor, self._too_late)
        self._kill = Alarm(reactor, lambda: self._signal(signal.SIGKILL))
        self._last_output = Alarm(reactor, self._end)

    def stop(self) -> None:
        """Send SIGTERM, then SIGKILL."""
        self._signal(signal.SIGTERM)
        self._kill.set_no_later(TERMINATE)

    @override
    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.closeStdin()
        self._time_limit.set(self._timeout)

    @override
    def outReceived(self, data: bytes) -> None:
        self._output = (self._output + data)[-MAX_OUTPUT:]

    @override
    def errReceived(self, data: bytes) -> None:
        self.outReceived(data)

    @override
    def processExited(self, reason: Failure) -> None:
        status: Any = reason.value
        self._time_limit.cancel()
        self._kill.cancel()
        if self._timed_out:
            self._problem = f"was ended because it took longer than {self._timeout} s"
        elif status.signal is not None:
            self._problem = f"was killed by {signal.Signals(status.signal).name}"
        elif status.exitCode:
            self._problem = f"failed with exit code {status.exitCode}"
        self._last_output.set(LAST_OUTPUT)

    @override
    def processEnded(self, reason: Failure) -> None:
        self._end()

    def _too_late(self) -> None:
        self._timed_out = True
        self.stop()

    def _signal(self, number: signal.Signals) -> None:
        transport: Any = self.transport
        with contextlib.suppress(ProcessExitedAlready):
            transport.signalProcess(number)

    def _end(self) -> None:
        self._last_output.cancel()
        if self.ended.called:
            return
        transport: Any = self.transport
        transport.loseConnection()
        last_line = self._last_line()
        detail = f": {last_line}" if self._problem and last_line else ""
        self.ended.callback(self._problem + detail)

    def _last_line(self) -> str:
        lines = self._output.decode("utf-8", "replace").strip().splitlines()
        shown = lines[-1] if lines else ""
        return "".join(one if one.isprintable() else "?" for one in shown)[-MAX_SHOWN:]
