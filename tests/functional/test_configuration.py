"""``twistd zkserve --config``: real processes that are configured by a file."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from functools import cached_property
from pathlib import Path
from typing import Any

from kazoo.client import KazooClient
from typing_extensions import override

from tests.functional.processes import TIMEOUT, TWISTD, Twistd, fetch, free_port, wait_for
from tests.functional.reliability import PROVIDERS, ReliabilityCase

APP = """
import os

def app(environ, start_response):
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""


class ConfigurationCase(ReliabilityCase):
    """A folder with an application and a file, and a ZooKeeper."""

    @override
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        (self.folder / "app.py").write_text(APP)

    def write(self, *lines: str) -> None:
        """Write the file: the application, where it is registered, and these lines."""
        text = "\n".join(
            ['application = "app:app"', f'path = "{PROVIDERS}"', 'host = "127.0.0.1"', *lines]
        )
        (self.folder / "zkserve.toml").write_text(f"{text}\n")


class CheckTests(ConfigurationCase):
    """``--check-config``."""

    def check(self, *words: str, environ: dict[str, str] | None = None) -> tuple[int, str, str]:
        """The exit code, and what was written to each stream."""
        done = subprocess.run(
            [*TWISTD, "zkserve", "--config", "zkserve.toml", "--check-config", *words],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            env={**Twistd.environment(), **(environ or {})},
        )
        return done.returncode, done.stdout, done.stderr

    def test_a_good_file_is_explained_without_listening(self) -> None:
        """Its port is in use and its ZooKeeper away: neither is tried; nothing is left behind."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.write(f"port = {port}", f'zookeeper = "127.0.0.1:{free_port()}"')
            code, out, err = self.check()
        self.assertEqual((code, err), (0, ""))
        self.assertIn(f"listen at tcp:{port}:interface=127.0.0.1\n", out)
        self.assertIn(f"register 127.0.0.1:{port}\n", out)
        left = {path.name for path in self.folder.iterdir()}
        self.assertEqual(left, {"app.py", "zkserve.toml", "__pycache__"} & left)

    def test_what_is_wrong_is_said_with_exit_code_1(self) -> None:
        """A key, a value of the environment, an application."""
        self.write("prot = 80")
        code, out, _ = self.check()  # where twistd writes such errors
        self.assertEqual(code, 1)
        self.assertIn("zkserve.toml: unknown key 'prot'; did you mean 'port'?", out)
        self.write("port = 80")
        code, out, _ = self.check(environ={"ZKSERVE_THREADS": "many"})
        self.assertEqual(code, 1)
        self.assertIn("ZKSERVE_THREADS must be a whole number, not 'many'", out)
        (self.folder / "app.py").write_text("this is no Python")
        code, out, err = self.check()
        self.assertEqual((code, out), (1, ""))
        self.assertRegex(err, r"zkserve: app:app could not be loaded: SyntaxError")
        self.assertNotIn("Traceback", err)


class HangUpTests(ConfigurationCase):
    """SIGHUP reads the file again."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.server = self.make_server()
        self.server.start()

    def start(self, *lines: str) -> Twistd:
        """A service whose command line names nothing but the file."""
        self.write(f'zookeeper = "{self.hosts()}"', *lines)
        process = Twistd(str(self.folder), "zkserve", "--config", "zkserve.toml")
        self.addCleanup(process.end)
        self.address = process.wait_for_log(r"Serving on (\S+)\n").group(1)
        return process

    def hang_up(self, process: Twistd, *lines: str) -> None:
        """Edit the file, and send the signal."""
        self.write(f'zookeeper = "{self.hosts()}"', *lines)
        process.signal(signal.SIGHUP)

    def registered(self) -> Any:
        """What the znode holds."""
        return json.loads(self.looking.get(f"{PROVIDERS}/{self.address}")[0])

    @cached_property
    def looking(self) -> KazooClient:
        """A client for the whole test."""
        return self.kazoo()

    def test_properties_that_changed_are_written(self) -> None:
        """The znode is the same one; what needs a restart is named."""
        process = self.start("property = {version = 1, old = true}")
        client = self.kazoo()
        before = client.get(f"{PROVIDERS}/{self.address}")[1]
        self.hang_up(process, "threads = 7", "property = {version = 2}")
        process.wait_for_log(r"configuration: changed property\n")
        process.wait_for_log(r"configuration: threads changed too, which needs a restart")
        wait_for("the new version", lambda: self.registered().get("version") == 2)
        self.assertNotIn("old", self.registered())
        after = client.get(f"{PROVIDERS}/{self.address}")[1]
        self.assertEqual(after.owner_session_id, before.owner_session_id)

    def test_a_broken_file_leaves_everything_as_it_was(self) -> None:
        """The log says why; when it is mended, it counts."""
        process = self.start("property = {version = 1}", "processes = 2")
        process.wait_for_log(r"worker \d is serving(.*\n)+.*worker \d is serving")
        pids = set(re.findall(r"worker \d is serving \(process (\d+)\)", process.log()))
        self.assertEqual(len(pids), 2)
        self.hang_up(process, "property = {version = 2}", "processes = many")
        process.wait_for_log(r"the configuration is invalid: zkserve.toml is invalid TOML")
        self.assertEqual(self.registered()["version"], 1)
        self.assertEqual({self.worker() for _ in range(8)} - pids, set())
        self.hang_up(process, "property = {version = 3}", "processes = 2")
        wait_for("the new version", lambda: self.registered()["version"] == 3)
        wait_for("new workers", lambda: self.worker() not in pids)

    def test_new_workers_take_their_options_from_it(self) -> None:
        """Limits, the application, the number of processes; under the same address."""
        process = self.start("processes = 2")
        (self.folder / "other.py").write_text(APP.replace("os.getpid()", "'other'"))
        self.write(f'zookeeper = "{self.hosts()}"', "processes = 3", "limit = {target-bytes = 90}")
        text = (self.folder / "zkserve.toml").read_text()
        (self.folder / "zkserve.toml").write_text(text.replace("app:app", "other:app"))
        process.signal(signal.SIGHUP)
        wait_for("the other application", lambda: self.worker() == "other")
        wait_for("the limit", lambda: fetch(self.address, "/" + "x" * 100)[0] == 414)
        served = r"worker \d+ is serving"
        wait_for("three more", lambda: len(re.findall(served, process.log())) == 2 + 3)

    def worker(self) -> str:
        """Who answers."""
        return fetch(self.address)[1].decode()
