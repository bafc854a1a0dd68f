"""``zkservice``: run a command in the reactor, and turn what goes wrong into an exit code."""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from io import TextIOWrapper
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from zkservice.cli.context import Context, Exit
from zkservice.cli.parser import parse_arguments
from zkservice.cli.terminal import Terminal
from zkservice.cli.tree_commands import UserStopError
from zkservice.errors import (
    ConfigurationError,
    FailedConnectError,
    InvalidHostsError,
    TreeChangedError,
    ZooKeeperError,
)

__all__ = ["main", "run_command", "run_on_the_reactor"]

Command = Callable[[Context], Awaitable[Exit]]


async def run_command(context: Context, command: Command) -> Exit:
    """Run a command; print an error in one line, and return the exit code for it."""
    terminal = context.terminal
    try:
        return await command(context)
    except FailedConnectError as error:
        terminal.error(str(error))
        return Exit.UNREACHABLE
    except TreeChangedError as error:
        terminal.error(f"{error}; try again")
        return Exit.CHANGED
    except UserStopError as error:
        terminal.note(str(error))
        return Exit.FAILED
    except InvalidHostsError as error:
        terminal.error(str(error))
        return Exit.USAGE
    except (ZooKeeperError, ConfigurationError, ValueError) as error:
        terminal.error(str(error))
        return Exit.FAILED
    except CancelledError:
        warning = "; what was under way may still be done" if context.writing else ""
        terminal.note(f"stopped{warning}")
        return Exit.STOPPED


class _CommandRun:
    """A command in a running reactor, and what SIGINT and SIGTERM do to it.

    The first Ctrl-C asks the command to stop once the changes that were sent are done.  The
    second one does not wait for them.
    """

    def __init__(self, reactor: Any, terminal: Terminal, command: Command) -> None:
        self._context = Context(reactor, terminal)
        self._command = command
        self._running: Deferred[None] | None = None
        self._old_handlers: dict[signal.Signals, Any] = {}
        #: The exit code of the command, if it has ended.
        self.code = Exit.STOPPED

    def start(self) -> None:
        """Start the command, once the reactor has installed its own signal handlers."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._old_handlers[number] = signal.signal(number, self._interrupted)
        running = Deferred.fromCoroutine(run_command(self._context, self._command))
        self._running = running.addErrback(self._crashed).addCallback(self._finish)

    def restore_handlers(self) -> None:
        """Give the signals back to those who handled them before."""
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)

    def _crashed(self, failure: Failure) -> Exit:
        if not failure.check(BrokenPipeError):  # the program that reads the output has ended
            failure.printTraceback(self._context.terminal.stderr)
        return Exit.FAILED

    def _finish(self, code: Exit) -> None:
        self.code = code
        self._context.reactor.stop()

    def _interrupted(self, *_: object) -> None:
        """Handle a signal (between any two instructions of the main thread)."""
        if self._context.terminal.blocked:  # the reactor does not run now
            raise CancelledError
        self._context.reactor.callFromThread(self._stop)

    def _stop(self) -> None:
        assert self._running is not None
        if self._context.stopping or not self._context.writing:
            self._running.cancel()
        self._context.stopping = True


def run(reactor: Any, terminal: Terminal, command: Command) -> Exit:
    """Run the reactor for as long as a command takes."""
    command_run = _CommandRun(reactor, terminal, command)
    reactor.callLater(0, command_run.start)
    try:
        reactor.run()
    finally:
        command_run.restore_handlers()
    return command_run.code


def main(arguments: Sequence[str] | None = None) -> int:
    """The program ``zkservice``; returns its exit code."""
    invocation = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    return run_on_the_reactor(Terminal(quiet=invocation.options.quiet), invocation.run)


def run_on_the_reactor(terminal: Terminal, command: Command) -> int:
    """Run a command; if the program that reads its output ends early, fail without a traceback."""
    from twisted.internet import reactor  # noqa: TID251 - a program chooses the reactor

    for stream in (terminal.stdout, terminal.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal may lack characters
            stream.reconfigure(errors="backslashreplace")
    try:
        code = run(reactor, terminal, command)
        terminal.stdout.flush()
    except BrokenPipeError:
        sys.stderr.close()  # else Python complains when it closes the streams
        return Exit.FAILED
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
