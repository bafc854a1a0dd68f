"""Tests for `zkservice.service.options.live_config`: a configuration file that is edited."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.errors import ConfigurationError
from zkservice.service.options.live_config import LiveConfig, Reread
from zkservice.service.options.serve_options import Options


class LiveConfigTests(SynchronousTestCase):
    """What SIGHUP finds in the file."""

    @override
    def setUp(self) -> None:
        self.environ: dict[str, str] = {}
        self.patch(os, "environ", self.environ)
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.file = self.folder / "zkserve.toml"

    def start(self, text: str, *words: str) -> LiveConfig:
        """A service that was started with this file."""
        options = Options()
        self.write(text)
        options.parseOptions(["--config", str(self.file), *words])
        return LiveConfig(options.sources, options.given, options.config)

    def write(self, text: str) -> None:
        """Edit the file."""
        self.file.write_text(f"path = '/p'\napplication = 'm:app'\n{text}\n")

    def test_nothing_changes_without_a_change(self) -> None:
        """The same file is the same configuration."""
        live = self.start("port = 1\nprocesses = 2\nproperty = {a = 1}")
        self.assertEqual(live.read(), Reread(live.config, live.given, (), ()))

    def test_properties_change_in_any_process(self) -> None:
        """Those that are no longer there go, too; nothing happens before it is accepted."""
        live = self.start("drain-wait = 1000\nproperty = {a = 1, b = 2}")
        self.write("property = {a = 3}\nthreads = 9")
        reread = live.read()
        self.assertEqual((reread.config.properties, reread.config.drain_wait), ({"a": 3}, 0.5))
        self.assertEqual(set(reread.changed), {"property", "drain-wait"})
        self.assertEqual((reread.later, reread.config.threads), (("threads",), 4))
        self.assertEqual(live.config.properties, {"a": 1, "b": 2})
        live.accept(reread)
        self.assertEqual(live.config.properties, {"a": 3})
        self.assertNotIn("threads", live.given)

    def test_with_worker_processes_their_options_change(self) -> None:
        """New workers take them; ports, ZooKeeper and the like need a restart."""
        live = self.start("processes = 2\nport = 1\nhead-timeout = 1000\nrecycle-together = 1")
        (self.folder / "two.wsgi").write_text("")
        self.file.write_text(
            f"path = '/q'\napplication = '{self.folder}/two.wsgi'\nprocesses = 3\nport = 2\n"
            "head-timeout = 2000\nmax-requests = 7\nmonitor = ':1'\nsession-timeout = 5\n"
        )
        reread = live.read()
        live.accept(reread)
        config = live.config
        self.assertEqual(
            set(reread.later), {"path", "port", "monitor", "session-timeout", "recycle-together"}
        )
        self.assertEqual(config.application, f"{self.folder}/two.wsgi")
        self.assertEqual((config.processes.count, config.path), (3, "/p"))
        self.assertEqual(config.processes.recycling.max_requests, 7)
        self.assertEqual(config.processes.recycle_together, 1)
        self.assertEqual(config.front_end.limits.head_timeout, 2.0)
        self.assertEqual(live.given["port"].texts, ("1",))
        self.assertEqual(live.given["head-timeout"].texts, ("2000",))
        self.assertEqual(set(live.read().later), set(reread.later))

    def test_the_command_line_still_wins(self) -> None:
        """What it says does not change with the file."""
        live = self.start("processes = 2\nthreads = 3", "--threads", "5")
        self.write("processes = 2\nthreads = 4")
        self.assertEqual(live.read().changed, ())

    def test_a_broken_file_changes_nothing(self) -> None:
        """TOML, keys, values, also of options that would need a restart, and applications."""
        live = self.start("processes = 2")
        for text, expected in {
            "port =": "invalid TOML",
            "prot = 1": "unknown key 'prot'; did you mean 'port'?",
            "port = 'x'": f"port in {self.file} must be a whole number",
            "threads = 0": f"threads in {self.file} must be at least 1",
            "limit = {head-bytes = 0}": "no request could be served",
        }.items():
            self.write(f"processes = 2\n{text}")
            self.assertIn(expected, str(self.assertRaises(ConfigurationError, live.read)))
        self.file.write_text("path = '/p'\nprocesses = 2\napplication = 'none.wsgi'\n")
        self.assertIn("none.wsgi", str(self.assertRaises(ConfigurationError, live.read)))
        self.file.unlink()
        self.assertIn("cannot be read", str(self.assertRaises(ConfigurationError, live.read)))
        self.assertEqual(live.config.processes.count, 2)

    def test_secrets_are_not_read_again(self) -> None:
        """Only root could read them, and the process has given that up."""
        secret = self.folder / "secret"
        secret.write_text("u:p")
        text = f"processes = 2\nzookeeper-auth = 'digest:file:{secret}'\n"
        live = self.start(text)
        secret.unlink()
        self.write(f"{text}threads = 2")
        self.assertEqual(live.read().changed, ("threads",))
