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
    """Writing, reading and invalid files."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.name = self.folder / "providers.json"
        self.file = RememberedProviders(self.name, "/svc", self.clock)

    def broken(self, content: object, path: str = "/svc") -> str:
        """The warning about a file with this content."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.name.write_bytes(data)
        with capturedLogs() as events:
            self.assertEqual(RememberedProviders(self.name, path, self.clock).load(), {})
        (event,) = events
        return str(event["error"])

    def test_providers_are_read_back(self) -> None:
        """Providers are read back with all attributes."""
        self.file.remember([ONE, TWO])
        self.clock.advance(1)
        loaded = RememberedProviders(self.name, "/svc", self.clock).load()
        self.assertEqual(loaded, {ONE.address: ONE, TWO.address: TWO})
        self.assertEqual(os.listdir(self.folder), ["providers.json"])

    def test_changes_are_collected(self) -> None:
        """Changes within a second are written once, with the last state."""
        for _ in range(9):
            self.file.remember([ONE])
        self.file.remember([TWO])
        self.assertFalse(self.name.exists())
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(1)
        self.assertEqual(list(self.file.load()), [TWO.address])

    def test_closing_writes_at_once(self) -> None:
        """Closing writes pending changes, and leaves no timer."""
        self.file.remember([ONE])
        self.file.close()
        self.file.close()
        self.assertEqual(list(self.file.load()), [ONE.address])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_missing_file_logs_nothing(self) -> None:
        """At the first start the file does not exist."""
        with capturedLogs() as events:
            self.assertEqual(self.file.load(), {})
        self.assertEqual(events, [])

    def test_broken_files_are_a_log_line(self) -> None:
        """An invalid file has no providers, and logs a reason."""
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
        """Any content of the file is handled without an exception."""
        self.name.write_bytes(data)
        self.file.load()

    def test_unwritable_file_is_a_log_line(self) -> None:
        """A file that cannot be written is a warning."""
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
