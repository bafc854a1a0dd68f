"""``twistd zkserve --processes``: workers that die, hang, are reloaded and recycled, under load.

With a real ZooKeeper where there is one, else with the embedded server in a process of its own.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import tempfile
import time
from collections import Counter
from pathlib import Path

from typing_extensions import override

from tests.certificates import Authority
from tests.functional.processes import (
    TIMEOUT,
    Twistd,
    conversation,
    fetch,
    received,
    runs,
    told,
    wait_for,
    write_module,
)
from tests.functional.reliability import PROVIDERS, UNHURRIED, ReliabilityCase, SharedApacheCase
from zkservice.testing.apache import skip_without_apache

APP = """
import logging, os, time

RELEASE = {release!r}
{broken}

def misuse(data):
    import gc
    from twisted.internet import reactor
    from zkservice.supervisor.channel import Channel
    (channel,) = [found for found in gc.get_objects() if isinstance(found, Channel)]
    reactor.callFromThread(channel.transport.write, data)

def hang():
    time.sleep(600)

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/hang":
        from twisted.internet import reactor
        reactor.callFromThread(hang)
    if path == "/misuse":
        misuse(environ["wsgi.input"].read())
    if path == "/slow":
        time.sleep(1.5)
    if path == "/log":
        print("printed")
        try:
            raise ValueError("empty till")
        except ValueError:
            logging.getLogger("shop").exception("it failed")
    if path == "/upload":
        body = str(len(environ["wsgi.input"].read())).encode()
    else:
        body = f"{{RELEASE}} {{os.getpid()}}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""


#: Figures that cannot be added up.
MISFITS = {"http": "none"}
UPLOAD = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n"


class ProcessesCase(ReliabilityCase):
    """A service of two workers."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.write("one")

    def write(self, release: str, broken: str = "") -> None:
        """Put a release of the application in place."""
        write_module(self.folder / "app.py", APP.format(release=release, broken=broken))

    def start(self, *words: str, processes: int = 2) -> Twistd:
        """A registered service of the application in the folder."""
        process = Twistd(
            str(self.folder),
            *("zkserve", "--zookeeper", self.hosts(), "--path", PROVIDERS),
            *("--host", "127.0.0.1", "--processes", str(processes), "--status-views", *words),
            *("--monitor", "127.0.0.1:0", "app:app"),
        )
        self.addCleanup(process.end)
        self.monitor = process.wait_for_log(r"The monitor listens at (\S+)").group(1)
        self.address = process.wait_for_log(r"Serving on (\S+)\n").group(1)
        self.process = process
        if processes > 1:
            self.until_serving(processes)
        return process

    def workers(self) -> dict[str, int]:
        """The processes of the workers that serve, by name."""
        found = json.loads(self.ask("workers --json"))
        return {one["name"]: one["pid"] for one in found if one["state"] == "serving"}

    def until_serving(self, count: int) -> dict[str, int]:
        """Wait until so many workers serve."""

        def look() -> dict[str, int] | None:
            found = self.workers()
            return found if len(found) == count else None

        return wait_for(f"{count} workers", look)

    def until_gone(self, pid: int) -> None:
        """Wait until a worker is no longer among those that serve."""
        wait_for(f"{pid} is gone", lambda: pid not in self.workers().values())

    def until_ended(self, pid: int) -> None:
        """Wait until there is no such process."""
        wait_for(f"the end of {pid}", lambda: not runs(pid))

    def until_released(self, release: str) -> None:
        """Wait until new connections get this release."""
        wait_for(release, lambda: self.release() == release)

    def release(self) -> str:
        """What a new connection gets."""
        return fetch(self.address)[1].decode().partition(" ")[0]

    def ask(self, line: str) -> str:
        """A command of the monitor."""
        return told(self.monitor, line)

    def until_replaced(self, before: dict[str, int], count: int = 1) -> None:
        """Wait until as many workers serve as before, and so many of them are others."""

        def replaced() -> bool:
            now = self.workers()
            return len(now) == len(before) and len(now.items() - before.items()) == count

        wait_for(f"{count} others", replaced)


class SpreadTests(ProcessesCase):
    """Which worker serves what."""

    def test_kept_connections_are_spread_evenly(self) -> None:
        """64 that are opened at once: 16 for each of 4 workers."""
        self.start(processes=4)
        host, _, port = self.address.rpartition(":")
        connections = [
            http.client.HTTPConnection(host, int(port), timeout=TIMEOUT) for _ in range(64)
        ]
        try:
            for connection in connections:
                connection.connect()
            pids: Counter[bytes] = Counter()
            for connection in connections:
                connection.request("GET", "/")
                pids[connection.getresponse().read().split()[-1]] += 1
        finally:
            for connection in connections:
                connection.close()
        self.assertEqual(sorted(pids.values()), [16, 16, 16, 16])

    def test_tls_and_unix_sockets_are_served_by_workers(self) -> None:
        """What wraps a connection is the worker's; the parent passes it on as it is."""
        pem = Authority(self.mktemp()).issue("localhost")
        folder = tempfile.mkdtemp()  # a short name: that of a Unix socket has 107 bytes at most
        self.addCleanup(shutil.rmtree, folder)
        path = Path(folder) / "app.sock"
        process = Twistd(
            str(self.folder),
            *("zkserve", "--zookeeper", self.hosts(), "--path", PROVIDERS, "--processes", "2"),
            *("--listen", f"ssl:0:privateKey={pem}:interface=127.0.0.1"),
            *("--listen", f"unix:{path}"),
            "app:app",
        )
        self.addCleanup(process.end)
        address = process.wait_for_log(r"Serving on (\S+)\n").group(1)
        host, _, port = address.rpartition(":")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection((host, int(port)), TIMEOUT) as plain,
            context.wrap_socket(plain) as secure,
        ):
            self.assertIn(b"200 OK", conversation(secure, b"GET / HTTP/1.0\r\n\r\n"))
        with socket.socket(socket.AF_UNIX) as local:
            local.connect(str(path))
            self.assertIn(b"200 OK", conversation(local, b"GET / HTTP/1.0\r\n\r\n"))


