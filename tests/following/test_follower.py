"""Tests of ``zkservice.following.follower``: what goes wrong, and how it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from typing_extensions import override

from tests.treesync.base import Intercepted, ServerTestCase
from zkservice.errors import (
    ClientClosedError,
    ConnectionLossError,
    NoAuthError,
    NoNodeError,
)
from zkservice.following.follower import MAX_PASSES, RETRY, RETRY_MAX
from zkservice.registry.live_views import Children, live_children, live_properties

Answer = Callable[[], Deferred[Any]]


class FollowerTestCase(ServerTestCase):
    """A view whose reads can be made to fail, and whose time is ours."""

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        await self.put("/a\n  /b\n")
        self.clock = Clock()
        self.failures: list[Exception] = []  # of the next reads of children

        def read(name: str, call: Answer, *args: Any) -> Any:
            if name == "get_children_and_watch" and self.failures:
                return fail(self.failures.pop(0)), Deferred()
            return call()

        self.intercepted: Any = Intercepted(self.client, read)

    async def view(self) -> Children:
        """A view of children."""
        return await live_children(self.intercepted, "/a", reactor=self.clock)


class FailureTests(FollowerTestCase):
    """Reads that fail."""

    async def test_refused_at_first(self) -> None:
        """A view that cannot be filled is an error, and no view."""
        self.failures = [NoAuthError("/a")]
        with self.assertRaises(NoAuthError):
            await self.view()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.client.statistics().watches, 0)

    async def test_refused_later(self) -> None:
        """A view keeps what it has, says so, and asks again, less and less often."""
        view = await self.view()
        self.failures = [NoAuthError("/a"), NoAuthError("/a"), NoAuthError("/a")]
        with capturedLogs() as events:
            await self.client.create("/a/c")
            for seconds in (RETRY, 2 * RETRY, 4 * RETRY):
                await self.until(self.clock.getDelayedCalls)
                self.assertEqual(list(view), ["b"])
                self.clock.advance(seconds - 0.1)
                self.assertTrue(self.clock.getDelayedCalls())
                self.clock.advance(0.1)
            await self.until(lambda: "c" in view)
        told = [event for event in events if event["log_level"] is LogLevel.error]
        self.assertEqual([event["path"] for event in told], ["/a"] * 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_waits_are_bounded(self) -> None:
        """However often it fails, it asks again soon enough."""
        view = await self.view()
        self.failures = [NoAuthError("/a") for _ in range(12)]
        await self.client.create("/a/c")
        while self.failures:
            await self.until(self.clock.getDelayedCalls)
            self.clock.advance(RETRY_MAX)
        await self.until(lambda: self.clock.getDelayedCalls() or "c" in view)
        self.clock.advance(RETRY_MAX)
        await self.until(lambda: "c" in view)

    async def test_refused_for_days(self) -> None:
        """A view that was refused for a very long time asks again all the same."""
        view = await self.view()
        view._backoff.failures = 5000  # as after 40 hours
        self.failures = [NoAuthError("/a")]
        await self.client.create("/a/c")
        await self.until(self.clock.getDelayedCalls)
        self.clock.advance(RETRY_MAX)
        await self.until(lambda: "c" in view)

    async def test_lost_without_a_word(self) -> None:
        """A read that is lost while the session is well is sent again."""
        view = await self.view()
        self.failures = [ConnectionLossError("/a")]
        await self.client.create("/a/c")
        await self.until(self.clock.getDelayedCalls)
        self.clock.advance(RETRY)
        await self.until(lambda: "c" in view)

    async def test_lost_at_first(self) -> None:
        """A view is filled although its first read is lost."""
        self.failures = [ConnectionLossError("/a")]
        filling = Deferred.fromCoroutine(self.view())
        await self.until(self.clock.getDelayedCalls)
        self.clock.advance(RETRY)
        self.assertEqual(list(await filling), ["b"])

    async def test_mistake(self) -> None:
        """A mistake of ours is logged, told to whoever waits, and not the end."""
        view = await self.view()
        self.failures = [ZeroDivisionError()]
        waiting = view.when_current()
        await self.client.create("/a/c")
        waiting.addErrback(lambda failure: failure.trap(ZeroDivisionError))
        await self.until(self.clock.getDelayedCalls)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.clock.advance(RETRY)
        await self.until(lambda: "c" in view)
        self.assertTrue(waiting.called)

    async def test_never_the_same(self) -> None:
        """A tree that is another whenever it is looked at does not keep us busy for ever."""
        self.failures = [NoNodeError("/a") for _ in range(MAX_PASSES + 10)]
        filling = Deferred.fromCoroutine(self.view())
        await self.until(self.clock.getDelayedCalls)
        self.assertEqual(len(self.failures), 10)
        self.clock.advance(RETRY)
        self.assertEqual(list(await filling), ["b"])


class EndTests(FollowerTestCase):
    """Ends."""

    async def test_closed_while_filling(self) -> None:
        """A client that is closed fails what waits for a view."""
        self.zookeeper.pause()
        filling = live_properties(self.client, "/a", reactor=self.clock)
        closing = self.client.close()
        self.zookeeper.resume()
        with self.assertRaises(ClientClosedError):
            await filling
        await closing

    async def test_closed(self) -> None:
        """A client that is closed ends its views: nothing is left in the reactor."""
        view = await self.view()
        self.failures = [NoAuthError("/a")]
        await self.client.create("/a/c")
        await self.until(self.clock.getDelayedCalls)
        await self.client.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        with self.assertRaises(ClientClosedError):
            await view.when_current()

    async def test_cancelled(self) -> None:
        """Whoever does not want to wait for a view any more need not."""
        filling = live_children(self.client, "/a", reactor=self.clock)
        filling.cancel()
        with self.assertRaises(CancelledError):
            await filling
        await self.client.sync("/")
        await self.until(lambda: self.zookeeper.statistics().watches == 0)
