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


class Together(TestCase):
    """Programs with kazoo and programs with this package exclude, wake and serve each other."""

    timeout = 60

    async def start(self, connection_string: str) -> None:
        """Our client and kazoo's, and a path that no other test uses."""
        self.path = f"/{self.id()}"
        self.ours = ZooKeeperClient(connection_string, 4.0)
        self.addCleanup(self.ours.close)
        await self.ours.connect(10.0)
        logger = logging.Logger("kazoo in tests")
        logger.addHandler(logging.NullHandler())
        self.kazoo: Any = KazooClient(connection_string, timeout=4.0, logger=logger)
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


class Contract:
    """What holds on every server."""

    async def test_locks_exclude_each_other(self: Any) -> None:
        """We wait for kazoo's lock, and it waits for ours."""
        theirs = self.kazoo.Lock(self.path, "kazoo")
        await self.theirs(theirs.acquire)
        ours = Lock(self.ours, self.path, "ours")
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

    async def test_a_lock_alternates_between_both_kinds(self: Any) -> None:
        """Handed over a number of times, it reaches every contender, and never two have it."""
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

        jobs = [self.theirs(one_of_theirs), self.theirs(one_of_theirs)]
        jobs += [Deferred.fromCoroutine(one_of_ours()) for _ in range(2)]
        for job in jobs:
            await job

    async def test_read_write_lock(self: Any) -> None:
        """Readers of both kinds share; writers of both kinds exclude."""
        ours = ReadWriteLock(self.ours, self.path)
        reader, writer = self.kazoo.ReadLock(self.path), self.kazoo.WriteLock(self.path)
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

    async def test_semaphores_share_their_leases(self: Any) -> None:
        """Leases of both kinds are counted together."""
        ours = Semaphore(self.ours, self.path, 2, "ours")
        theirs = self.kazoo.Semaphore(self.path, "kazoo", max_leases=2)
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

    async def test_elections_share_their_queue(self: Any) -> None:
        """Candidates of both kinds are in one queue."""
        lease = await Election(self.ours, self.path, "ours").lead()
        theirs = self.kazoo.Election(self.path, "kazoo")
        led: Deferred[None] = Deferred()

        def lead() -> None:
            reactor.callFromThread(led.callback, None)  # type: ignore[attr-defined]

        running = self.theirs(theirs.run, lead)
        await self.waits(led)
        self.assertEqual(await self.theirs(theirs.contenders), ["ours", "kazoo"])
        await lease.release()
        await led
        await running

    async def test_queues_share_their_items(self: Any) -> None:
        """What one kind puts in the other takes out, in order."""
        ours, theirs = Queue(self.ours, self.path), self.kazoo.Queue(self.path)
        await self.theirs(theirs.put, b"1")
        await ours.put(b"2")
        await ours.put(b"0", 5)
        self.assertEqual(await self.theirs(theirs.get), b"0")
        self.assertEqual(await ours.get(), b"1")
        self.assertEqual(await self.theirs(theirs.get), b"2")
        waiting = ours.get()
        await self.theirs(theirs.put, b"3")
        self.assertEqual(await waiting, b"3")

    async def test_counters_count_the_same_number(self: Any) -> None:
        """Both count the same number."""
        ours, theirs = Counter(self.ours, self.path), self.kazoo.Counter(self.path)
        self.assertEqual(await ours.add(5), 5)
        await self.theirs(theirs.__sub__, 7)
        self.assertEqual(await ours.value(), -2)
        await ours.add()
        self.assertEqual(await self.theirs(lambda: theirs.value), -1)

    async def test_barriers_block_both_kinds(self: Any) -> None:
        """A barrier of either kind blocks both, and either can remove it."""
        ours, theirs = Barrier(self.ours, self.path), self.kazoo.Barrier(self.path)
        for create, remove in (
            (ours.create, lambda: self.theirs(theirs.remove)),
            (lambda: self.theirs(theirs.create), ours.remove),
        ):
            await create()
            waiting = [ours.wait(), self.theirs(theirs.wait, 30)]
            for one in waiting:
                await self.waits(one)
            self.assertTrue(await remove())
            self.assertEqual([await one for one in waiting], [None, True])

    async def test_double_barriers_begin_and_end_together(self: Any) -> None:
        """Members of both kinds begin together and end together, whoever is first or last."""
        ours = DoubleBarrier(self.ours, self.path, 3, "ours")
        for ours_first in (True, False, True, False):
            theirs = [self.kazoo.DoubleBarrier(self.path, 3) for _ in range(2)]
            entering: list[Deferred[Any]] = []
            if ours_first:
                entering += [ours.enter(), self.theirs(theirs[0].enter)]
            else:
                entering += [self.theirs(one.enter) for one in theirs]
            for one in entering:
                await self.waits(one)
            last = self.theirs(theirs[1].enter) if ours_first else ours.enter()
            entered = [await one for one in (*entering, last)]
            self.assertTrue(all(one.participating for one in theirs))
            (participant,) = filter(None, entered)
            leaving = [self.theirs(one.leave) for one in theirs]
            if ours_first:
                await self.waits(leaving[0])
            await participant.leave()
            for left in leaving:
                await left
            self.assertEqual(await self.ours.get_children(self.path), [])

    async def test_parties_share_their_members(self: Any) -> None:
        """Members of both kinds see each other come and go."""
        for ours_kind, theirs_kind in (
            (Party, self.kazoo.Party),
            (ShallowParty, self.kazoo.ShallowParty),
        ):
            path = f"{self.path}/{ours_kind.__name__}"
            ours, theirs = ours_kind(self.ours, path, "ours"), theirs_kind(path, "theirs")
            await self.theirs(theirs.join)
            self.assertEqual(await ours.members(), ["theirs"])
            changed = ours.changed(["ours", "theirs"])
            self.assertEqual(await changed, ["theirs"])
            membership = await ours.join()
            self.assertEqual(sorted(await self.theirs(list, theirs)), ["ours", "theirs"])
            self.assertEqual(await self.theirs(len, theirs), 2)
            self.assertEqual(sorted(await ours.members()), ["ours", "theirs"])
            changed = ours.changed(await ours.members())
            await self.theirs(theirs.leave)
            self.assertEqual(await changed, ["ours"])
            await membership.leave()
            self.assertEqual(await self.theirs(list, theirs), [])

    async def test_queues_of_ours(self: Any) -> None:
        """The server accepts the transactions of the queues that lose nothing."""
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


class EmbeddedTests(Contract, Together):
    """With the embedded server."""

    async def setUp(self) -> None:  # type: ignore[override]
        """Short ticks."""
        self.server = EmbeddedZooKeeper(tick_time=0.2)
        await self.server.start()
        self.addCleanup(self.server.stop)
        await self.start(self.server.connection_string)
