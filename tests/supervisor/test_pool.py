"""Tests of ``zkservice.supervisor.pool`` and ``recycling``, on a clock, without processes."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.supervisor.messages import Beat
from zkservice.supervisor.pool import PoolOwner, PoolSettings, ProcessPool
from zkservice.supervisor.process import Command, WorkerEvents, WorkerPhase
from zkservice.supervisor.recycling import RecyclingSettings, SelfRecycling


class FakeWorker:
    """A worker without a process: the test changes its state."""

    pid = 1

    def __init__(self, name: str, reactor: Clock, events: WorkerEvents, timeout: float) -> None:
        self.name = name
        self.phase = WorkerPhase.STARTING
        self.reason = ""
        self.connections = 0
        self.has_served = False
        self.since = reactor.seconds()
        self.figures = Beat(0, 0, 0)
        self.command: Command | None = None
        self.drained: list[tuple[float, float]] = []
        self._events = events

    def start(self, command: Command, timeout: float) -> None:
        """Take note of it."""
        self.command = command

    def drain(self, timeout: float, grace: float) -> None:
        """Take note of it."""
        self.phase = WorkerPhase.DRAINING
        self.drained.append((timeout, grace))

    def kill(self, reason: str) -> None:
        """End at once."""
        self.end(reason)

    # what the test says

    def serve(self) -> None:
        """It takes connections."""
        self.phase, self.has_served = WorkerPhase.SERVING, True
        self._events.serving(self)  # type: ignore[arg-type]

    def end(self, reason: str = "exit code 1") -> None:
        """Its process has ended."""
        if self.phase is not WorkerPhase.GONE:
            self.phase, self.reason = WorkerPhase.GONE, reason
            self._events.gone(self)  # type: ignore[arg-type]

    def beat(self, requests: int = 0, rss: int = 0) -> None:
        """It sends its figures."""
        self.figures = Beat(requests, 0, rss)
        self._events.beat(self)  # type: ignore[arg-type]


class Owner(PoolOwner):
    """Takes note of everything."""

    def __init__(self) -> None:
        self.gave_up_because = ""
        self.reloads: list[str] = []

    @override
    def gave_up(self, reason: str) -> None:
        self.gave_up_because = reason

    @override
    def reloaded(self, error: str) -> None:
        self.reloads.append(error)


class PoolTestCase(SynchronousTestCase):
    """A pool of two workers."""

    recycling = RecyclingSettings()

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.made: list[Any] = []
        self.commands = 0
        self.owner = Owner()
        self.pool = ProcessPool(
            PoolSettings(2, drain_timeout=7, recycling=self.recycling),
            self.make_command,
            self.clock,
            self.owner,
            lambda: 1.0,
            self.make_worker,
        )
        self.pool.start()

    def make_command(self) -> Command:
        """A command that differs from all earlier ones."""
        self.commands += 1
        return Command((), {}, {"number": self.commands})

    def make_worker(self, *arguments: Any) -> Any:
        """A worker that the test can find."""
        self.made.append(FakeWorker(*arguments))
        return self.made[-1]

    def serve(self) -> list[Any]:
        """All that start begin to serve."""
        for worker in self.made:
            if worker.phase is WorkerPhase.STARTING:
                worker.serve()
        return self.pool.serving_workers


class StartTests(PoolTestCase):
    """Starting, and dying."""

    def test_workers_start_side_by_side(self) -> None:
        """All are started before one of them serves; only those that serve take connections."""
        self.assertEqual(len(self.made), 2)
        self.assertEqual(self.pool.serving_workers, [])
        self.made[0].serve()
        self.assertEqual(self.pool.serving_workers, [self.made[0]])

    def test_a_worker_that_dies_is_replaced_at_once(self) -> None:
        """One that has served for a while."""
        self.serve()
        self.clock.advance(60)
        self.made[0].end("killed by SIGKILL")
        self.assertEqual(len(self.made), 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_workers_that_die_young_are_started_with_growing_pauses(self) -> None:
        """0.1, 0.2, 0.4 seconds and so on, half a minute at most."""
        self.serve()
        pauses = []
        for _ in range(12):
            count = len(self.made)
            self.made[-1].end()
            self.assertEqual(len(self.made), count)
            (call,) = self.clock.getDelayedCalls()
            pauses.append(round(call.getTime() - self.clock.seconds(), 3))
            self.clock.advance(pauses[-1])
            self.assertEqual(len(self.made), count + 1)
        self.assertEqual(pauses[:4], [0.1, 0.2, 0.4, 0.8])
        self.assertEqual(pauses[-1], 30)

    def test_when_no_worker_can_start_it_gives_up(self) -> None:
        """The owner hears why, once; nothing is started any more."""
        self.made[0].end("cannot import app")
        self.made[1].end("cannot import app")
        self.clock.advance(1)
        self.assertEqual(self.owner.gave_up_because, "")
        self.made[2].end("cannot import app")
        self.assertIn("cannot import app", self.owner.gave_up_because)
        self.clock.advance(100)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_after_one_worker_has_served_it_never_gives_up(self) -> None:
        """The database may be away for an hour; the pool goes on trying."""
        self.made[0].serve()
        for _ in range(20):
            self.made[-1].end()
            self.clock.advance(30)
        self.assertEqual(self.owner.gave_up_because, "")
        self.assertEqual(self.pool.serving_workers, [self.made[0]])


class SizeTests(PoolTestCase):
    """More and fewer."""

    def test_there_is_a_largest_size(self) -> None:
        """A mistyped number does not start a million processes."""
        self.pool.resize(2000)
        self.assertEqual((self.pool.size, len(self.made)), (1024, 1024))

    def test_more_workers_are_started(self) -> None:
        """As many as are missing."""
        self.serve()
        self.pool.resize(4)
        self.assertEqual(len(self.made), 4)

    def test_those_with_the_fewest_connections_go(self) -> None:
        """They drain; the workers with more connections keep them."""
        self.serve()
        self.made[0].connections = 5
        self.pool.resize(1)
        self.assertEqual(self.made[1].drained, [(7, 3)])
        self.assertEqual(self.pool.serving_workers, [self.made[0]])
        self.made[1].end()
        self.assertEqual(len(self.made), 2)

    def test_one_worker_always_stays(self) -> None:
        """Without a worker all connections would be refused."""
        self.serve()
        self.pool.resize(0)
        self.assertEqual(len(self.pool.serving_workers), 1)


class ReloadTests(PoolTestCase):
    """New code."""

    def test_the_old_drain_when_all_new_ones_serve(self) -> None:
        """Until then the old workers get all connections; after that the new ones."""
        old = self.serve()
        self.pool.reload()
        new = self.made[2:]
        self.assertEqual([worker.command.settings["number"] for worker in new], [2, 2])
        new[0].serve()
        self.assertEqual(self.pool.serving_workers, old)
        new[1].serve()
        self.assertEqual(self.pool.serving_workers, new)
        self.assertEqual([worker.drained for worker in old], [[(7, 3)], [(7, 3)]])
        self.assertEqual(self.owner.reloads, [""])

    def test_if_one_cannot_start_the_old_workers_serve_on(self) -> None:
        """The other new workers are ended, and the reason is logged."""
        old = self.serve()
        self.pool.reload()
        self.made[2].serve()
        self.made[3].end("SyntaxError: invalid syntax")
        self.assertEqual(self.pool.serving_workers, old)
        self.assertEqual(
            [worker.phase for worker in self.made[2:]], [WorkerPhase.GONE, WorkerPhase.GONE]
        )
        self.assertEqual(self.owner.reloads, ["SyntaxError: invalid syntax"])
        self.assertEqual([worker.drained for worker in old], [[], []])

    def test_a_reload_during_a_reload_comes_after_it(self) -> None:
        """Several requests are one reload, which loads the latest code."""
        self.serve()
        self.pool.reload()
        self.pool.reload()
        self.pool.reload()
        self.assertEqual(len(self.made), 4)
        self.serve()
        self.assertEqual(len(self.made), 6)
        self.serve()
        self.assertEqual(len(self.made), 6)
        self.assertEqual(self.owner.reloads, ["", ""])

    def test_an_old_worker_that_dies_meanwhile_is_replaced(self) -> None:
        """The number of serving workers does not shrink while new code is loaded."""
        self.serve()
        self.clock.advance(60)
        self.pool.reload()
        self.made[0].end()
        self.assertEqual(len(self.made), 5)
        self.serve()
        serving: list[Any] = list(self.pool.serving_workers)
        self.assertEqual([worker.command.settings["number"] for worker in serving], [2, 2])

    def test_after_a_failed_reload_the_old_settings_hold(self) -> None:
        """A worker that is replaced later is started like the old ones."""
        self.serve()
        self.clock.advance(60)
        self.pool.reload()
        self.made[2].end("SyntaxError")
        self.made[0].end("killed by SIGKILL")
        self.assertEqual(self.made[-1].command.settings["number"], 1)


class RecyclingTests(PoolTestCase):
    """Fresh workers for old ones."""

    recycling = RecyclingSettings(max_requests=100, max_age=1000, max_rss=1 << 20)

    def test_a_worker_is_replaced_before_it_goes(self) -> None:
        """The other one serves first; a tenth of the bound is jitter."""
        first, second = self.serve()
        first.beat(requests=89)
        self.assertEqual(len(self.made), 2)
        first.beat(requests=90)
        self.assertEqual(len(self.made), 3)
        self.assertEqual(self.pool.serving_workers, [first, second])
        self.made[2].serve()
        self.assertEqual(self.pool.serving_workers, [second, self.made[2]])
        self.assertEqual(first.drained, [(7, 3)])

    def test_one_at_a_time(self) -> None:
        """The second recycling waits until the first worker has ended."""
        first, second = self.serve()
        first.beat(requests=100)
        second.beat(requests=100)
        self.assertEqual(len(self.made), 3)
        self.made[2].serve()
        first.end("drained")
        second.beat(requests=100)
        self.assertEqual(len(self.made), 4)

    def test_age_and_memory_count_too(self) -> None:
        """The age is checked without a heartbeat."""
        self.serve()[1].beat(rss=1 << 20)
        self.assertEqual(len(self.made), 3)
        self.made[2].serve()
        self.made[1].end("drained")
        self.clock.pump([1] * 901)
        self.assertEqual(len(self.made), 4)

    def test_a_successor_that_cannot_start_leaves_the_old_one(self) -> None:
        """The old one serves on, and is recycled later."""
        first, _ = self.serve()
        first.beat(requests=100)
        self.made[2].end()
        self.assertIn(first, self.pool.serving_workers)
        first.beat(requests=100)
        self.assertEqual(len(self.made), 4)

    def test_recycling_needs_a_permission(self) -> None:
        """A worker is recycled only with a permission, which is released after that."""
        asked: list[Deferred[Any]] = []
        given_back: list[int] = []

        def permission() -> Deferred[Any]:
            asked.append(Deferred())
            return asked[-1]

        self.pool.recycling.permission = permission
        first, _ = self.serve()
        first.beat(requests=100)
        first.beat(requests=100)
        self.assertEqual((len(asked), len(self.made)), (1, 2))
        asked[0].callback(lambda: given_back.append(1))
        self.assertEqual(len(self.made), 3)
        self.made[2].serve()
        self.assertEqual(given_back, [])
        first.end("drained")
        self.assertEqual(given_back, [1])


class SelfRecyclingTests(SynchronousTestCase):
    """A process that serves by itself ends when it has reached a bound."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.figures = (0, 0)
        self.ended: list[str] = []

    def recycling(self, **bounds: float) -> SelfRecycling:
        """One that looks."""
        settings: Any = RecyclingSettings(**bounds)  # type: ignore[arg-type]
        made = SelfRecycling(
            settings, self.clock, lambda: 1.0, lambda: self.figures, self.ended.append
        )
        made.start()
        return made

    def test_it_ends_once_with_the_reason(self) -> None:
        """A tenth of the bound is jitter."""
        self.recycling(max_requests=100)
        self.clock.advance(1)
        self.assertEqual(self.ended, [])
        self.figures = (90, 0)
        self.clock.pump([1, 1, 1])
        self.assertEqual(self.ended, ["recycling: 90 requests"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_without_a_bound_it_does_not_look(self) -> None:
        """Nothing is due in the clock."""
        self.recycling()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_without_permission_it_serves_on(self) -> None:
        """It asks for the permission again until it gets it."""
        recycling = self.recycling(max_age=10)
        asked: list[Deferred[Any]] = []

        def permission() -> Deferred[Any]:
            asked.append(Deferred())
            return asked[-1]

        recycling.permission = permission
        self.clock.pump([1] * 12)
        self.assertEqual((len(asked), self.ended), (1, []))
        asked[0].errback(ConnectionError())
        self.clock.advance(1)
        asked[1].callback(lambda: None)
        self.assertEqual(len(self.ended), 1)


class StopTests(PoolTestCase):
    """The end."""

    def test_all_drain_and_then_it_fires(self) -> None:
        """Nothing is started in their place."""
        self.serve()
        stopped = self.pool.stop(5)
        self.assertEqual([worker.drained for worker in self.made], [[(5, 3)], [(5, 3)]])
        self.made[0].end("drained")
        self.assertNoResult(stopped)
        self.made[1].end("drained")
        self.successResultOf(stopped)
        self.assertEqual(len(self.made), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_starting_workers_do_not_delay_the_end(self) -> None:
        """A reload that is under way ends with the service."""
        self.serve()
        self.pool.reload()
        stopped = self.pool.stop(5)
        for worker in self.made[:2]:
            worker.end("drained")
        self.successResultOf(stopped)

    def test_without_workers_it_fires_at_once(self) -> None:
        """As after a start at which it gave up."""
        for worker in self.made:
            worker.end()
        self.successResultOf(self.pool.stop(5))
