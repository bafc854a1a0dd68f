"""Tests of the recipes together with kazoo's, on the same paths of a real server."""

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
from zkservice.recipes import (
    Barrier,
    Counter,
    DoubleBarrier,
    Election,
    Lock,
    Party,
    Queue,
    ReadWriteLock,
    ReliableQueue,
    Semaphore,
    SerializedQueue,
    ShallowParty,
)
from zkservice.testing import EmbeddedZooKeeper

T = TypeVar("T")


class KazooTestCase(TestCase):
    """A client of this package and one of kazoo."""

    timeout = 300

    async def start(self, connection_string: str) -> None:
        """Our client and kazoo's, and a path that no other test uses."""
        self.path = f"/{self.id()}"
        self.ours = ZooKeeperClient(connection_string, 10.0)
        self.addCleanup(self.ours.close)
        await self.ours.connect(60.0)
        logger = logging.Logger("kazoo in tests")
        logger.addHandler(logging.NullHandler())
        self.kazoo: Any = KazooClient(connection_string, timeout=10.0, logger=logger)
        self.addCleanup(self.end_kazoo)
        await self.blocking(self.kazoo.start, 60)

    def blocking(self, function: Callable[..., T], *args: Any, **options: Any) -> Deferred[T]:
        """Call a blocking function of kazoo in a thread."""
        return deferToThread(function, *args, **options)

    async def end_kazoo(self) -> None:
        """Stop kazoo's threads."""
        await self.blocking(self.kazoo.stop)
        await self.blocking(self.kazoo.close)

    async def assert_waits(self, deferred: Deferred[Any]) -> None:
        """Assert that a Deferred does not fire within 0.15 seconds."""
        await deferLater(reactor, 0.15, lambda: None)
        self.assertFalse(deferred.called)


