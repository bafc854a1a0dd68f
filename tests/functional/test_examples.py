"""The programs and files in the folder ``examples`` do what they are for."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from textwrap import indent
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.functional.pages import DOCS
from tests.functional.processes import (
    TIMEOUT,
    TWISTD,
    EmbeddedProcess,
    Twistd,
    fetch,
    free_port,
    wait_for,
)

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

    def start(self, name: str, *words: str, **environ: str) -> subprocess.Popen[bytes]:
        """Start another program in the copy; its output goes into NAME.log."""
        with open(self.folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen(
                words,
                cwd=self.folder,
                env={**Twistd.environment(), **environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process: subprocess.Popen[bytes]) -> None:
        """End it, if a test has not."""
        if process.poll() is None:
            process.kill()
            process.wait(TIMEOUT)

    def output(self, name: str) -> str:
        """Return what a program has printed."""
        path = self.folder / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def with_copy(self) -> dict[str, str]:
        """Return the variable with which Python finds the modules of the copy, too."""
        return {"PYTHONPATH": f"{Twistd.environment()['PYTHONPATH']}:{self.folder}"}

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
            ["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=TIMEOUT
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
        self.assertIn(b"Flask", fetch(address, timeout=TIMEOUT)[1])
        wait_for("it is registered", lambda: self.resolve("/svc/shop") == [address])


class TwistedApplicationTests(ExampleTestCase):
    """A Twisted application, visited through the agent."""

    example = "twisted-app"

    def test_two_processes_count_together_and_one_leads(self) -> None:
        """Requests go to both of them; when the leader stops, the other one leads."""
        environ = {"ZC_ZK_CONNECTION_STRING": self.zookeeper, **self.with_copy()}
        both = [self.twistd("--python", "visitors.tac", **environ) for _ in range(2)]
        for process in both:
            process.wait_for_log("registered at")
        wait_for("one leads", lambda: any("the leader" in each.log() for each in both))
        visits = self.visit(12)
        numbers = re.findall(r"visitor (\d+), ", visits)
        self.assertEqual(sorted(map(int, numbers)), list(range(1, 13)))
        self.assertIn("2 providers, responses by status: {200: 12}", visits)
        self.assertIn("leader", visits)
        self.assertIn("follower", visits)

        leader, other = sorted(both, key=lambda each: "the leader" not in each.log())
        leader.signal(signal.SIGTERM)
        self.assertEqual(leader.wait(), -signal.SIGTERM)  # how twistd ends
        other.wait_for_log("this process is the leader")
        self.assertRegex(self.visit(1), r"^visitor 13, leader\n1 providers")
        other.signal(signal.SIGTERM)
        other.wait()
        for process in both:
            self.assertIn("Server Shut Down", process.log())
            self.assertNotIn("Traceback", process.log())

    def visit(self, count: int) -> str:
        """Run the program of the example ``agent``."""
        program = EXAMPLES / "agent" / "visit.py"
        done = subprocess.run(
            [sys.executable, str(program), self.zookeeper, "/svc/visitors", str(count)],
            env=Twistd.environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        self.assertEqual(done.stderr, "")
        return done.stdout


class JobTests(ExampleTestCase):
    """The job runner."""

    example = "jobs"

    def test_jobs_are_done_and_another_worker_plans_when_the_first_is_gone(self) -> None:
        """Each job is done; the elected worker plans; SIGTERM ends a worker in good order."""
        first = self.run_program("work", "host-1")
        wait_for("host-1 plans", lambda: "host-1 plans" in self.output("host-1"))
        second = self.run_program("work", "host-2")
        wait_for("host-2 is ready", lambda: "host-2 is ready" in self.output("host-2"))
        for number in range(4):
            self.assertEqual(self.run_program("put", f"alice: invoice {number}").wait(TIMEOUT), 0)
        wait_for("the jobs are done", lambda: len(self.done()) == 4)
        first.terminate()
        self.assertEqual(first.wait(TIMEOUT), 0, self.output("host-1"))
        wait_for("host-2 plans", lambda: "host-2 plans" in self.output("host-2"))
        second.terminate()
        self.assertEqual(second.wait(TIMEOUT), 0, self.output("host-2"))
        self.assertEqual(self.done(), [f"invoice {number}" for number in range(4)])

    def run_program(self, command: str, word: str) -> subprocess.Popen[bytes]:
        """Start the program; its output is in a file of the second word's name."""
        return self.start(word, sys.executable, "jobs.py", self.zookeeper, command, word)

    def done(self) -> list[str]:
        """Return the jobs for alice that were done."""
        text = self.output("host-1") + self.output("host-2")
        return sorted(re.findall(r"does (.*) for alice", text))