class LifeTests(ProcessesCase):
    """Workers that end, and what it costs."""

    def test_a_killed_worker_loses_only_what_it_served(self) -> None:
        """It is replaced at once, the address stays, and no other request is lost."""
        self.start()
        with self.load():
            for _ in range(3):
                (victim, *_) = self.until_serving(2).values()
                os.kill(victim, signal.SIGKILL)
                self.process.wait_for_log(rf"process {victim}\)")
                self.until_gone(victim)
        self.until_serving(2)
        self.saw()
        # Each kill can cost what runs on the kept connections of that worker: 6 clients.
        self.assertLessEqual(len(self.last.counts.lost), 3 * 6)
        self.assertEqual((self.last.counts.refused, self.last.without), (0, 0))

    def test_a_stuck_worker_is_killed_and_its_stack_is_logged(self) -> None:
        """Its reactor has not turned for --worker-timeout."""
        self.start("--worker-timeout", "5000")
        before = self.until_serving(2)
        with contextlib.suppress(ConnectionError):
            fetch(self.address, "/hang")
        self.process.wait_for_log(r"has not turned for 5 s")
        self.process.wait_for_log(r"the stacks of its threads\n\t.*\n(\t.*\n)+\t.*app.py")
        self.until_replaced(before)

    def test_a_worker_that_misuses_its_channel_is_killed(self) -> None:
        """One line in the log, another worker, and the parent goes on."""
        self.start()
        for message, reason in (
            ({"type": "Closed", "count": -1}, "Closed.count is invalid"),
            (
                {**{"type": "Beat", "requests": 1, "in_service": 0, "rss": 1}, "figures": MISFITS},
                "invalid figures",
            ),
            ({"type": "Ask", "number": 1, "what": "secrets"}, "an invalid request"),
        ):
            before = self.until_serving(2)
            data = json.dumps(message).encode()
            with contextlib.suppress(OSError, http.client.HTTPException):
                fetch(self.address, "/misuse", body=struct.pack(">I", len(data)) + data)
            self.process.wait_for_log(f"it has misused its channel: {reason}")
            self.until_replaced(before)
        self.assertNotIn("Traceback", self.process.log())

    def test_workers_end_with_a_killed_parent(self) -> None:
        """kill -9 of the parent leaves no process behind."""
        self.start()
        pids = self.until_serving(2).values()
        os.kill(self.process.pid, signal.SIGKILL)
        for pid in pids:
            self.until_ended(pid)

    def test_an_application_that_cannot_be_loaded_ends_the_service(self) -> None:
        """With one line that says why, and exit code 1."""
        self.write("one", "import no_such_module")
        process = Twistd(
            str(self.folder),
            *("zkserve", "--zookeeper", self.hosts(), "--path", PROVIDERS, "--processes", "2"),
            *("--host", "127.0.0.1", "app:app"),
        )
        self.addCleanup(process.end)
        self.assertEqual(process.wait(), 1)
        self.assertRegex(process.log(), r"zkserve: no worker can start: .*no_such_module")
        self.assertNotIn("Serving on", process.log())
        self.assertNotIn("Traceback", process.log())

    def test_signals_to_the_whole_group_lose_nothing(self) -> None:
        """Ctrl-C reaches the workers as well, and so does systemd's SIGTERM; the parent decides."""
        self.start(*UNHURRIED)
        pids = [self.process.pid, *self.until_serving(2).values()]
        with self.load(12) as scene:
            for pid in pids[1:]:
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    os.kill(pid, number)
            os.kill(pids[0], signal.SIGINT)
            scene.gone()
            self.assertEqual(self.process.wait(), 0)
        self.saw()
        self.assertEqual((self.last.counts.lost, self.last.counts.errors), ([], 0))

    def test_sigterm_of_the_service_loses_nothing(self) -> None:
        """Clients that follow the address are answered until the end."""
        self.start(*UNHURRIED)
        with self.load(12) as scene:
            self.process.signal(signal.SIGTERM)
            scene.gone()
            self.assertEqual(self.process.wait(), 0)
        self.saw()
        self.assertEqual((self.last.counts.lost, self.last.counts.errors), ([], 0))


