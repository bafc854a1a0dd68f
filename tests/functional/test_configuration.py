"""``twistd zkserve --config``: real processes that are configured by a file."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

from typing_extensions import override

from tests.functional.processes import (
    TWISTD,
    free_port,
)
from tests.functional.reliability import PROVIDERS, ReliabilityCase

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]
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
            timeout=60,
            env={
                **os.environ,
                "PYTHONPATH": os.getcwd().split("/_trial_temp")[0],
                **(environ or {}),
            },
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