class PasteTests(ExampleTestCase):
    """The PasteDeploy file."""

    example = "paste"

    def test_pserve_serves_it(self) -> None:
        """``pserve deploy.ini`` registers the application and serves it."""
        path = self.folder / "deploy.ini"
        address = f"127.0.0.1:{free_port()}"
        text = path.read_text().replace("zk1:2181,zk2:2181", self.zookeeper)
        text = text.replace("port = 8080", f"host = 127.0.0.1\nport = {address[10:]}")
        path.write_text(text)
        pserve = str(Path(sys.executable).with_name("pserve"))
        process = self.start("pserve", pserve, "deploy.ini", **self.with_copy())
        wait_for("it is registered", lambda: self.resolve("/svc/shop") == [address])
        self.assertEqual(fetch(address), (200, b"Welcome to the shop.\n"))
        process.terminate()
        process.wait(TIMEOUT)
        self.assertEqual(self.resolve("/svc/shop"), [])

    def test_the_page_shows_these_files(self) -> None:
        """docs/howto/pyramid.rst has the same text, so that it can be typed from there."""
        page = (DOCS / "howto" / "pyramid.rst").read_text()
        for name in ("shop.py", "deploy.ini"):
            self.assertIn(indent((self.folder / name).read_text(), "    "), page)


class TestingTests(ExampleTestCase):
    """The test suites of an application."""

    example = "testing"

    def run_suite(self, *words: str) -> str:
        """Run one of them in the copy, and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=self.folder,
            env=Twistd.environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        return done.stdout + done.stderr

    def test_the_suite_for_trial_passes(self) -> None:
        """All of its tests."""
        self.assertIn("PASSED (successes=4)", self.run_suite("twisted.trial", "test_flags_trial"))

    def test_the_suite_for_pytest_passes(self) -> None:
        """All of its tests."""
        self.assertIn("3 passed", self.run_suite("pytest", "test_flags_pytest.py"))


class DockerTests(ExampleTestCase):
    """What the image would run, without the image."""

    example = "docker"

    def test_the_entry_point_serves(self) -> None:
        """The variables and the command of the Dockerfile make a service that is registered."""
        text = (self.folder / "Dockerfile").read_text()
        environ = dict(re.findall(r"\b(ZKSERVE_\w+)=(\S+)", text))
        found = re.search(r'^ENTRYPOINT \["/venv/bin/twistd", (.*)\]$', text, re.MULTILINE)
        assert found is not None
        words = [word.strip('" ') for word in found[1].split(",")]
        self.assertEqual(words[:2], ["-n", "--pidfile="])  # Twistd adds these
        port = str(free_port())
        words = [port if word == "8080" else word for word in words[2:]]
        service = self.twistd(
            *(*words, "--host", "127.0.0.1"), **environ, ZKSERVE_ZOOKEEPER=self.zookeeper
        )
        address = service.wait_for_log(r"Serving on (\S+)\n").group(1)
        self.assertIn(b"Hello from", fetch(address)[1])
        self.assertEqual(fetch(address, "/-/health")[0], 200)