class ReloadTests(ProcessesCase):
    """New code, without a restart."""

    def test_ten_reloads_lose_no_request(self) -> None:
        """Under load, with connections that are kept; the znode never goes."""
        self.start()
        with self.load():
            for number in range(10):
                self.write(f"release-{number}")
                self.process.signal(signal.SIGHUP)
                self.until_released(f"release-{number}")
        self.saw()
        self.assert_all_answered()
        self.assertEqual(self.last.without, 0)

    def test_a_slow_request_and_an_upload_outlast_a_reload(self) -> None:
        """What has begun on an old worker is finished there."""
        self.start()
        host, _, port = self.address.rpartition(":")
        with (
            socket.create_connection((host, int(port)), TIMEOUT) as slow,
            socket.create_connection((host, int(port)), TIMEOUT) as upload,
        ):
            slow.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            upload.sendall(UPLOAD + b"x" * 20)
            self.write("two")
            self.process.signal(signal.SIGHUP)
            self.until_released("two")
            upload.sendall(b"x" * 20)
            received(slow, rb"\r\n\r\none ")
            received(upload, rb"\r\n\r\n40$")

    def test_code_that_cannot_be_loaded_leaves_the_old_workers(self) -> None:
        """The log says why."""
        self.start()
        before = self.until_serving(2)
        self.write("two", "this is no Python")
        self.process.signal(signal.SIGHUP)
        self.process.wait_for_log(
            r"reload failed: worker \d+ cannot start: .*; keeping the old workers"
        )
        self.assertEqual(self.release(), "one")
        self.assertEqual(self.workers(), before)


