"""The programs and files in the folder ``examples`` do what they are for."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.functional.pages import DOCS
from tests.functional.processes import TWISTD, EmbeddedProcess, Twistd, fetch, free_port, wait_for

EXAMPLES = DOCS.parent / "examples"
ZKSERVICE = [sys.executable, "-c", "from zkservice.cli.main import main; raise SystemExit(main())"]


class ExampleTestCase(SynchronousTestCase):
    """Works on a copy of one example, with a ZooKeeper."""

    example: str

    @override
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        shutil.copytree(EXAMPLES / self.example, self.folder)
        server = EmbeddedProcess(self.mktemp())
        self.addCleanup(server.stop)
        server.start()
        self.zookeeper = server.connection_string

    def twistd(self, *words: str, **environ: str) -> Twistd:
        """Start a twistd in the copy."""
        process = Twistd(str(self.folder), *words, environ=environ)
        self.addCleanup(process.end)
        return process

    def resolve(self, path: str) -> list[str]:
        """Return the addresses that are registered."""
        done = subprocess.run(
            [*ZKSERVICE, "resolve", "--json", self.zookeeper, path],
            env=Twistd.environment(),
            capture_output=True,
            text=True,
        )
        return [each["address"] for each in json.loads(done.stdout or "{}").get("providers", [])]


class SystemdTests(ExampleTestCase):
    """The units, and the command in them."""

    example = "systemd"

    @override
    def setUp(self) -> None:
        super().setUp()
        (self.folder / "app.py").write_bytes((EXAMPLES / "flask_app.py").read_bytes())
        for unit in self.folder.glob("*.service"):
            twistd = str(Path(sys.executable).with_name("twistd"))
            unit.write_text(unit.read_text().replace("/srv/shop/venv/bin/twistd", twistd))

    @skipUnless(shutil.which("systemd-analyze"), "there is no systemd-analyze")
    def test_systemd_finds_no_mistake_in_the_units(self) -> None:
        """``systemd-analyze verify`` says nothing."""
        units = [str(path) for path in sorted(self.folder.glob("shop.*")) if path.suffix != ".py"]
        units.append(str(self.folder / "zkfollow.service"))
        done = subprocess.run(
            ["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=60
        )
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    @skipUnless(shutil.which("systemd-socket-activate"), "there is no systemd-socket-activate")
    def test_the_service_serves_at_the_socket_of_systemd(self) -> None:
        """The file of options and a socket that is passed make a service that is registered."""
        options = (self.folder / "zkserve.toml").read_text()
        options = options.replace("zk1:2181,zk2:2181,zk3:2181", self.zookeeper)
        run = tempfile.mkdtemp()  # a socket's path has at most 107 characters
        self.addCleanup(shutil.rmtree, run)
        options = options.replace("/run/shop", run).replace("app:app", "app.py")
        (self.folder / "zkserve.toml").write_text(options.replace("/var/log/shop", "."))
        address = f"127.0.0.1:{free_port()}"
        service = Twistd(
            str(self.folder),
            *("zkserve", "--config", "zkserve.toml"),
            # systemd itself always passes a name, that of the socket's unit.
            command=[
                *("systemd-socket-activate", "-l", address, "-E", "PYTHONPATH"),
                *("--fdname=shop.socket", *TWISTD),
            ],
        )
        self.addCleanup(service.end)
        wait_for("systemd listens", lambda: "Listening" in service.log())
        self.assertIn(b"Flask", fetch(address, timeout=30)[1])
        wait_for("it is registered", lambda: self.resolve("/svc/shop") == [address])
