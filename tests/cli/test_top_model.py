"""Tests of what ``zkservice top`` shows: the figures, and the frames."""

from __future__ import annotations

import io
from typing import Any, ClassVar

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zkservice.cli.terminal import Terminal
from zkservice.cli.top_model import MonitorReply, ProcessRow, RequestRow, oldest_requests, row_of
from zkservice.cli.top_screen import Size, render, screen_size

STATUS: dict[str, Any] = {
    **{"registration": "registered", "reason": "", "session": "connected", "rss": 1 << 20},
    "last_minute": {"requests": 7.5, "p50": 0.002, "p99": 0.5},
    "workers": {"busy": 4, "threads": 4, "stuck": 1, "queued": 9},
    "http": {"connections": 20, "responded": 100},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


class RowTests(SynchronousTestCase):
    """Figures of a service."""

    def test_first_reply(self) -> None:
        """The requests a second are those of the last minute."""
        row = row_of("h:1", None, MonitorReply(0.0, STATUS))
        self.assertEqual((row.state, row.requests, row.p99), ("registered", 7.5, 0.5))
        self.assertEqual((row.busy, row.threads, row.queued, row.rss), (4, 4, 9, 1 << 20))

    def test_later_replies(self) -> None:
        """The requests a second are those since the previous reply."""
        later = {**STATUS, "http": {"responded": 150}}
        row = row_of("h:1", MonitorReply(0.0, STATUS), MonitorReply(2.0, later))
        self.assertEqual(row.requests, 25.0)
        restarted = {**STATUS, "http": {"responded": 3}}
        self.assertEqual(
            row_of("h:1", MonitorReply(0.0, STATUS), MonitorReply(2.0, restarted)).requests, 0
        )
        lost = MonitorReply(0.0, error="no answer")
        self.assertIsNone(row_of("h:1", lost, MonitorReply(2.0, STATUS)).requests)

    def test_states(self) -> None:
        """The state is what prevents clients from using the service."""
        for changed, state in (
            ({"registration": "out", "reason": "disk"}, "out (disk)"),
            ({"session": "suspended"}, "registered, ZooKeeper is away"),
        ):
            self.assertEqual(
                row_of("h:1", None, MonitorReply(0.0, {**STATUS, **changed})).state, state
            )
        row = row_of("h:1", None, MonitorReply(0.0, error="no answer"))
        self.assertEqual((row.state, row.error), ("unreachable", "no answer"))

    def test_memory_of_worker_processes_counts(self) -> None:
        """That of all processes together."""
        status = {**STATUS, "processes": [{"rss": 1 << 20}, {"rss": 2 << 20}]}
        self.assertEqual(row_of("h:1", None, MonitorReply(0.0, status)).rss, 4 << 20)

    def test_oldest_requests(self) -> None:
        """Of all services, the oldest first."""
        reports = [
            {"value": {"requests": [{"age": age, "method": "GET", "path": "/"}]}}
            for age in (1.0, 3.0)
        ]
        polled = {"a:1": MonitorReply(0.0, {}, reports), "b:1": MonitorReply(0.0, {}, reports[:1])}
        self.assertEqual([row.age for row in oldest_requests(polled, 2)], [3.0, 1.0])

    @given(JSON, JSON)
    def test_any_reply(self, status: Any, reports: Any) -> None:
        """A monitor of another release, or none, cannot break the view."""
        one = MonitorReply(
            1.0,
            status if isinstance(status, dict) else {"http": status, "workers": status},
            reports if isinstance(reports, list) else [{"value": {"requests": [reports]}}],
        )
        row = row_of("h:1", MonitorReply(0.0, {}), one)
        lines = render("t", [row], oldest_requests({"h:1": one}, 9), Size(), colour=False)
        self.assertLessEqual(max(map(len, lines)), 80)


class RenderTests(SynchronousTestCase):
    """Frames."""

    rows: ClassVar = [
        row_of("127.0.0.1:9001", None, MonitorReply(0.0, STATUS)),
        ProcessRow("127.0.0.1:9002", "unreachable", error="there is no monitor"),
    ]
    requests: ClassVar = [
        RequestRow(3.25, "h:1", "GET /a\x1b[2J", "app.py:3 in f: lock.acquire() " * 9)
    ]

    def test_80_columns(self) -> None:
        """All figures are there, and nothing commands the terminal."""
        lines = render("top", self.rows, self.requests, Size(80, 24), colour=False)
        text = "\n".join(lines)
        self.assertLessEqual(max(map(len, lines)), 80)
        for word in ("127.0.0.1:9001", "registered", "7.5", "2ms", "500ms", "4/4", "20", "1M"):
            self.assertIn(word, text)
        self.assertIn("there is no monitor", text)
        self.assertIn("3.2s", text)
        self.assertNotIn("\x1b", text)

    def test_a_narrow_terminal_shows_fewer_figures(self) -> None:
        """It always has the name of the service, and whether it is registered."""
        for columns, heads in (
            (20, "SERVICE"),
            (40, "SERVICE STATE REQ/S"),
            (60, "SERVICE STATE REQ/S P99 BUSY QUEUE"),
            (74, "SERVICE STATE REQ/S P50 P99 BUSY QUEUE CONN RSS"),
        ):
            lines = render("top", self.rows, self.requests, Size(columns, 24), colour=False)
            self.assertLessEqual(max(map(len, lines)), columns)
            self.assertEqual(" ".join(lines[1].split()), heads)
            self.assertIn("127.0.0.1:9001", lines[2])

    def test_without_colour_there_are_no_escapes(self) -> None:
        """With colour there are."""
        plain = render("top", self.rows, (), Size(), colour=False)
        self.assertNotIn("\x1b", "".join(plain))
        self.assertIn("\x1b[", "".join(render("top", self.rows, (), Size())))

    def test_no_more_lines_than_there_are(self) -> None:
        """A small terminal shows a part."""
        lines = render("top", self.rows * 30, self.requests * 30, Size(40, 10), colour=False)
        self.assertEqual(len(lines), 10)
        self.assertLessEqual(max(map(len, lines)), 40)

    def test_size_of_a_pipe(self) -> None:
        """It is that of a usual terminal."""
        terminal = Terminal(io.StringIO(), io.StringIO(), io.StringIO())
        self.assertEqual(screen_size(terminal), Size(80, 24))
