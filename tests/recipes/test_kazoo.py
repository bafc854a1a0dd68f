"""The recipes and kazoo's, on the same paths of a server with sockets."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from kazoo.client import KazooClient
from twisted.internet import reactor  # noqa: TID251 - loopback connections
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from zkservice.client import ZooKeeperClient
from zkservice.recipes import Counter, Election, Lock, Queue, ReadWriteLock, Semaphore
from zkservice.testing import EmbeddedZooKeeper

PATH = "/shared"

T = TypeVar("T")


class KazooTests(TestCase):
    """Who uses kazoo and who uses this package exclude, wake and serve each other."""

    timeout = 20

    async def setUp(self) -> None:  # type: ignore[override]
        """A server, our client and kazoo's."""
        self.server = EmbeddedZooKeeper(tick_time=0.2)
        await self.server.start()
        self.addCleanup(self.server.stop)
        self.ours = ZooKeeperClient(self.server.connection_string, 4.0)
        self.addCleanup(self.ours.close)
        await self.ours.connect(5.0)
        logger = logging.getLogger("tests.recipes.kazoo")
        logger.propagate = False
        self.kazoo: Any = KazooClient(self.server.connection_string, timeout=4.0, logger=logger)
        self.addCleanup(self.end_kazoo)
        await self.theirs(self.kazoo.start)

    def theirs(self, function: Callable[..., T], *args: Any, **options: Any) -> Deferred[T]:
        """Call something of kazoo's, which waits."""
        return deferToThread(function, *args, **options)

    async def end_kazoo(self) -> None:
        """Leave no thread behind."""
        await self.theirs(self.kazoo.stop)
        await self.theirs(self.kazoo.close)

    async def waits(self, deferred: Deferred[Any]) -> None:
        """It does not fire, though there was time."""
        await deferLater(reactor, 0.15, lambda: None)
        self.assertFalse(deferred.called)

    async def test_lock(self) -> None:
        """We wait for kazoo's lock, and it waits for ours."""
        theirs = self.kazoo.Lock(PATH, "kazoo")
        await self.theirs(theirs.acquire)
        ours = Lock(self.ours, PATH, "ours")
        self.assertIsNone(await ours.try_acquire())
        acquiring = ours.acquire()
        await self.waits(acquiring)
        self.assertEqual(await ours.contenders(), ["kazoo", "ours"])
        self.assertEqual(await self.theirs(theirs.contenders), ["kazoo", "ours"])
        await self.theirs(theirs.release)
        lease = await acquiring
        self.assertFalse(await self.theirs(theirs.acquire, blocking=False))
        again = self.theirs(theirs.acquire)
        await self.waits(again)
        await lease.release()
        self.assertTrue(await again)
        await self.theirs(theirs.release)

    async def test_alternating(self) -> None:
        """Passed to and fro a number of times, nobody is left behind, and never two have it."""
        holders: list[str] = []

        def one_of_theirs() -> None:
            lock = self.kazoo.Lock(PATH)
            for _ in range(10):
                with lock:
                    holders.append("kazoo")
                    self.assertEqual(len(holders), 1)
                    holders.clear()

        async def one_of_ours() -> None:
            for _ in range(10):
                async with await Lock(self.ours, PATH).acquire():
                    holders.append("ours")
                    await deferLater(reactor, 0, lambda: None)
                    self.assertEqual(holders, ["ours"])
                    holders.clear()

        jobs = [self.theirs(one_of_theirs), self.theirs(one_of_theirs)]
        jobs += [Deferred.fromCoroutine(one_of_ours()) for _ in range(2)]
        for job in jobs:
            await job

    async def test_read_write_lock(self) -> None:
        """Readers of both kinds share; writers of both kinds exclude."""
        ours = ReadWriteLock(self.ours, PATH)
        reader, writer = self.kazoo.ReadLock(PATH), self.kazoo.WriteLock(PATH)
        await self.theirs(reader.acquire)
        reading = await ours.read().acquire()
        writing = self.theirs(writer.acquire)
        await self.waits(writing)
        await reading.release()
        await self.waits(writing)
        await self.theirs(reader.release)
        await writing
        late = ours.read().acquire()
        await self.waits(late)
        await self.theirs(writer.release)
        lease = await late
        ours_writing = ours.write().acquire()
        await self.waits(ours_writing)
        await lease.release()
        lease = await ours_writing
        self.assertFalse(await self.theirs(reader.acquire, blocking=False))
        await lease.release()

    async def test_semaphore(self) -> None:
        """Leases of both kinds are counted together."""
        ours = Semaphore(self.ours, PATH, 2, "ours")
        theirs = self.kazoo.Semaphore(PATH, "kazoo", max_leases=2)
        await self.theirs(theirs.acquire)
        lease = await ours.acquire()
        self.assertEqual(sorted(await self.theirs(theirs.lease_holders)), ["kazoo", "ours"])
        third = ours.acquire()
        await self.waits(third)
        await self.theirs(theirs.release)
        second = await third
        self.assertFalse(await self.theirs(theirs.acquire, blocking=False))
        await second.release()
        self.assertTrue(await self.theirs(theirs.acquire, blocking=False))
        await lease.release()
        await self.theirs(theirs.release)

    async def test_election(self) -> None:
        """Candidates of both kinds are in one line."""
        lease = await Election(self.ours, PATH, "ours").lead()
        theirs = self.kazoo.Election(PATH, "kazoo")
        led: Deferred[None] = Deferred()

        def lead() -> None:
            reactor.callFromThread(led.callback, None)  # type: ignore[attr-defined]

        running = self.theirs(theirs.run, lead)
        await self.waits(led)
        self.assertEqual(await self.theirs(theirs.contenders), ["ours", "kazoo"])
        await lease.release()
        await led
        await running

    async def test_queue(self) -> None:
        """What one kind puts in the other takes out, in order."""
        ours, theirs = Queue(self.ours, PATH), self.kazoo.Queue(PATH)
        await self.theirs(theirs.put, b"1")
        await ours.put(b"2")
        await ours.put(b"0", 5)
        self.assertEqual(await self.theirs(theirs.get), b"0")
        self.assertEqual(await ours.get(), b"1")
        self.assertEqual(await self.theirs(theirs.get), b"2")
        waiting = ours.get()
        await self.theirs(theirs.put, b"3")
        self.assertEqual(await waiting, b"3")

    async def test_counter(self) -> None:
        """Both count the same number."""
        ours, theirs = Counter(self.ours, PATH), self.kazoo.Counter(PATH)
        self.assertEqual(await ours.add(5), 5)
        await self.theirs(theirs.__sub__, 7)
        self.assertEqual(await ours.value(), -2)
        await ours.add()
        self.assertEqual(await self.theirs(lambda: theirs.value), -1)
