"""Tests of `zkservice.discovery.remembered`: the file of providers."""

from __future__ import annotations

import json
import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.discovery import Provider
from zkservice.discovery.remembered import MAX_SIZE, RememberedProviders

ONE = Provider("10.0.0.1", 80, {"weight": 3, "zone": "x"}, 3.0, "x")
TWO = Provider("2001:db8::1", 443, {}, tls=True)


class RememberedTests(SynchronousTestCase):
    """Written, read back, broken."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.name = self.folder / "providers.json"
        self.file = RememberedProviders(self.name, "/svc", self.clock)

    def broken(self, content: object, path: str = "/svc") -> str:
        """What the log says about a file's content."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.name.write_bytes(data)
        with capturedLogs() as events:
            self.assertEqual(RememberedProviders(self.name, path, self.clock).load(), {})
        (event,) = events
        return str(event["error"])

    def test_providers_are_read_back(self) -> None:
        """With all that is known about them."""
        self.file.remember([ONE, TWO])
        self.clock.advance(1)
        loaded = RememberedProviders(self.name, "/svc", self.clock).load()
        self.assertEqual(loaded, {ONE.address: ONE, TWO.address: TWO})
        self.assertEqual(os.listdir(self.folder), ["providers.json"])

    def test_changes_are_collected(self) -> None:
        """Many changes in a second are one write, of what is true last."""
        for _ in range(9):
            self.file.remember([ONE])
        self.file.remember([TWO])
        self.assertFalse(self.name.exists())
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(1)
        self.assertEqual(list(self.file.load()), [TWO.address])

    def test_closing_writes_at_once(self) -> None:
        """Nothing is lost, and no timer is left; closing again is fine."""
        self.file.remember([ONE])
        self.file.close()
        self.file.close()
        self.assertEqual(list(self.file.load()), [ONE.address])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_missing_file_is_no_news(self) -> None:
        """At the first start the file does not exist."""
        with capturedLogs() as events:
            self.assertEqual(self.file.load(), {})
        self.assertEqual(events, [])

    def test_broken_files_are_a_log_line(self) -> None:
        """Whatever is wrong with a file, the error says so, and there are no providers."""
        good = {"host": "h", "port": 80, "properties": {}, "tls": False}
        self.assertIn("Expecting value", self.broken(b"{broken"[1:]))
        self.assertIn("larger than", self.broken(b" " * (MAX_SIZE + 1)))
        self.assertIn("not a file of providers", self.broken([]))
        self.assertIn("not a file of providers", self.broken({"version": 2}))
        self.assertIn("'/other', not /svc", self.broken({"version": 1, "path": "/other"}))
        for wrong in (
            None,
            ["x"],
            [{**good, "port": "80"}],
            [{**good, "port": 65536}],
            [{**good, "host": "a b"}],
            [{**good, "properties": []}],
        ):
            self.broken({"version": 1, "path": "/svc", "providers": wrong})

    @given(st.binary(max_size=200))
    def test_no_bytes_raise(self, data: bytes) -> None:
        """Nothing that can be in the file stops a program."""
        self.name.write_bytes(data)
        self.file.load()

    def test_unwritable_file_is_a_log_line(self) -> None:
        """Discovery goes on without."""
        lost = RememberedProviders(self.folder / "no" / "such", "/svc", self.clock)
        lost.remember([ONE])
        with capturedLogs() as events:
            lost.close()
        self.assertIn("cannot be written", events[0]["what"])
        huge = Provider("h", 80, {"text": "x" * MAX_SIZE})
        self.file.remember([huge])
        with capturedLogs() as events:
            self.file.close()
        self.assertEqual(len(events), 1)
        self.assertEqual(os.listdir(self.folder), [])
