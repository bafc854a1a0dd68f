"""The command of ``twistd zkregister``: a child process that is started, signalled and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from zkservice.deferreds import Waiters
from zkservice.service.process import launch_command

__all__ = ["CommandProcess", "exit_code"]

#: Added to the number of the signal that ended a process, as shells do.
BY_SIGNAL: Final = 128


class CommandProcess(ProcessProtocol):
    """Runs a command in a process group of its own.

    Its standard output and error are this process's, its standard input is empty.

    Args:
        arguments: the program and its arguments.
        reactor: starts the process.

    Attributes:
        code: the exit code once it has ended, else None.
    """

    _log = Logger()

    def __init__(self, arguments: Sequence[str], reactor: Any) -> None:
        self.arguments = tuple(arguments)
        self.code: int | None = None
        self._reactor = reactor
        self._process: IProcessTransport | None = None
        self._group = 0  # the id of the process group; 0 before the start
        self._ended: Waiters[int] = Waiters()

    @property
    def pid(self) -> int | None:
        """The id of the process; None if none runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the command.

        Raises:
            OSError: the process cannot be started.
        """
        # launch_command prepares the process, then replaces itself by the command.
        launcher = [sys.executable, "-I", "-S", launch_command.__file__, str(os.getpid())]
        with open(os.devnull, "rb") as nothing:
            self._process = self._reactor.spawnProcess(
                self,
                sys.executable,
                [*launcher, *self.arguments],
                env=None,
                childFDs={0: nothing.fileno(), 1: 1, 2: 2},
            )
        self._group = self.pid or 0
        self._log.info(
            "started {command} as process {pid}", command=" ".join(self.arguments), pid=self.pid
        )

    def when_ended(self) -> Deferred[int]:
        """Fires with the exit code when the command has ended; at once if it has already."""
        return self._ended.add() if self.code is None else succeed(self.code)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command if it runs."""
        if self._process is not None:
            with contextlib.suppress(ProcessExitedAlready):
                self._process.signalProcess(number)

    def kill(self) -> None:
        """Kill the command and its process group."""
        self.send(signal.SIGKILL)
        self._signal_group(signal.SIGKILL)

    @override
    def processEnded(self, reason: Failure) -> None:
        self._process = None
        self.code = exit_code(reason)
        # A shell that gets a signal does not pass it on to the programs that it runs.
        self._signal_group(signal.SIGTERM)
        self._ended.fire(self.code)

    def _signal_group(self, number: signal.Signals) -> None:
        if self._group:
            with contextlib.suppress(OSError):  # the group is empty, or another user's
                os.killpg(self._group, number)


def exit_code(reason: Failure) -> int:
    """The exit code of a process that has ended; 128 and more if a signal has ended it."""
    if reason.check(ProcessDone):
        return 0
    ended: Any = reason.value
    if ended.signal is not None:
        return BY_SIGNAL + int(ended.signal)
    return int(ended.exitCode)
