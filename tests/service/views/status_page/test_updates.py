"""Tests for what the status page remembers, follows and sends."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, LogPublisher, capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.connected import ConnectedTestCase
from tests.service.views.status_page.support import snapshot
from zkservice.service.views.status_page.event_feed import EventFeed, event_view
from zkservice.service.views.status_page.page import PAGE, SECTIONS_VIEW, StatusPage
from zkservice.service.views.status_page.recent import ErrorCounts, Happenings
from zkservice.service.views.status_page.sections import SECTIONS
from zkservice.service.views.status_page.surroundings import Surroundings, service_edges
from zkservice.web import DeferredView, View


class ErrorCountTests(SynchronousTestCase):
    """Warnings and errors of the log."""

    @override
    def setUp(self) -> None:
        self.errors = ErrorCounts()
        self.publisher = LogPublisher(self.errors)

    def log(self, namespace: str = "zkservice.web") -> Logger:
        """A logger of a part."""
        return Logger(namespace, observer=self.publisher)

    def test_kinds(self) -> None:
        """Those that differ only in numbers are one; information is none."""
        for number in range(3):
            self.log().warn("request {n} is slow", n=number)
        self.log().error("another")
        self.log().info("nothing special")
        found = [(each.text, each.count, each.level) for each in self.errors.latest()]
        self.assertEqual(found, [("another", 1, "error"), ("request 2 is slow", 3, "warn")])
        self.assertEqual(self.errors.total, 4)

    def test_no_secrets(self) -> None:
        """No query, no message of an exception, nothing that an application has logged."""
        try:
            raise ValueError("password geheim")
        except ValueError:
            self.log().failure("the application failed for {uri}", uri="/login?token=geheim")
        self.log("mysite").error("bad token geheim")
        self.log("wsgi.errors").error("geheim")
        stack = 'Traceback:\n  File "/app.py", line 3, in login\n    x\nKeyError: geheim\n'
        self.log().emit(LogLevel.error, "{t}\n{stack}", t="failed for /a?token=geheim", stack=stack)
        shown = repr(self.errors.latest())
        self.assertNotIn("geheim", shown)
        for part in (
            "ValueError at ",
            "in test_no_secrets",
            "/login",
            "KeyError at /app.py:3 in login",
        ):
            self.assertIn(part, shown)

    def test_kinds_are_bounded(self) -> None:
        """And so is each text; the total counts on."""
        for number in range(100):
            self.log().error(f"{chr(200 + number)}{'x' * number * 10}")
        self.assertEqual((len(self.errors.latest()), self.errors.total), (50, 100))
        self.assertLess(max(len(each.text) for each in self.errors.latest()), 300)

    def test_happenings_are_bounded(self) -> None:
        """The latest are kept, and come first."""
        kept = Happenings(lambda: 1.0)
        for number in range(100):
            kept.add(str(number))
        self.assertEqual([each.text for each in kept.latest()], [str(99 - n) for n in range(30)])


class FakeStream:
    """What one browser has got."""

    def __init__(self) -> None:
        self.data = b""

    def send(self, data: bytes) -> None:
        """Take a block."""
        self.data += data

    def events(self) -> list[dict[str, str]]:
        """The events since the last time."""
        blocks, self.data = self.data.decode().split("\n\n"), b""
        return [json.loads(each.partition("data: ")[2]) for each in blocks if "event: s" in each]


class EventFeedTests(SynchronousTestCase):
    """Which events are sent, and when."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.sections = {"a": "1", "b": "1"}
        self.fetched = 0
        self.feed = EventFeed(self.fetch, self.clock)

    def fetch(self) -> Deferred[Any]:
        """The sections of now."""
        self.fetched += 1
        return succeed(dict(self.sections))

    def open(self) -> Any:
        """A browser."""
        stream: Any = FakeStream()
        self.feed.opened(stream)
        return stream

    def test_changes_alone_are_sent(self) -> None:
        """The first event has all; a browser that comes later gets all, too."""
        first = self.open()
        self.assertTrue(first.data.startswith(b"retry: 1000\n\n"))
        self.assertEqual(first.events(), [{"a": "1", "b": "1"}])
        self.sections["b"] = "2"
        self.clock.advance(0.5)
        self.assertEqual(first.events(), [{"b": "2"}])
        self.assertEqual(self.open().events(), [{"a": "1", "b": "2"}])
        self.clock.advance(0.5)
        self.assertEqual(first.events(), [])

    def test_nothing_is_rendered_for_nobody(self) -> None:
        """When the last browser has gone, it ends; the next one gets everything."""
        first, second = self.open(), self.open()
        self.feed.lost(first)
        self.clock.advance(0.5)
        self.assertEqual(self.fetched, 2)
        self.feed.lost(second)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.open().events(), [{"a": "1", "b": "1"}])

    def test_silence_is_broken(self) -> None:
        """Without data from time to time a lost connection would not be noticed."""
        stream = self.open()
        stream.events()
        self.clock.pump([0.5] * 31)
        self.assertEqual(stream.data, b":\n\n")

    def test_a_failure_is_logged_once(self) -> None:
        """And it goes on."""
        self.feed = EventFeed(lambda: fail(ValueError("no reply")), self.clock)
        with capturedLogs() as seen:
            self.open()
            self.clock.pump([0.5] * 5)
        self.assertEqual([each["reason"] for each in seen], ["no reply"])

    def test_one_line_of_data(self) -> None:
        """Whatever is in the sections."""
        self.sections = {"a": "x\n\nevent: evil\ndata: y\r\u2028"}
        self.assertEqual(self.open().events(), [self.sections])

    def test_the_view(self) -> None:
        """Its type, and that no proxy keeps it back."""
        view = event_view(self.fetch, self.clock)
        headers = dict(view.headers)
        self.assertEqual(headers["Content-Type"], "text/event-stream")
        self.assertEqual((headers["Cache-Control"], view.most), ("no-store", 16))


