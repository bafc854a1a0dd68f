"""``twistd zkregister`` with real commands, on the embedded server as a process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.functional.processes import (
    TIMEOUT,
    TWISTD,
    Twistd,
    free_port,
    runs,
    started_kazoo,
    wait_for,
)
from tests.functional.registered_command import CODE
from tests.functional.shared_servers import Place, SharedEmbedded

PROGRAM = str(Path(__file__).with_name("registered_command.py"))
PATH = "/svc/files"


class RegisterTests(SynchronousTestCase):
    """A program that knows no ZooKeeper, and its znode."""

    @override
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        self.zookeeper = Place(SharedEmbedded.hosts)
        self.zookeeper.start()
        os.makedirs(self.folder)
        self.kazoo = started_kazoo(self, self.zookeeper.connection_string)
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.node = f"{PATH}/{self.address}"

    def words(self, *words: str) -> list[str]:
        """A command line."""
        hosts = self.zookeeper.connection_string
        common = ("--zookeeper", hosts, "--path", PATH, "--address", self.address)
        return ["zkregister", *common, *words]

    def start(self, *words: str) -> Twistd:
        """Start it in the foreground."""
        process = Twistd(os.path.join(self.folder, "register"), *self.words(*words))
        self.addCleanup(process.end)
        return process

    def register(self, *words: str, command: list[str] | None = None) -> tuple[Twistd, int]:
        """One that is registered, and the process of its command."""
        served = command or [sys.executable, PROGRAM, str(self.port), self.folder]
        process = self.start(*words, "--", *served)
        pid = int(process.wait_for_log(r"as process (\d+)").group(1))
        process.wait_for_log(f"Serving on {self.address}")
        return process, pid

    def signals(self) -> dict[str, float]:
        """What the command got, and when."""
        noted = Path(self.folder, "signals")
        lines = noted.read_text().splitlines() if noted.exists() else []
        return {name: float(when) for name, when in map(str.split, lines)}

    def is_there(self) -> bool:
        """Whether it is registered."""
        return self.kazoo.exists(self.node) is not None

    def wait_until_gone(self) -> None:
        """Wait until it is not registered."""
        wait_for("it is deregistered", lambda: not self.is_there())

    def wait_for_end(self, pid: int) -> None:
        """Wait until a process that is not a child of this one has ended."""
        wait_for("the process has ended", lambda: not runs(pid))

    def test_from_its_start_to_its_stop(self) -> None:
        """Signals, a health that changes, and the order of the end."""
        process, pid = self.register(
            *("--property", "zone=a", "--drain-wait", "5000"),
            *("--health-http", f"http://{self.address}/", "--health-interval", "50"),
            *("--health-timeout", "30000"),
        )
        self.assertEqual(json.loads(self.kazoo.get(self.node)[0])["zone"], "a")
        self.assertIn(f"the command is process {pid} in group {pid}", process.log())
        for name in ("SIGHUP", "SIGUSR1", "SIGUSR2"):
            process.signal(signal.Signals[name])
            wait_for(name, lambda name=name: name in self.signals())  # type: ignore[misc]
        Path(self.folder, "ill").touch()
        self.wait_until_gone()
        self.assertTrue(runs(pid))
        Path(self.folder, "ill").unlink()
        wait_for("it is registered again", self.is_there)
        process.signal(signal.SIGTERM)
        self.wait_until_gone()
        self.assertNotIn("SIGTERM", self.signals())  # until the drain wait is over
        self.assertEqual(process.wait(), CODE)
        self.assertIn("SIGTERM", self.signals())
        self.assertNotIn("Traceback", process.log())

    def test_a_command_that_is_killed_is_deregistered_at_once(self) -> None:
        """No drain wait: there is nothing behind the address.  The exit code says how it ended."""
        process, pid = self.register("--drain-wait", "600000")
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(process.wait(), 128 + signal.SIGKILL)
        self.assertFalse(self.is_there())

    def test_a_command_that_ignores_sigterm_is_killed_with_its_children(self) -> None:
        """After --stop-timeout it is killed, and so is what it has started."""
        script = "trap '' TERM; sleep 600 & echo child $!; wait; wait"
        process, pid = self.register(
            *("--stop-timeout", "200", "--drain-wait", "0"), command=["sh", "-c", script]
        )
        child = int(process.wait_for_log(r"child (\d+)").group(1))
        process.signal(signal.SIGTERM)
        self.assertEqual(process.wait(), 128 + signal.SIGKILL)
        self.wait_for_end(pid)
        self.wait_for_end(child)

    def test_a_command_does_not_outlive_a_zkregister_that_is_killed(self) -> None:
        """The kernel sends it SIGTERM; the address stays for the session's time-out."""
        process, pid = self.register("--session-timeout", "1000")
        process.wait_for_log("the command is process")
        process.signal(signal.SIGKILL)
        process.wait()
        self.wait_for_end(pid)
        self.assertEqual(list(self.signals()), ["SIGTERM"])
        self.wait_until_gone()

    if not sys.platform.startswith("linux"):
        test_a_command_does_not_outlive_a_zkregister_that_is_killed.skip = (  # type: ignore[attr-defined]
            "only Linux tells a process of its parent's end"
        )

    def test_without_a_command_the_health_decides(self) -> None:
        """The service is registered while another process listens on the port."""
        health = ("--health-tcp", "--health-interval", "100", "--health-timeout", "30000")
        process = self.start(*health, "--health-fall", "2")
        process.wait_for_log("no check has succeeded yet")
        # Nobody accepts the connections of the checks.
        with socket.create_server(("127.0.0.1", self.port), backlog=4096):
            process.wait_for_log(f"Serving on {self.address}")
            self.assertTrue(self.is_there())
        self.wait_until_gone()
        process.signal(signal.SIGTERM)
        self.assertEqual(process.wait(), 0)

    def test_it_runs_as_a_daemon(self) -> None:
        """The command runs below the daemon, which ends with it."""
        folder = os.path.join(self.folder, "daemon")
        os.makedirs(folder)
        pidfile = os.path.join(folder, "pid")
        command = [sys.executable, PROGRAM, str(self.port), self.folder]
        words = self.words("--health-tcp", "--health-interval", "50", "--", *command)
        subprocess.run(
            [*TWISTD, "--pidfile", pidfile, "--logfile", "log", *words],
            cwd=folder,
            env=Twistd.environment(),
            timeout=TIMEOUT,
            check=True,
        )
        pid = int(wait_for("the pid file", lambda: Path(pidfile).read_text()))
        self.addCleanup(end, pid)
        wait_for("it is registered", self.is_there)
        os.kill(pid, signal.SIGTERM)
        self.wait_for_end(pid)
        self.assertEqual(list(self.signals()), ["SIGTERM"])
        self.assertFalse(self.is_there())

    def test_a_command_that_is_no_program_ends_it(self) -> None:
        """Before anything is registered, with one line; what cannot be executed exits with 126."""
        process = self.start("--", "no-such-program")
        self.assertEqual(process.wait(), 1)
        self.assertIn("'no-such-program' is not found or not executable", process.log())
        broken = Path(self.folder, "broken")
        broken.write_bytes(b"\x7fELF")
        broken.chmod(0o755)
        process = self.start("--", str(broken))
        self.assertEqual(process.wait(), 126)
        self.assertIn(f"zkregister: {broken}: Exec format error", process.log())


def end(pid: int) -> None:
    """End a process, if it is there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
