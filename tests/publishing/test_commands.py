"""Tests for `zkservice.publishing.commands`, with processes that are not real."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.errors import PublishError
from zkservice.publishing import CommandRunner


class FakeShell(Clock):
    """A fake reactor that records the processes to spawn."""

    def __init__(self) -> None:
        super().__init__()
        self.spawned: list[tuple[Any, str]] = []
        self.signals: list[str] = []
        self.alive = True

    def spawnProcess(self, protocol: Any, program: str, arguments: list[str], env: Any) -> None:  # noqa: N802
        """Record a process; this object is its transport as well."""
        self.spawned.append((protocol, arguments[-1]))
        protocol.makeConnection(self)

    def closeStdin(self) -> None:  # noqa: N802
        """The command reads nothing."""

    def loseConnection(self) -> None:  # noqa: N802
        """Nothing is read from it any more."""

    def signalProcess(self, number: Any) -> None:  # noqa: N802
        """Record the signal."""
        if not self.alive:
            raise ProcessExitedAlready
        self.signals.append(number.name)

    def end(self, code: int = 0, signal: int | None = None, closed: bool = True) -> None:
        """End the last command."""
        protocol = self.spawned[-1][0]
        error: Any = ProcessTerminated(code, signal) if code or signal else ProcessDone(0)
        protocol.processExited(Failure(error))
        if closed:
            protocol.processEnded(Failure(error))


class CommandTests(SynchronousTestCase):
    """One command at a time."""

    @override
    def setUp(self) -> None:
        self.shell = FakeShell()
        self.runner = CommandRunner(self.shell, timeout=30.0)

    @override
    def tearDown(self) -> None:
        self.assertEqual(self.shell.getDelayedCalls(), [])

    def run_command(self, command: str = "reload") -> Deferred[None]:
        """Begin to run a command."""
        return Deferred.fromCoroutine(self.runner.run(command))

    def problem(self, running: Deferred[None]) -> str:
        """The error of a command."""
        return str(self.failureResultOf(running, PublishError).value)

    def test_success(self) -> None:
        """A command that ends with 0 is done."""
        running = self.run_command()
        self.assertNoResult(running)
        self.shell.end()
        self.assertIsNone(self.successResultOf(running))

    def test_failure_shows_the_code_and_the_last_line(self) -> None:
        """The last line of the output is shown, shortened and without control characters."""
        running = self.run_command()
        protocol = self.shell.spawned[-1][0]
        protocol.outReceived(b"x" * 100_000 + b"\nsyntax")
        protocol.errReceived(b" error\x1b[1m in \xff web.conf\n\n")
        self.shell.end(3)
        self.assertEqual(
            self.problem(running),
            "the command 'reload' failed with exit code 3: syntax error?[1m in \ufffd web.conf",
        )
        running = self.run_command()
        self.shell.spawned[-1][0].errReceived(b"y" * 50_000)
        self.shell.end(1)
        self.assertLess(len(self.problem(running)), 300)

    def test_signal(self) -> None:
        """The error names the signal; without output it has no last line."""
        running = self.run_command()
        self.shell.end(signal=9)
        self.assertEqual(self.problem(running), "the command 'reload' was killed by SIGKILL")

    def test_one_at_a_time(self) -> None:
        """A second command begins when the first has ended, even if it has failed."""
        first, second = self.run_command("a"), self.run_command("b")
        self.assertEqual([command for _, command in self.shell.spawned], ["a"])
        self.shell.end(1)
        self.problem(first)
        self.assertEqual([command for _, command in self.shell.spawned], ["a", "b"])
        self.shell.end()
        self.successResultOf(second)

    def test_too_long(self) -> None:
        """A command that takes too long gets SIGTERM, then SIGKILL."""
        running = self.run_command()
        self.shell.advance(30)
        self.shell.advance(2)
        self.assertEqual(self.shell.signals, ["SIGTERM", "SIGKILL"])
        self.shell.end(signal=9)
        self.assertIn("because it took longer than 30.0 s", self.problem(running))

    def test_what_it_leaves_running_does_not_keep_it(self) -> None:
        """A daemon that the command has started may keep its output open."""
        running = self.run_command()
        self.shell.end(closed=False)
        self.assertNoResult(running)
        self.shell.advance(0.2)
        self.successResultOf(running)
        self.shell.spawned[-1][0].processEnded(Failure(ProcessDone(0)))

    def test_stop(self) -> None:
        """The running command is ended; without one nothing happens."""
        self.runner.stop()
        running = self.run_command()
        self.runner.stop()
        self.assertEqual(self.shell.signals, ["SIGTERM"])
        self.shell.alive = False
        self.runner.stop()
        self.shell.end(signal=15)
        self.problem(running)
