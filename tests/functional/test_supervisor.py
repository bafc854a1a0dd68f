"""The supervisor with real processes: spread, deaths, stuck reactors, reloads, the end."""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor  # noqa: TID251
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase
from typing_extensions import override

from tests.functional.processes import TIMEOUT
from zkservice.supervisor import Acceptor, PoolSettings, ProcessPool
from zkservice.supervisor.pool import PoolOwner
from zkservice.supervisor.process import Command, WorkerPhase
from zkservice.supervisor.recycling import RecyclingSettings

ROOT = Path(__file__).parents[2]
clock: Any = reactor


class Client:
    """A connection that is kept, from a thread."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        self.file = self.socket.makefile("rb")

    def say(self, line: str) -> str:
        """A line, and what comes back; an empty text if the connection is gone."""
        try:
            self.socket.sendall(line.encode() + b"\r\n")
            return self.file.readline().decode().strip()
        except ConnectionError:
            return ""

    def close(self) -> None:
        """Hang up."""
        self.file.close()
        self.socket.close()


class SupervisorTestCase(TestCase):
    """A pool of echoing workers behind one port."""

    timeout = 300
    size = 2
    #: Seconds; a worker that the machine has stopped is not stuck.
    worker_timeout = 60
    recycling = RecyclingSettings()
    broken = False

    @override
    def setUp(self) -> None:
        self.settings: dict[str, Any] = {"release": 1, "broken": self.broken}
        self.reasons: list[str] = []
        self.reloads: list[str] = []
        self.log: list[str] = []
        self.clients: list[Client] = []
        observe: Any = self.observe
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        owner: Any = PoolOwner()
        owner.serving_workers_changed = self.serving_workers_changed
        owner.gave_up = self.reasons.append
        owner.reloaded = self.reloads.append
        listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = listening.getsockname()[1]
        self.pool = ProcessPool(
            PoolSettings(
                self.size,
                worker_timeout=self.worker_timeout,
                drain_timeout=5,
                recycling=self.recycling,
            ),
            lambda: Command(
                [sys.executable, "-m", "tests.functional.echo_worker"],
                {**os.environ, "PYTHONPATH": str(ROOT)},
                dict(self.settings),
            ),
            clock,
            owner,
            random.random,
        )
        self.acceptor = Acceptor(clock, 0, listening, lambda: self.pool.serving_workers)
        self.addCleanup(self.end)
        self.pool.start()

    def serving_workers_changed(self) -> None:
        """Accept while there is a worker."""
        if self.pool.serving_workers:
            self.acceptor.start()
        else:
            self.acceptor.pause()

    def observe(self, event: Any) -> None:
        """Keep what is logged."""
        self.log.append(str(event.get("text") or event.get("reason") or event.get("stack") or ""))

    async def end(self) -> None:
        """Leave nothing behind."""
        for client in self.clients:
            client.close()
        self.acceptor.stop()
        await self.pool.stop(2)

    async def until(self, condition: Any) -> None:
        """Wait for something, within the bounds of the test."""
        while not condition():
            await deferLater(clock, 0.02, lambda: None)

    async def serving(self, count: int = 2) -> None:
        """Until so many workers serve."""
        await self.until(lambda: len(self.pool.serving_workers) == count)

    async def connect(self, count: int) -> list[Client]:
        """So many connections at once, each served."""

        def open_all() -> list[Client]:
            clients = [Client(self.port) for _ in range(count)]
            for client in clients:
                client.say("hello")
            return clients

        clients: list[Client] = await deferToThread(open_all)
        self.clients += clients
        return clients

    def say(self, client: Client, line: str) -> Deferred[str]:
        """What a client gets back."""
        return deferToThread(client.say, line)


class SpreadTests(SupervisorTestCase):
    """Which worker gets a connection."""

    size = 4

    async def test_connections_are_spread_evenly(self) -> None:
        """64 that are opened at once, and kept: 16 each."""
        await self.serving(4)
        await self.connect(64)
        self.assertEqual([worker.connections for worker in self.pool.serving_workers], [16] * 4)

    async def test_what_is_closed_is_counted(self) -> None:
        """The next connections go to the worker that has lost the most."""
        await self.serving(4)
        clients = await self.connect(16)
        names = [(await self.say(client, "x")).partition("/")[0] for client in clients]
        for client, name in zip(clients, names, strict=True):
            if name == names[0]:
                client.close()
        await self.until(
            lambda: min(worker.connections for worker in self.pool.serving_workers) == 0
        )
        again = await self.connect(4)
        self.assertEqual(
            {(await self.say(client, "x")).partition("/")[0] for client in again}, {names[0]}
        )


class LifeTests(SupervisorTestCase):
    """Deaths and ends."""

    async def test_a_killed_worker_costs_only_its_own_connections(self) -> None:
        """The others are served on, and another worker takes its place."""
        await self.serving()
        first, second = await self.connect(2)
        name = (await self.say(first, "x")).partition("/")[0]
        (victim,) = [worker for worker in self.pool.serving_workers if worker.name == name]
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        await self.until(lambda: victim.phase is WorkerPhase.GONE)
        self.assertIn("who?", await self.say(second, "who?"))
        await self.serving()
        self.assertEqual(victim.reason, "killed by SIGKILL")

    async def test_workers_end_when_their_parent_has_gone(self) -> None:
        """They see the end of the channel."""
        await self.serving()
        worker = self.pool.serving_workers[0]
        worker._channel._transport.loseConnection()  # type: ignore[union-attr]
        await self.until(lambda: worker.phase is WorkerPhase.GONE)

    async def test_the_pool_answers_questions(self) -> None:
        """A worker's answer comes back; one that cannot answer is an error."""
        await self.serving()
        answer = await self.pool.serving_workers[0].ask("colour", 1, timeout=TIMEOUT)
        self.assertEqual(answer[1:], ["colour", 1])

    async def test_what_workers_log_is_logged_by_the_parent(self) -> None:
        """One log for all."""
        await self.serving()
        await self.until(lambda: sum("is made" in text for text in self.log) == 2)