class ScaleTests(ProcessesCase):
    """More and fewer workers."""

    def test_signals_change_the_number(self) -> None:
        """TTIN is one more, TTOU one less, as gunicorn has them."""
        self.start()
        self.process.signal(signal.SIGTTIN)
        self.until_serving(3)
        self.process.signal(signal.SIGTTOU)
        self.until_serving(2)
        self.process.signal(signal.SIGTTOU)
        self.until_serving(1)

    def test_the_monitor_shows_and_changes_them(self) -> None:
        """workers, workers add, workers remove."""
        self.start()
        shown = self.ask("workers")
        self.assertIn("2 wanted\n", shown)
        self.assertEqual(shown.count("serving"), 2)
        self.assertEqual(self.ask("workers add 2"), "4 wanted\n")
        self.until_serving(4)
        self.assertEqual(self.ask("workers remove 3"), "1 wanted\n")
        self.until_serving(1)
        self.assertIn("error: write workers", self.ask("workers more"))
        status = json.loads(self.ask("status"))
        self.assertEqual(status["registration"], "registered")


class RecyclingTests(ProcessesCase):
    """Fresh workers."""

    def test_workers_are_replaced_after_so_many_requests(self) -> None:
        """Under load, and nothing is lost."""
        self.start("--max-requests", "200")
        before = set(self.until_serving(2).values())
        with self.load(6):
            wait_for("both are replaced", lambda: not before & set(self.workers().values()))
        self.saw()
        self.assert_all_answered()
        self.assertEqual(self.last.without, 0)

    def test_a_single_process_ends_for_its_supervisor(self) -> None:
        """It drains and deregisters first, and nothing is lost; the exit code is 0."""
        process = self.start("--max-requests", "100", processes=1)
        with self.load(3) as scene:
            self.assertEqual(process.wait(), 0)
            scene.gone()
        self.saw()
        self.assertEqual(self.last.counts.lost, [])
        self.assertRegex(process.log(), r"Ending: recycling: \d+ requests")

    def test_members_of_a_fleet_are_recycled_one_after_the_other(self) -> None:
        """--recycle-together 1: a semaphore in ZooKeeper lets one in."""
        client = self.kazoo()
        leases = f"{PROVIDERS}-recycling"
        client.ensure_path(PROVIDERS)
        client.ensure_path(leases)
        words = [
            *("zkserve", "--zookeeper", self.hosts(), "--path", PROVIDERS, "--host", "127.0.0.1"),
            *("--max-age", "4", "--recycle-together", "1", "--drain-wait", "1500", "app:app"),
        ]
        processes = [Twistd(str(self.folder), *words) for _ in range(2)]
        for process in processes:
            self.addCleanup(process.end)
        seen: set[int] = set()
        while any(process.process.poll() is None for process in processes):
            seen.add(len(client.get_children(leases)))
            time.sleep(0.01)
        self.assertEqual([process.wait() for process in processes], [0, 0])
        # Of the same age, both would have been gone while they waited for clients to hear of it.
        self.assertEqual(seen, {0, 1})


