"""Tests of ``zkservice.supervisor.process``: a worker as its parent sees it, without a process."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any
from unittest import skipUnless

from twisted.internet.error import ProcessDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.errors import MessageError
from zkservice.supervisor.messages import Beat, Closed, Failed, Hello, Serving
from zkservice.supervisor.process import (
    STACKS,
    STACKS_SIGNAL,
    Command,
    WorkerEvents,
    WorkerPhase,
    WorkerProcess,
    _WorkerProtocol,
)


class Events(WorkerEvents):
    """Figures with an ``invalid`` in them are refused."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    @override
    def check(self, figures: dict[str, Any]) -> None:
        if "invalid" in figures:
            raise MessageError("invalid figures")

    @override
    def gone(self, worker: WorkerProcess) -> None:
        self.ended.append(worker.reason)


class FakeSpawner(Clock):
    """A reactor that starts nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.signals: list[int] = []
        self.closed: list[int] = []
        self.pid = 4711

    def adoptStreamConnection(self, *arguments: Any) -> None:  # noqa: N802
        """Nothing is carried."""

    def spawnProcess(self, protocol: Any, *arguments: Any, **more: Any) -> FakeSpawner:  # noqa: N802
        """It is its own process."""
        self.protocol = protocol
        protocol.transport = self
        return self

    def signalProcess(self, number: int) -> None:  # noqa: N802
        """Take note of it."""
        self.signals.append(number)

    def closeChildFD(self, number: int) -> None:  # noqa: N802
        """Take note of it."""
        self.closed.append(number)


class WorkerProcessTests(SynchronousTestCase):
    """A worker with time-outs of 30 s for its heartbeat and 300 s for its start."""

    @override
    def setUp(self) -> None:
        self.reactor = FakeSpawner()
        self.events = Events()
        self.worker = WorkerProcess("worker 1", self.reactor, self.events, 30.0)
        self.worker.start(Command(["python"], {}, {}), 300.0)
        self.worker.message_received(Hello(os.getpid()))

    def serve(self) -> None:
        """It has loaded the application."""
        self.worker.message_received(Serving())
        self.worker.message_received(Beat(0, 0, 0))

    def advance(self, seconds: int) -> None:
        """Time goes by."""
        self.reactor.pump([1.0] * seconds)

    def test_a_slow_start_is_not_a_stuck_reactor(self) -> None:
        """There are no heartbeats while the application loads; the start has its own time-out."""
        self.advance(299)
        self.assertEqual(self.reactor.signals, [])
        self.advance(3)
        self.assertEqual(self.reactor.signals, [STACKS_SIGNAL, signal.SIGKILL])
        self.assertEqual(self.worker.reason, "it did not serve in time")

    def test_a_silent_worker_is_killed_after_its_stacks(self) -> None:
        """After 30 s without a heartbeat its stacks are written, then it is killed."""
        self.serve()
        self.advance(29)
        self.assertEqual(self.reactor.signals, [])
        self.advance(3)
        self.assertEqual(self.reactor.signals, [STACKS_SIGNAL, signal.SIGKILL])
        self.assertEqual(self.worker.reason, "its reactor has not turned for 30 s")

    def test_a_jump_of_the_clock_kills_nobody(self) -> None:
        """The clock was set, or the parent was suspended: heartbeats wait to be read."""
        self.serve()
        self.reactor.advance(3600)
        self.assertEqual(self.reactor.signals, [])
        self.worker.message_received(Beat(0, 0, 0))
        self.advance(29)
        self.assertEqual(self.reactor.signals, [])

    def test_invalid_figures_are_not_kept(self) -> None:
        """The message is refused, and the earlier figures stay."""
        self.serve()
        self.worker.message_received(Beat(5, 0, 0, {"fine": 1}))
        with self.assertRaises(MessageError):
            self.worker.message_received(Beat(6, 0, 0, {"invalid": 1}))
        self.assertEqual(self.worker.figures.requests, 5)

    def test_a_worker_that_misuses_its_channel_is_killed(self) -> None:
        """At once; the reason is what its pool logs."""
        self.serve()
        self.worker.channel_misused("too many messages in a second")
        self.assertEqual(self.reactor.signals, [signal.SIGKILL])
        self.assertEqual(
            self.worker.reason, "it has misused its channel: too many messages in a second"
        )

    def test_the_number_of_connections_is_never_negative(self) -> None:
        """The number of connections is never below 0."""
        self.serve()
        self.worker.connections = 2
        self.worker.message_received(Closed(1 << 60))
        self.assertEqual(self.worker.connections, 0)

    def test_a_reason_is_one_line_of_bounded_length(self) -> None:
        """Whatever the worker sends."""
        self.worker.message_received(Failed("a\nb " * 100_000))
        self.assertTrue(self.worker.reason.startswith("a b a b"))
        self.assertLessEqual(len(self.worker.reason), 1000)

    def test_a_worker_without_a_channel_gets_no_connections(self) -> None:
        """It may have closed all descriptors; its end is waited for, but not for ever."""
        self.serve()
        self.worker.channel_lost()
        connection: Any = None
        self.worker.message_received(Serving())
        self.assertFalse(self.worker.take(0, connection))
        self.advance(11)
        self.assertEqual(self.reactor.signals, [signal.SIGKILL])

    def test_a_flood_of_stacks_is_cut_off(self) -> None:
        """The pipe is closed when there is enough."""
        protocol: _WorkerProtocol = self.reactor.protocol
        for _ in range(10):
            protocol.childDataReceived(STACKS, b"x" * 65536)
        self.assertIn(STACKS, self.reactor.closed)

    def test_an_operator_sees_the_stacks_of_a_stuck_worker(self) -> None:
        """It is not killed; two that ask share the output, and nothing is left for the log."""
        protocol: _WorkerProtocol = self.reactor.protocol
        self.reactor.pid = os.getpid()
        self.patch_handler()
        protocol.childDataReceived(STACKS, b"too late for an earlier one")
        first, second = self.worker.stacks(), self.worker.stacks()
        self.assertEqual(self.reactor.signals, [STACKS_SIGNAL])
        protocol.childDataReceived(STACKS, b"Thread 0x1:\n")
        self.reactor.advance(0.04)
        protocol.childDataReceived(STACKS, b"  File a\n")
        self.reactor.advance(0.04)
        self.assertNoResult(first)
        self.reactor.advance(0.02)
        self.assertEqual(self.successResultOf(first), "Thread 0x1:\n  File a")
        self.assertEqual(self.successResultOf(second), "Thread 0x1:\n  File a")
        self.assertEqual(protocol.output.take(), "")

    def test_a_worker_that_writes_no_stacks(self) -> None:
        """The wait for its stacks is short, and ends at once when the worker ends."""
        self.reactor.pid = os.getpid()
        self.patch_handler()
        asked = self.worker.stacks()
        self.reactor.advance(0.3)
        self.assertEqual(self.successResultOf(asked), "")
        asked = self.worker.stacks()
        self.reactor.protocol.processEnded(Failure(ProcessDone(0)))
        self.assertEqual(self.successResultOf(asked), "")
        self.assertEqual(self.successResultOf(self.worker.stacks()), "")

    @skipUnless(sys.platform == "linux", "only Linux tells which signals a process catches")
    def test_a_signal_that_would_end_the_worker_is_not_sent(self) -> None:
        """The application has taken faulthandler's handler away."""
        self.reactor.pid = os.getpid()
        self.addCleanup(signal.signal, STACKS_SIGNAL, signal.signal(STACKS_SIGNAL, signal.SIG_DFL))
        self.assertEqual(self.successResultOf(self.worker.stacks()), "")
        self.assertEqual(self.reactor.signals, [])

    def patch_handler(self) -> None:
        """This process stands for the worker, and catches the signal."""
        before = signal.signal(STACKS_SIGNAL, lambda *_: None)
        self.addCleanup(signal.signal, STACKS_SIGNAL, before)

    def test_a_pipe_that_a_child_holds_is_closed(self) -> None:
        """What the application has started may outlive the worker; no descriptor is kept for it."""
        protocol: _WorkerProtocol = self.reactor.protocol
        ended: Any = None
        protocol.processExited(ended)
        self.advance(1)
        self.assertEqual(self.reactor.closed, [STACKS])
        self.assertIs(self.worker.phase, WorkerPhase.STARTING)