class StatusPageTests(SynchronousTestCase):
    """The views of the page."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.taken = 0
        nonces = iter(["one", "two"])
        observer: Any = Mock()
        observer.snapshot = self.take
        self.page = StatusPage(observer, self.clock, lambda: next(nonces))

    async def take(self) -> Any:
        """A snapshot."""
        self.taken += 1
        return snapshot("x")

    def answer(self, path: str) -> tuple[str, dict[str, str], str]:
        """Status, headers and body."""
        view = self.page.views()[path]
        assert isinstance(view, DeferredView)
        shown: View = self.successResultOf(view.ask({}))
        seen: list[Any] = []
        start: Callable[..., Any] = lambda *words: seen.extend(words)  # noqa: E731
        body = b"".join(shown({}, start)).decode()
        return seen[0], dict(seen[1]), body

    def test_every_page_has_a_nonce_of_its_own(self) -> None:
        """Only what has it may run; nothing may be framed, embedded or stored."""
        for nonce in ("one", "two"):
            _, headers, body = self.answer(PAGE)
            policy = headers["Content-Security-Policy"].split("; ")
            for rule in ("default-src 'none'", f"script-src 'nonce-{nonce}'", "base-uri 'none'"):
                self.assertIn(rule, policy)
            self.assertIn(f'<script nonce="{nonce}">', body)
            self.assertNotIn("unsafe", headers["Content-Security-Policy"])
            self.assertEqual(headers["Cache-Control"], "no-store")
            self.assertEqual(headers["X-Frame-Options"], "DENY")

    def test_a_moment_is_rendered_once(self) -> None:
        """However many ask."""
        self.answer(PAGE)
        self.answer(SECTIONS_VIEW)
        self.assertEqual(self.taken, 1)
        self.clock.advance(0.3)
        self.answer(SECTIONS_VIEW)
        self.assertEqual(self.taken, 2)

    def test_sections_for_a_worker_process(self) -> None:
        """As JSON."""
        _, headers, body = self.answer(SECTIONS_VIEW)
        self.assertEqual(json.loads(body).keys(), SECTIONS.keys())
        self.assertEqual(headers["Content-Type"], "application/json")


class SurroundingsTests(ConnectedTestCase):
    """What is read from ZooKeeper."""

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        from twisted.internet import reactor  # noqa: TID251 - real connections

        await super().setUp()
        self.reactor: Any = reactor
        await self.client.ensure_path("/svc/providers")
        self.happenings = Happenings(lambda: 0.0)
        self.around = Surroundings(self.client, lambda: "/svc/providers", reactor, self.happenings)
        self.addCleanup(self.around.stop)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until something is so."""
        while not condition():
            waiting: Deferred[None] = Deferred()
            self.reactor.callLater(0.01, waiting.callback, None)
            await waiting

    async def test_siblings_come_and_go(self) -> None:
        """As soon as they do, without another look."""
        self.around.keep_reading()
        await self.until(lambda: self.around.tree)
        await self.client.create("/svc/providers/a:1", b"{}", ephemeral=True)
        await self.until(lambda: self.around.siblings)
        await self.client.delete("/svc/providers/a:1")
        await self.until(lambda: not self.around.siblings)
        texts = [each.text for each in self.happenings.latest()]
        self.assertEqual(texts, ["a:1 has gone", "a:1 has come"])

    async def test_nothing_is_read_when_nobody_looks(self) -> None:
        """Also the watch goes."""
        self.assertEqual(self.client.statistics().watches, 0)
        self.around.keep_reading()
        await self.until(lambda: self.around.tree)
        self.around.stop()
        await self.until(lambda: self.client.statistics().watches == 0)

    async def test_a_path_that_is_missing(self) -> None:
        """It is said, and tried again."""
        around = Surroundings(self.client, lambda: "/none", self.reactor, self.happenings)
        self.addCleanup(around.stop)
        around.keep_reading()
        await self.until(lambda: around.problem)
        self.assertIn("/none", around.problem)

    def test_edges(self) -> None:
        """Of nodes in any state."""
        nodes = [
            {"path": "/", "data": ""},
            {"path": "/a", "data": '{"db ->": "/b"}'},
            {"path": "/a/providers", "data": "not json {"},
            {"path": "/b", "error": "not allowed"},
            {"path": "/lost/child", "data": '{"x ->": "/a"}'},
        ]
        self.assertEqual(service_edges(nodes), [("/a", "/b")])