class ViewTests(ProcessesCase):
    """One view of all."""

    def test_views_show_the_whole(self) -> None:
        """Whichever worker is asked: sums, and each worker."""
        self.start("--metrics")
        for _ in range(20):
            fetch(self.address)
        wait_for("all are counted", lambda: self.counted() >= 20)
        wait_for("both", lambda: fetch(self.address, "/-/threads")[1].count(b"(process ") == 2)
        self.assertEqual(fetch(self.address, "/-/ready"), (200, b"ready\n"))

    def test_a_draining_service_is_alive_and_not_ready(self) -> None:
        """A liveness probe must not have it killed before its connections are done."""
        self.start("--limit", "drain-linger=20000")
        host, _, port = self.address.rpartition(":")
        with (
            socket.create_connection((host, int(port)), TIMEOUT) as first,
            socket.create_connection((host, int(port)), TIMEOUT) as second,
        ):
            for kept in (first, second):
                kept.sendall(b"GET /-/ready HTTP/1.1\r\nHost: a\r\n\r\n")
                received(kept, rb" 200 (.|\n)*ready\n$")
            self.process.signal(signal.SIGTERM)
            self.process.wait_for_log("Finishing the requests that run")
            first.sendall(b"GET /-/health HTTP/1.1\r\nHost: a\r\n\r\n")
            received(first, rb"(?s) 200 .*\r\n\r\ndraining\n")
            second.sendall(b"GET /-/ready HTTP/1.1\r\nHost: a\r\n\r\n")
            received(second, b" 503 ")
        self.assertEqual(self.process.wait(), 0, self.process.log())

    def test_counters_do_not_go_back_when_a_worker_dies(self) -> None:
        """Prometheus would take that for a restart."""
        self.start("--metrics")
        for _ in range(20):
            fetch(self.address)
        wait_for("all are counted", lambda: self.counted() >= 20)
        for pid in self.until_serving(2).values():
            os.kill(pid, signal.SIGKILL)
            self.until_gone(pid)
        self.until_serving(2)
        self.assertGreaterEqual(self.counted(), 20)

    def counted(self) -> int:
        """The requests that were answered with 200; each view has the workers tell theirs."""
        text = fetch(self.address, "/-/metrics")[1]
        found = re.search(rb'responses_total{method="GET",status="200"} (\d+)', text)
        return int(found[1]) if found else 0

    def test_what_the_application_prints_and_logs_is_in_the_log(self) -> None:
        """Also its tracebacks, of any number of workers: a daemon has no other standard error."""
        for processes in (1, 2):
            process = self.start("--loggers", "INFO", processes=processes)
            fetch(self.address, "/log")
            process.wait_for_log(r"\[stdout#info\] (worker \d: )?printed\n")
            process.wait_for_log(
                r"\[shop#error\] (worker \d: )?it failed\n\tTraceback.*\n(\t.*\n)*"
                r"\t.*ValueError: empty till\n"
            )
            process.end()

    def test_one_access_log_has_whole_lines_of_all_workers(self) -> None:
        """Also after it was moved away."""
        log = self.folder / "access.log"
        self.start("--access-log", str(log))
        with self.load(6) as scene:
            log.rename(self.folder / "old.log")
            self.process.signal(signal.SIGHUP)
            wait_for("a new file", lambda: log.exists() and log.stat().st_size > 2000)
        sent = scene.counts.sent

        def complete() -> list[str]:
            lines = (self.folder / "old.log").read_text() + log.read_text()
            return [line for line in lines.splitlines() if '"GET / HTTP/1.1" 200' in line]

        wait_for("all are logged", lambda: len(complete()) >= sent)
        for line in complete():
            self.assertRegex(line, r'^127\.0\.0\.1 - - \[.*\] "GET / HTTP/1\.1" 200 .*$')


@skip_without_apache
class ApacheTests(SharedApacheCase, ProcessesCase):
    """With Apache ZooKeeper: the life of the one registration."""

    def test_a_reload_keeps_the_znode_and_sigterm_removes_it(self) -> None:
        """Under load; nothing is lost, and the znode has one owner throughout."""
        self.start()
        client = self.kazoo()
        path = f"{PROVIDERS}/{self.address}"
        owner = client.get(path)[1].ephemeralOwner
        with self.load() as scene:
            self.write("two")
            self.process.signal(signal.SIGHUP)
            self.until_released("two")
            self.assertEqual(client.get(path)[1].ephemeralOwner, owner)
            self.process.signal(signal.SIGTERM)
            scene.gone()
            self.assertEqual(self.process.wait(), 0)
        self.saw()
        self.assertEqual((self.last.counts.lost, self.last.counts.errors), ([], 0))
