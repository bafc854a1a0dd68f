"""The main job, with real processes: ``twistd zkserve`` on either ZooKeeper."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.functional import contract
from tests.functional.processes import (
    SLOW,
    TIMEOUT,
    EmbeddedProcess,
    Twistd,
    descriptors_of,
    fetch,
    started_kazoo,
    threads_of,
    wait_for,
)
from zkservice.testing.apache import ApacheZooKeeper, skip_without_apache

HERE = os.path.dirname(os.path.abspath(__file__))
EXAMPLES = os.path.join(os.path.dirname(os.path.dirname(HERE)), "examples")
FLASK = os.path.join(EXAMPLES, "flask_app.py")
PROVIDERS = "/svc/providers"


class EmbeddedServeTests(contract.ServeContract):
    """On ``twistd zkembedded``."""

    def make_server(self) -> EmbeddedProcess:
        """The embedded server, as a process of its own."""
        return EmbeddedProcess(self.mktemp())


@skip_without_apache
class ApacheServeTests(contract.ServeContract):
    """On Apache's ZooKeeper."""

    def make_server(self) -> ApacheZooKeeper:
        """The real server."""
        return ApacheZooKeeper()


class OneCommandTests(SynchronousTestCase):
    """``twistd zkserve`` alone."""

    def serve(self, *words: str) -> Twistd:
        """A process that ends with the test."""
        process = Twistd(self.mktemp(), "zkserve", *words, environ={"ZC_ZK_CONNECTION_STRING": ""})
        self.addCleanup(process.end)
        return process

    def test_without_a_zookeeper_it_brings_its_own(self) -> None:
        """Without any ZooKeeper it brings its own, loudly, and others can use it."""
        process = self.serve("--path", "/svc", "--host", "127.0.0.1", FLASK)
        hosts = process.wait_for_log(r"embedded ZooKeeper runs in this process at (\S+);").group(1)
        address = process.wait_for_log(r"Serving on (\S+)").group(1)
        client = started_kazoo(self, hosts)
        self.assertEqual(client.get_children("/svc"), [address])
        self.assertEqual(fetch(address)[0], 200)
        client.stop()
        process.signal(signal.SIGTERM)
        self.assertEqual(process.wait(), 0, process.log())

    def test_what_cannot_be_served_is_one_line(self) -> None:
        """What cannot be served is one clear line that names it, and exit code 1."""
        folder = self.mktemp()
        os.mkdir(folder)
        broken = os.path.abspath(os.path.join(folder, "broken.wsgi"))
        with open(broken, "w") as file:
            file.write("import no_such_module\n")
        empty = os.path.abspath(os.path.join(folder, "empty.wsgi"))
        with open(empty, "w") as file:
            file.write("app = 1\n")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            for words, expected in {
                ("missing.wsgi",): r"zkserve: the application file \S*missing.wsgi does not exist",
                (broken,): rf"zkserve: {broken} could not be loaded: .*no_such_module",
                (empty,): rf"zkserve: {empty} has no global named 'application'",
                ("no_such:app",): r"zkserve: no_such:app could not be loaded: .*'no_such'",
                ("--host", "127.0.0.1", "--port", port, FLASK): "zkserve: cannot listen at tcp:"
                rf"{port}\S* .* in use",
            }.items():
                process = self.serve("--path", "/svc", "-z", "127.0.0.1:1", *words)
                self.assertEqual(process.wait(), 1, process.log())
                self.assertRegex(process.log(), expected)
                self.assertNotIn("Traceback", process.log())

    @contextmanager
    def running(self, *words: str) -> Iterator[tuple[Twistd, Path, socket.socket]]:
        """A service, a file that lets its request go on, and the client of that request."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "slow.wsgi").write_text(SLOW)
        start = ("zkserve", "--zookeeper", "embedded", "--path", "/svc", "--host", "127.0.0.1")
        process = Twistd(str(folder), *start, *words, "slow.wsgi")
        self.addCleanup(process.end)
        host, _, port = process.wait_for_log(r"Serving on (\S+)").group(1).rpartition(":")
        with socket.create_connection((host, int(port)), TIMEOUT) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_for("it runs", (folder / "begun").exists)
            process.signal(signal.SIGTERM)
            process.wait_for_log("Finishing the requests that run")
            self.assertIsNone(process.process.poll())
            yield process, folder / "go", client

    def test_a_second_sigterm_does_not_wait(self) -> None:
        """A second SIGTERM does not wait for the request that runs."""
        with self.running("--drain-timeout", "600000") as (process, _, _):
            process.signal(signal.SIGTERM)
            self.assertEqual(process.wait(), 0, process.log())

    def test_running_requests_finish(self) -> None:
        """A request that runs at SIGTERM is answered."""
        with self.running() as (process, go, client):
            go.touch()
            answer = b"".join(iter(lambda: client.recv(4096), b""))
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer)
        self.assertEqual(process.wait(), 0, process.log())

    def test_nothing_is_lost_or_left_behind(self) -> None:
        """200 requests of several clients are answered; half a request leaves nothing."""
        process = self.serve("--path", "/svc", "--host", "127.0.0.1", FLASK)
        address = process.wait_for_log(r"Serving on (\S+)").group(1)
        fetch(address)
        threads, descriptors = threads_of(process.pid), descriptors_of(process.pid)
        urls = [word for n in range(25) for word in ("-o", "/dev/null", f"http://{address}/?n={n}")]
        curl = ["curl", "-sS", "-w", "%{http_code}\n", *urls]
        clients = [
            subprocess.Popen(curl, stdout=subprocess.PIPE)
            for _ in range(8 if shutil.which("curl") else 0)
        ]
        statuses = b"".join(client.communicate(timeout=TIMEOUT)[0] for client in clients).split()
        self.assertEqual(statuses, [b"200"] * 25 * len(clients))
        for _ in range(20):
            self.assertEqual(fetch(address)[0], 200)
        if shutil.which("wrk"):
            load = [
                "wrk",
                "-c",
                "16",
                "-t",
                "2",
                "-d",
                "2s",
                "--timeout",
                "60s",
                f"http://{address}/",
            ]
            done = subprocess.run(load, capture_output=True, check=True, timeout=TIMEOUT)
            said = done.stdout.decode()
            self.assertNotIn("Non-2xx", said)
            self.assertNotIn("Socket errors", said)
        host, _, port = address.rpartition(":")
        for _ in range(20):
            with socket.create_connection((host, int(port)), TIMEOUT) as client:
                client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
        wait_for("all is closed", lambda: descriptors_of(process.pid) <= descriptors, 5.0)
        self.assertEqual(threads_of(process.pid), threads)
        self.assertEqual(fetch(address)[0], 200)
