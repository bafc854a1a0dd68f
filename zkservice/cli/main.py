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
    """Run a command; what goes wrong is one line."""
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
        rest = "; what was under way may still be done" if context.writing else ""
        terminal.note(f"stopped{rest}")
        return Exit.STOPPED


def run(reactor: Any, terminal: Terminal, command: Command) -> Exit:
    """Run the reactor for as long as a command takes.

    The first Ctrl-C asks the command to stop once the changes that were sent are done.  The
    second one does not wait for them.
    """
    context = Context(reactor, terminal)
    codes: list[Exit] = []
    running: list[Deferred[Exit]] = []
    before: dict[signal.Signals, Any] = {}

    def start() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):  # after the reactor has set its own handlers
            before[number] = signal.signal(number, interrupted)
        running.append(Deferred.fromCoroutine(run_command(context, command)))
        running[0].addErrback(crashed).addCallback(finish)

    def crashed(failure: Failure) -> Exit:
        if failure.check(BrokenPipeError):  # the reader has seen enough
            return Exit.FAILED
        failure.printTraceback(terminal.stderr)
        return Exit.FAILED

    def finish(code: Exit) -> None:
        codes.append(code)
        reactor.stop()

    def interrupted(*_: object) -> None:
        if terminal.blocked:
            raise CancelledError
        reactor.callFromThread(stop)

    def stop() -> None:
        if context.stopping or not context.writing:
            running[0].cancel()
        context.stopping = True

    reactor.callLater(0, start)
    try:
        reactor.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return codes[0] if codes else Exit.STOPPED


def main(arguments: Sequence[str] | None = None) -> int:
    """The program ``zkservice``; returns its exit code."""
    invocation = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    return run_on_the_reactor(Terminal(quiet=invocation.options.quiet), invocation.run)


def run_on_the_reactor(terminal: Terminal, command: Command) -> int:
    """Run a command, and survive a reader of its output that closes the pipe."""
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