class Contract:
    """Tests that must pass with every server."""

    async def test_locks_exclude_each_other(self: Any) -> None:
        """Each client waits for the other's lock."""
        theirs = self.kazoo.Lock(self.path, "kazoo")
        await self.blocking(theirs.acquire)
        ours = Lock(self.ours, self.path, "ours")
        self.assertIsNone(await ours.try_acquire())
        acquiring = ours.acquire()
        await self.assert_waits(acquiring)
        self.assertEqual(await ours.contenders(), ["kazoo", "ours"])
        self.assertEqual(await self.blocking(theirs.contenders), ["kazoo", "ours"])
        await self.blocking(theirs.release)
        lease = await acquiring
        self.assertFalse(await self.blocking(theirs.acquire, blocking=False))
        again = self.blocking(theirs.acquire)
        await self.assert_waits(again)
        await lease.release()
        self.assertTrue(await again)
        await self.blocking(theirs.release)

    async def test_a_lock_alternates_between_both_kinds(self: Any) -> None:
        """All contenders of both kinds get the lock, and never two at a time."""
        holders: list[str] = []

        def one_of_theirs() -> None:
            lock = self.kazoo.Lock(self.path)
            for _ in range(10):
                with lock:
                    holders.append("kazoo")
                    self.assertEqual(len(holders), 1)
                    holders.clear()

        async def one_of_ours() -> None:
            for _ in range(10):
                async with await Lock(self.ours, self.path).acquire():
                    holders.append("ours")
                    await deferLater(reactor, 0, lambda: None)
                    self.assertEqual(holders, ["ours"])
                    holders.clear()

        jobs = [self.blocking(one_of_theirs), self.blocking(one_of_theirs)]
        jobs += [Deferred.fromCoroutine(one_of_ours()) for _ in range(2)]
        for job in jobs:
            await job

    async def test_read_write_lock(self: Any) -> None:
        """Readers of both kinds share; writers of both kinds exclude."""
        ours = ReadWriteLock(self.ours, self.path)
        reader, writer = self.kazoo.ReadLock(self.path), self.kazoo.WriteLock(self.path)
        await self.blocking(reader.acquire)
        reading = await ours.read().acquire()
        writing = self.blocking(writer.acquire)
        await self.assert_waits(writing)
        await reading.release()
        await self.assert_waits(writing)
        await self.blocking(reader.release)
        await writing
        late = ours.read().acquire()
        await self.assert_waits(late)
        await self.blocking(writer.release)
        lease = await late
        ours_writing = ours.write().acquire()
        await self.assert_waits(ours_writing)
        await lease.release()
        lease = await ours_writing
        self.assertFalse(await self.blocking(reader.acquire, blocking=False))
        await lease.release()

    async def test_semaphores_share_their_leases(self: Any) -> None:
        """Leases of both kinds are counted together."""
        ours = Semaphore(self.ours, self.path, 2, "ours")
        theirs = self.kazoo.Semaphore(self.path, "kazoo", max_leases=2)
        await self.blocking(theirs.acquire)
        lease = await ours.acquire()
        self.assertEqual(sorted(await self.blocking(theirs.lease_holders)), ["kazoo", "ours"])
        third = ours.acquire()
        await self.assert_waits(third)
        await self.blocking(theirs.release)
        second = await third
        self.assertFalse(await self.blocking(theirs.acquire, blocking=False))
        await second.release()
        self.assertTrue(await self.blocking(theirs.acquire, blocking=False))
        await lease.release()
        await self.blocking(theirs.release)

    async def test_elections_share_their_queue(self: Any) -> None:
        """Candidates of both kinds are in one queue."""
        lease = await Election(self.ours, self.path, "ours").lead()
        theirs = self.kazoo.Election(self.path, "kazoo")
        led: Deferred[None] = Deferred()

        def lead() -> None:
            reactor.callFromThread(led.callback, None)  # type: ignore[attr-defined]

        running = self.blocking(theirs.run, lead)
        await self.assert_waits(led)
        self.assertEqual(await self.blocking(theirs.contenders), ["ours", "kazoo"])
        await lease.release()
        await led
        await running

    async def test_queues_share_their_items(self: Any) -> None:
        """Each kind takes the items of the other, in order."""
        ours, theirs = Queue(self.ours, self.path), self.kazoo.Queue(self.path)
        await self.blocking(theirs.put, b"1")
        await ours.put(b"2")
        await ours.put(b"0", 5)
        self.assertEqual(await self.blocking(theirs.get), b"0")
        self.assertEqual(await ours.get(), b"1")
        self.assertEqual(await self.blocking(theirs.get), b"2")
        waiting = ours.get()
        await self.blocking(theirs.put, b"3")
        self.assertEqual(await waiting, b"3")

    async def test_counters_count_the_same_number(self: Any) -> None:
        """Both count the same number."""
        ours, theirs = Counter(self.ours, self.path), self.kazoo.Counter(self.path)
        self.assertEqual(await ours.add(5), 5)
        await self.blocking(theirs.__sub__, 7)
        self.assertEqual(await ours.value(), -2)
        await ours.add()
        self.assertEqual(await self.blocking(lambda: theirs.value), -1)

    async def test_barriers_block_both_kinds(self: Any) -> None:
        """A barrier of either kind blocks both, and either can remove it."""
        ours, theirs = Barrier(self.ours, self.path), self.kazoo.Barrier(self.path)
        for create, remove in (
            (ours.create, lambda: self.blocking(theirs.remove)),
            (lambda: self.blocking(theirs.create), ours.remove),
        ):
            await create()
            waiting = [ours.wait(), self.blocking(theirs.wait, 30)]
            for one in waiting:
                await self.assert_waits(one)
            self.assertTrue(await remove())
            self.assertEqual([await one for one in waiting], [None, True])

    async def test_double_barriers_begin_and_end_together(self: Any) -> None:
        """Members of both kinds begin and end together, in any order."""
        ours = DoubleBarrier(self.ours, self.path, 3, "ours")
        for ours_first in (True, False, True, False):
            theirs = [self.kazoo.DoubleBarrier(self.path, 3) for _ in range(2)]
            entering: list[Deferred[Any]] = []
            if ours_first:
                entering += [ours.enter(), self.blocking(theirs[0].enter)]
            else:
                entering += [self.blocking(one.enter) for one in theirs]
            for one in entering:
                await self.assert_waits(one)
            last = self.blocking(theirs[1].enter) if ours_first else ours.enter()
            entered = [await one for one in (*entering, last)]
            self.assertTrue(all(one.participating for one in theirs))
            (participant,) = filter(None, entered)
            leaving = [self.blocking(one.leave) for one in theirs]
            if ours_first:
                await self.assert_waits(leaving[0])
            await participant.leave()
            for left in leaving:
                await left
            self.assertEqual(await self.ours.get_children(self.path), [])

    async def test_parties_share_their_members(self: Any) -> None:
        """Members of both kinds see each other."""
        for ours_kind, theirs_kind in (
            (Party, self.kazoo.Party),
            (ShallowParty, self.kazoo.ShallowParty),
        ):
            path = f"{self.path}/{ours_kind.__name__}"
            ours, theirs = ours_kind(self.ours, path, "ours"), theirs_kind(path, "theirs")
            await self.blocking(theirs.join)
            self.assertEqual(await ours.members(), ["theirs"])
            changed = ours.changed(["ours", "theirs"])
            self.assertEqual(await changed, ["theirs"])
            membership = await ours.join()
            self.assertEqual(sorted(await self.blocking(list, theirs)), ["ours", "theirs"])
            self.assertEqual(await self.blocking(len, theirs), 2)
            self.assertEqual(sorted(await ours.members()), ["ours", "theirs"])
            changed = ours.changed(await ours.members())
            await self.blocking(theirs.leave)
            self.assertEqual(await changed, ["ours"])
            await membership.leave()
            self.assertEqual(await self.blocking(list, theirs), [])

    async def test_at_least_once_queues(self: Any) -> None:
        """The server accepts the transactions of the at-least-once queues."""
        for kind in (ReliableQueue, SerializedQueue):
            queue = kind(self.ours, f"{self.path}/{kind.__name__}")
            waiting = queue.get()
            await queue.put(b"1")
            item = await waiting
            await item.release()
            item = await queue.get()
            self.assertEqual(item.data, b"1")
            await item.delete()
            self.assertEqual(await queue.qsize(), 0)


class EmbeddedTests(Contract, KazooTestCase):
    """With the embedded server."""

    async def setUp(self) -> None:  # type: ignore[override]
        """Short ticks."""
        self.server = EmbeddedZooKeeper(tick_time=0.2)
        await self.server.start()
        self.addCleanup(self.server.stop)
        await self.start(self.server.connection_string)