class StuckTests(SupervisorTestCase):
    """A worker whose reactor does not turn."""

    worker_timeout = 4

    async def test_a_stuck_worker_is_killed_and_its_stacks_are_logged(self) -> None:
        """Its reactor does not turn; faulthandler says where it is."""
        await self.serving()
        (client,) = await self.connect(1)
        waiting = self.say(client, "hang")
        await self.until(lambda: any("lineReceived" in text for text in self.log))
        await waiting
        await self.serving()
        self.assertTrue(any("has not turned for 4 s" in text for text in self.log))


class ReloadTests(SupervisorTestCase):
    """New workers for old ones."""

    async def test_new_connections_get_the_new_code(self) -> None:
        """The old workers drain and end."""
        await self.serving()
        old = self.pool.serving_workers
        self.settings["release"] = 2
        self.pool.reload()
        await self.until(lambda: self.reloads)
        (client,) = await self.connect(1)
        self.assertIn("/2: x", await self.say(client, "x"))
        await self.until(lambda: all(worker.phase is WorkerPhase.GONE for worker in old))
        self.assertEqual([worker.reason for worker in old], ["drained", "drained"])

    async def test_broken_code_leaves_the_old_workers(self) -> None:
        """The reason is one line."""
        await self.serving()
        self.settings["broken"] = True
        self.pool.reload()
        await self.until(lambda: self.reloads)
        self.assertEqual(self.reloads, ["no module named nonsense"])
        (client,) = await self.connect(1)
        self.assertIn("/1: x", await self.say(client, "x"))


class RecyclingTests(SupervisorTestCase):
    """Fresh workers."""

    recycling = RecyclingSettings(max_requests=20)

    async def test_a_worker_that_has_served_enough_is_replaced(self) -> None:
        """Another one serves before it goes."""
        await self.serving()
        (client,) = await self.connect(1)
        for _ in range(25):
            await self.say(client, "x")
        name = (await self.say(client, "x")).partition("/")[0]
        await self.until(lambda: name not in [worker.name for worker in self.pool.serving_workers])
        self.assertEqual(len(self.pool.serving_workers), 2)


class BrokenTests(SupervisorTestCase):
    """Code that cannot be loaded."""

    broken = True

    async def test_if_none_can_start_it_is_said(self) -> None:
        """After a few attempts."""
        await self.until(lambda: self.reasons)
        self.assertIn("no module named nonsense", self.reasons[0])
        self.flushLoggedErrors()
