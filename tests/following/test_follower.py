"""Tests of ``zkservice.following.follower``: errors, retries and ends."""

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
    """A view whose reads can fail on demand, with a clock that the test advances."""

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

    async def test_a_refused_first_read_fails(self) -> None:
        """The Deferred fails, and no watch or timer is left."""
        self.failures = [NoAuthError("/a")]
        with self.assertRaises(NoAuthError):
            await self.view()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.client.statistics().watches, 0)

    async def test_a_refused_read_is_retried_ever_later(self) -> None:
        """The view keeps its contents, logs the error, and retries at growing intervals."""
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
        errors = [event for event in events if event["log_level"] is LogLevel.error]
        self.assertEqual([event["path"] for event in errors], ["/a"] * 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_pauses_are_bounded(self) -> None:
        """The pauses do not exceed the longest, however often it fails."""
        view = await self.view()
        self.failures = [NoAuthError("/a") for _ in range(12)]
        await self.client.create("/a/c")
        while self.failures:
            await self.until(self.clock.getDelayedCalls)
            self.clock.advance(RETRY_MAX)
        await self.until(lambda: self.clock.getDelayedCalls() or "c" in view)
        self.clock.advance(RETRY_MAX)
        await self.until(lambda: "c" in view)

    async def test_thousands_of_failures_overflow_nothing(self) -> None:
        """The pause does not overflow after many failures."""
        view = await self.view()
        view._backoff.failures = 5000  # as after 40 hours
        self.failures = [NoAuthError("/a")]
        await self.client.create("/a/c")
        await self.until(self.clock.getDelayedCalls)
        self.clock.advance(RETRY_MAX)
        await self.until(lambda: "c" in view)

    async def test_a_lost_read_is_repeated(self) -> None:
        """A read that is lost while the session is connected is sent again."""
        view = await self.view()
        self.failures = [ConnectionLossError("/a")]
        await self.client.create("/a/c")
        await self.until(self.clock.getDelayedCalls)
        self.clock.advance(RETRY)
        await self.until(lambda: "c" in view)

    async def test_a_lost_first_read_is_repeated(self) -> None:
        """A view is filled although its first read is lost."""
        self.failures = [ConnectionLossError("/a")]
        filling = Deferred.fromCoroutine(self.view())
        await self.until(self.clock.getDelayedCalls)
        self.clock.advance(RETRY)
        self.assertEqual(list(await filling), ["b"])

    async def test_an_unexpected_error_is_logged_and_retried(self) -> None:
        """A bug is logged and fails waiting Deferreds; the view continues."""
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

    async def test_passes_in_a_row_are_bounded(self) -> None:
        """A tree that changes with each read is read again after a pause."""
        self.failures = [NoNodeError("/a") for _ in range(MAX_PASSES + 10)]
        filling = Deferred.fromCoroutine(self.view())
        await self.until(self.clock.getDelayedCalls)
        self.assertEqual(len(self.failures), 10)
        self.clock.advance(RETRY)
        self.assertEqual(list(await filling), ["b"])


class EndTests(FollowerTestCase):
    """The end of a view."""

    async def test_closing_the_client_fails_a_view_that_is_filled(self) -> None:
        """The Deferred of the view fails."""
        self.zookeeper.pause()
        filling = live_properties(self.client, "/a", reactor=self.clock)
        closing = self.client.close()
        self.zookeeper.resume()
        with self.assertRaises(ClientClosedError):
            await filling
        await closing

    async def test_closing_the_client_stops_a_view(self) -> None:
        """Nothing is left in the reactor."""
        view = await self.view()
        self.failures = [NoAuthError("/a")]
        await self.client.create("/a/c")
        await self.until(self.clock.getDelayedCalls)
        await self.client.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        with self.assertRaises(ClientClosedError):
            await view.when_current()

    async def test_waiting_for_a_view_can_be_cancelled(self) -> None:
        """Cancelling it removes the watches."""
        filling = live_children(self.client, "/a", reactor=self.clock)
        filling.cancel()
        with self.assertRaises(CancelledError):
            await filling
        await self.client.sync("/")
        await self.until(lambda: self.zookeeper.statistics().watches == 0)
