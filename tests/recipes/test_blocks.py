"""Tests for `zkservice.recipes.blocks`: recipes as ``async with`` blocks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from contextvars import copy_context
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from typing_extensions import override

from tests.recipes.base import RecipeTestCase
from zkservice.errors import LeaseLostError, LockTimeoutError
from zkservice.recipes import (
    DoubleBarrier,
    Election,
    Lease,
    Lock,
    Party,
    PersistentEphemeralNode,
    ReadWriteLock,
    Semaphore,
)

PATH = "/blocks/one"


class BlockTests(RecipeTestCase):
    """What a block enters is held until its end."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.one = self.connected()
        self.lock = Lock(self.one, PATH, reactor=self.network)

    def test_every_recipe_is_a_block(self) -> None:
        """A recipe and the Deferred of its method can be used as a block; no node is left."""
        client = self.one
        options: dict[str, Any] = {"reactor": self.network}
        makers: list[Callable[[], Any]] = [
            lambda: Lock(client, PATH, **options),
            lambda: Lock(client, PATH, **options).acquire(),
            lambda: Lock(client, PATH, **options).acquire(1.0),
            lambda: Lock(client, PATH, **options).try_acquire(),
            lambda: ReadWriteLock(client, PATH, **options).read(),
            lambda: ReadWriteLock(client, PATH, **options).write().acquire(),
            lambda: Semaphore(client, PATH, 2, **options),
            lambda: Semaphore(client, PATH, 2, **options).acquire(),
            lambda: Election(client, PATH, **options),
            lambda: Election(client, PATH, **options).lead(),
            lambda: DoubleBarrier(client, PATH, 1, **options),
            lambda: DoubleBarrier(client, PATH, 1, **options).enter(),
            lambda: Party(client, PATH, **options),
            lambda: Party(client, PATH, **options).join(),
            lambda: PersistentEphemeralNode(client, f"{PATH}/node", **options),
            lambda: PersistentEphemeralNode(client, f"{PATH}/node", **options).create(),
        ]

        async def work(block: Any) -> int:
            async with block:
                return len(self.children(PATH))

        for make in makers:
            self.assertGreaterEqual(self.result(Deferred.fromCoroutine(work(make()))), 1)
            self.assertEqual(self.children(PATH), [])

    def test_one_at_a_time(self) -> None:
        """Many blocks of one lock object take turns, as with a lock of Twisted's or asyncio's."""
        inside: list[int] = []

        async def work(number: int) -> None:
            async with self.lock as lease:
                inside.append(number)
                self.assertEqual(len(inside), 1)
                await self.one.exists("/")
                self.assertTrue(lease.held)
                inside.remove(number)

        self.result(gatherResults([Deferred.fromCoroutine(work(n)) for n in range(5)]))
        self.assertEqual(self.children(PATH), [])

    def test_each_leaves_its_own(self) -> None:
        """A block whose lease is lost does not release the next block's lease."""
        leases: list[Lease] = []
        steps: list[Deferred[None]] = [Deferred(), Deferred()]

        async def work(number: int) -> None:
            async with self.lock as lease:
                leases.append(lease)
                await steps[number]

        first, second = (Deferred.fromCoroutine(work(number)) for number in range(2))
        self.network.settle()
        self.deleting(leases[0].path)
        self.network.settle()
        self.assertEqual([lease.held for lease in leases], [False, True])
        steps[0].callback(None)
        self.failure(first, LeaseLostError)
        self.assertTrue(leases[1].held)
        steps[1].callback(None)
        self.result(second)
        self.assertEqual(self.children(PATH), [])

    def test_blocks_in_blocks(self) -> None:
        """One coroutine can enter a semaphore several times."""
        pool = Semaphore(self.one, PATH, 2, reactor=self.network)

        async def work() -> list[bool]:
            async with pool as outer:
                async with pool as inner:
                    pass
                return [outer.held, inner.held]

        self.assertEqual(self.result(Deferred.fromCoroutine(work())), [True, False])

    def test_blocks_leave_nothing_in_their_context(self) -> None:
        """The context of a long-lived coroutine keeps nothing of blocks that have ended."""

        async def work() -> tuple[int, int]:
            before = len(copy_context())
            async with self.lock:
                inside = len(copy_context())
            return inside - before, len(copy_context()) - before

        self.assertEqual(self.result(Deferred.fromCoroutine(work())), (1, 0))

    def test_entered_and_left_in_different_coroutines(self) -> None:
        """An exit stack that one coroutine has filled can be closed by another."""
        stack = AsyncExitStack()
        lease = self.result(Deferred.fromCoroutine(stack.enter_async_context(self.lock)))
        self.assertTrue(lease.held)
        self.result(Deferred.fromCoroutine(stack.aclose()))
        self.assertEqual((lease.held, self.children(PATH)), (False, []))

    def test_failed_try_has_no_block(self) -> None:
        """It fails with a time-out error."""

        async def work() -> None:
            async with self.lock.try_acquire():
                self.fail("not protected")

        lease = self.result(self.lock.acquire())
        self.failure(Deferred.fromCoroutine(work()), LockTimeoutError)
        self.assertEqual(len(self.children(PATH)), 1)
        self.result(lease.release())

    def test_cancelled_block_is_left(self) -> None:
        """Cancelled while it waits, it leaves the queue; cancelled inside, it releases."""

        async def work() -> None:
            async with self.lock.acquire():
                await Deferred()

        inside, waiting = (Deferred.fromCoroutine(work()) for _ in range(2))
        self.network.settle()
        self.assertEqual(len(self.children(PATH)), 2)
        waiting.cancel()
        self.failure(waiting, CancelledError)
        self.assertEqual(len(self.children(PATH)), 1)
        inside.cancel()
        self.failure(inside, CancelledError)
        self.assertEqual(self.children(PATH), [])

    def test_error_in_a_block_is_its_outcome(self) -> None:
        """The block raises its own error, and everything is released."""

        async def work() -> None:
            async with self.lock:
                raise KeyError("mine")

        self.failure(Deferred.fromCoroutine(work()), KeyError)
        self.assertEqual(self.children(PATH), [])
