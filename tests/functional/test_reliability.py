"""What clients see when something goes wrong: a real ``twistd zkserve`` on a real ZooKeeper,
under load.

Each test asserts what is promised, and says what it saw: these are the rows of
docs/reliability.rst.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import threading
import time
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from typing_extensions import override

from tests.functional.load import Proxy
from tests.functional.processes import (
    TIMEOUT,
    TWISTD,
    Twistd,
    fetch,
    free_port,
    threads_of,
    told,
    wait_for,
)
from tests.functional.reliability import (
    LONG,
    PROVIDERS,
    ROOT,
    SHORT,
    UNHURRIED,
    ApacheCase,
    ReliabilityCase,
    SharedApacheCase,
    timed,
)
from zkservice.testing.apache import ApacheEnsemble, skip_without_apache


class OwnerCase(ReliabilityCase):
    """What the znodes of services say."""

    def owner(self, client: KazooClient, address: str) -> int:
        """The session that owns an address; 0 if there is none."""
        stat = client.exists(f"{PROVIDERS}/{address}")
        return 0 if stat is None else int(stat.ephemeralOwner)

    def pid_of(self, client: KazooClient, address: str) -> int:
        """The process that has registered an address; 0 if there is none."""
        try:
            return int(json.loads(client.get(f"{PROVIDERS}/{address}")[0])["pid"])
        except NoNodeError:
            return 0

    def assert_lost_only_at_the_door(self, clients: int) -> None:
        """Only connections that had not been accepted yet were lost.

        When the port closes, each client may have one connection in the kernel's queue.
        """
        lost = self.last.counts.lost
        self.assertLessEqual(len(lost), clients, lost)
        self.assertTrue(all(one.startswith("ConnectionResetError ") for one in lost), lost)
        self.assertEqual(self.last.counts.errors, 0)


@skip_without_apache
class ZooKeeperFaultTests(ApacheCase, OwnerCase):
    """On one server, which is stopped and killed."""

    def test_expiry(self) -> None:
        """Cut off until its session has expired, it serves on; it is back when the network is."""
        proxy = Proxy(self.server.port)
        self.addCleanup(proxy.close)
        self.serve(hosts=proxy.connection_string, session=SHORT)
        with self.load() as scene:
            proxy.cut()
            gone = scene.gone()
            time.sleep(0.5)
            proxy.heal()
            back = scene.back()
        self.saw(gone=gone, back=back)
        self.assert_all_answered()

    def test_zookeeper_down(self) -> None:
        """Without any ZooKeeper for longer than a session it serves on, and keeps its address."""
        session = 4 * SHORT  # the old one must not end before the new one is there
        proxy = Proxy(self.server.port)
        self.addCleanup(proxy.close)
        self.serve(session=session, hosts=proxy.connection_string)
        with self.load() as scene:
            self.server.kill()
            time.sleep(1.5 * session / 1000)
            # A connection that Java accepts before it is ready may get no reply until it is late.
            proxy.cut()
            self.server.start()
            proxy.heal()
            client = self.kazoo()
            address = scene.observer.addresses[0]
            wait_for("it is there", lambda: self.owner(client, address))
            time.sleep(1.5 * session / 1000)
            self.assertNotEqual(self.owner(client, address), 0)
        self.saw()
        self.assert_all_answered()
        self.assertEqual(self.last.without, 0.0)

    def test_zookeeper_wiped(self) -> None:
        """A ZooKeeper that has lost its data, and counts from the beginning, gets the address."""
        client = self.kazoo()
        for _ in range(100):
            client.set("/", b"")  # so that the new server is far behind
        client.stop()
        self.serve(session=SHORT)
        with self.load() as scene:
            address = scene.observer.addresses[0]
            self.server.wipe()
            time.sleep(0.5)
            self.server.start()
            again = self.kazoo()
            # Nobody but the service can have made it in a ZooKeeper that was empty.
            back = timed("it is there again", lambda: self.owner(again, address) != 0)
        self.saw(back=back)
        self.assert_all_answered()

    def test_zookeeper_stalls(self) -> None:
        """A ZooKeeper that stops for longer than a session, and goes on: it is there, or back."""
        self.serve(session=SHORT)
        with self.load() as scene:
            pid = self.server.pid
            assert pid is not None
            address = scene.observer.addresses[0]
            os.kill(pid, signal.SIGSTOP)
            time.sleep(3.0)
            os.kill(pid, signal.SIGCONT)
            client = self.kazoo()
            wait_for("it is there", lambda: self.owner(client, address))
            time.sleep(2 * SHORT / 1000)
            wait_for("it is there, or back", lambda: self.owner(client, address))
        self.saw()
        self.assert_all_answered()

    def test_sigterm_without_zookeeper(self) -> None:
        """The end does not hang on a ZooKeeper that is away."""
        process = self.serve("--limit", "drain-linger=20000")
        with self.load(follow=False) as scene:
            self.server.kill()
            time.sleep(0.5)
            before = scene.counts
            began = time.monotonic()
            process.signal(signal.SIGTERM)
            self.assertEqual(process.wait(), 0, process.log())
            ended = time.monotonic() - began
        self.saw(ended=ended)
        self.assertEqual(before.failed, 0)
        self.assert_lost_only_at_the_door(6)


@skip_without_apache
class ReliabilityTests(SharedApacheCase, OwnerCase):
    """On one server, which is well."""

    # -- the session and the znodes ----------------------------------------------------

    def test_node_deleted(self) -> None:
        """Deleted by an operator, the address is back at once."""
        self.serve()
        client = self.kazoo()
        with self.load() as scene:
            address = scene.observer.addresses[0]
            owner = self.owner(client, address)
            client.delete(f"{PROVIDERS}/{address}")
            wait_for("it is back", lambda: self.owner(client, address) == owner)
        self.saw()
        self.assert_all_answered()

    def test_parents_deleted(self) -> None:
        """Deleted with all that is above it, the address is back at once."""
        self.serve()
        client = self.kazoo()
        with self.load() as scene:
            address = scene.observer.addresses[0]
            # At once: one after the other they would be back before the last is gone.
            deletion = client.transaction()
            for path in (f"{PROVIDERS}/{address}", PROVIDERS, "/reliability"):
                deletion.delete(path)
            self.assertEqual(deletion.commit(), [True, True, True])
            wait_for("it is back", lambda: self.owner(client, address))
        self.saw()
        self.assert_all_answered()

    def test_two_claim_one_address(self) -> None:
        """Of two processes with one address the first has it, the other says so and waits."""
        # It serves on until the clients have gone, since nothing else does at this address.
        first = self.serve("--port", str(port := free_port()), "--drain-wait", "60000")
        client = self.kazoo()
        address = f"127.0.0.1:{port}"
        owner = self.owner(client, address)
        command = self.words("--host", "127.0.0.1", "--advertise", address)
        second = Twistd(self.mktemp(), *command)
        self.addCleanup(second.end)
        with self.load() as scene:
            second.wait_for_log("held by another process")
            until = time.monotonic() + 2.0
            while time.monotonic() < until:  # neither takes the znode from the other
                self.assertEqual(self.owner(client, address), owner)
                time.sleep(0.01)
            self.assertEqual(scene.without, 0.0)
        first.signal(signal.SIGTERM)
        taken = timed("it changes", lambda: self.pid_of(client, address) == second.pid)
        self.saw(taken=taken)
        self.assert_all_answered()

    # -- the process ------------------------------------------------------------------------

    def test_stopped_and_continued(self) -> None:
        """Stopped past its session's end and continued, it answers all, and is back."""
        process = self.serve(session=SHORT)
        with self.load() as scene:
            process.signal(signal.SIGSTOP)
            scene.gone()
            time.sleep(0.5)
            process.signal(signal.SIGCONT)
            back = scene.back()
        self.saw(back=back)
        self.assert_all_answered()

    def test_killed_and_restarted(self) -> None:
        """Killed and started on the same port: the address stays, and outlives the old session."""
        words = ("--port", str(port := free_port()))
        first = self.serve(*words)
        client = self.kazoo()
        address = f"127.0.0.1:{port}"
        with self.load() as scene:
            old = self.owner(client, address)
            began = time.monotonic()
            first.signal(signal.SIGKILL)
            first.wait()
            second = self.serve(*words)
            restarted = time.monotonic() - began
            # By then the first one's session has expired.
            time.sleep(max(0.0, LONG / 1000 + 1.0 - restarted))
            self.assertNotIn(self.owner(client, address), (0, old))
            self.assertEqual(self.pid_of(client, address), second.pid)
            before = scene.counts
            time.sleep(0.5)
            after = scene.counts
        self.saw(restarted=restarted)
        # Each client can have had one request in the process when it was killed, and one more
        # in a connection that the kernel took before it closed the port.
        self.assertLessEqual(len(self.last.counts.lost), 12)
        if restarted < LONG / 2000:  # else the first session may have expired before
            self.assertEqual(self.last.without, 0.0)
        self.assertEqual((before.failed, before.errors), (after.failed, after.errors))

    def test_disk_full(self) -> None:
        """The service goes on serving when its log cannot be written."""
        logs = ("--access-log", "/dev/full", "--trace-log", "/dev/full")
        for log, full_too in (("--logfile", logs), ("stdout", ())):
            words = [*TWISTD, "-n", "--pidfile="]
            words += ["--logfile", "/dev/full"] if log == "--logfile" else []
            with open("/dev/full", "wb") as full:
                process = subprocess.Popen(
                    [*words, *self.words("--host", "127.0.0.1", *full_too)],
                    cwd=os.getcwd(),
                    env={**os.environ, "PYTHONPATH": ROOT},
                    stdin=subprocess.DEVNULL,
                    stdout=full,
                    stderr=full,
                )
            self.addCleanup(process.wait)
            self.addCleanup(process.kill)
            with self.load() as scene:
                address = scene.observer.addresses[0]
                for _ in range(20):  # each of them is logged
                    self.assertEqual(fetch(address, "/raise")[0], 500)
                time.sleep(0.5)
            self.saw(log=log)
            self.assert_all_answered()
            self.assertEqual(self.last.without, 0.0)
            process.terminate()
            process.wait(TIMEOUT)
            self.assertEqual(self.registered(), [])

    def registered(self) -> list[str]:
        """The addresses of the test's znode."""
        if not hasattr(self, "_looking"):
            self._looking = self.kazoo()
        return list(self._looking.get_children(PROVIDERS))

    # -- the application ----------------------------------------------------------------------

    HEALTH = ("--health", "/health", "--health-interval", "100", "--drain-timeout", "1000")
    #: For an application that hangs; a busy machine may make one that is well miss it, too.
    IMPATIENT = ("--health-timeout", "300")
    #: For one that does not.
    PATIENT = ("--health-timeout", "30000")

    def test_application_hangs(self) -> None:
        """The address is removed while all threads hang; no request is lost."""
        self.serve(*self.HEALTH, *self.IMPATIENT)
        with self.load() as scene:
            address = scene.observer.addresses[0]
            statuses = self.hang(address)
            gone = scene.gone()
            self.let_go()
            wait_for("all have an answer", lambda: len(statuses) == 4)
            back = scene.back()
        self.saw(gone=gone, back=back)
        self.assertEqual(statuses, [200] * 4)
        self.assert_all_answered()

    def test_application_hangs_too_long(self) -> None:
        """With a limit for requests, those that hang are answered with 504, and only those."""
        self.serve(*self.HEALTH, *self.PATIENT, "--limit", "request-timeout=4000")
        with self.load() as scene:
            address = scene.observer.addresses[0]
            statuses = self.hang(address)
            wait_for("all have an answer", lambda: len(statuses) == 4)
        self.saw()
        self.assertEqual(statuses, [504] * 4)
        self.assert_all_answered()
        self.assertEqual(self.last.without, 0.0)

    def test_application_hangs_at_the_end(self) -> None:
        """An application that hangs for good does not keep the process from ending."""
        process = self.serve(*self.HEALTH, *self.IMPATIENT)
        with self.load() as scene:
            self.hang(scene.observer.addresses[0])
            scene.gone()
            began = time.monotonic()
            process.signal(signal.SIGTERM)
            self.assertEqual(process.wait(), 0, process.log())
            ended = time.monotonic() - began
        self.saw(ended=ended)
        self.assertEqual(self.last.counts.refused, 0)

    def hang(self, address: str, threads: int = 4) -> list[int]:
        """Have all worker threads hang; the list fills with the answers' statuses."""
        statuses: list[int] = []
        self._end_of_hanging = os.path.abspath(self.mktemp())

        def ask() -> None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                statuses.append(fetch(address, f"/hang?until={self._end_of_hanging}")[0])

        for _ in range(threads):
            threading.Thread(target=ask, daemon=True).start()
        return statuses

    def let_go(self) -> None:
        """Let the threads go on that hang."""
        with open(self._end_of_hanging, "w"):
            pass

    def test_application_raises(self) -> None:
        """A request whose application raises gets a 500; other requests are not affected."""
        process = self.serve()
        with self.load() as scene:
            address = scene.observer.addresses[0]
            statuses = [fetch(address, "/raise")[0] for _ in range(50)]
        self.saw(raised=len(statuses))
        self.assertEqual(statuses, [500] * 50)
        self.assertIn("ValueError: as it was asked to", process.log())
        self.assert_all_answered()
        self.assertEqual(self.last.without, 0.0)

    def test_application_leaks_threads(self) -> None:
        """Threads that the application leaves behind do not keep the process from ending."""
        process = self.serve(*UNHURRIED, "--drain-timeout", "3000")
        with self.load() as scene:
            address = scene.observer.addresses[0]
            before = threads_of(process.pid)
            for _ in range(10):
                self.assertEqual(fetch(address, "/leak")[0], 200)
            self.assertGreaterEqual(threads_of(process.pid), before + 10)
            began = time.monotonic()
            process.signal(signal.SIGTERM)
            gone = scene.gone()
            code = process.wait()
            ended = time.monotonic() - began
        self.saw(gone=gone, ended=ended)
        self.assertEqual(code, 0, process.log())
        self.assertIn("threads of the application still run: Thread-", process.log())
        self.assert_all_answered()

    def test_health_flaps(self) -> None:
        """Ill, it is taken away; well again, it is back; a short fit changes nothing."""
        self.serve(*self.HEALTH, *self.PATIENT)
        with self.load() as scene:
            address = scene.observer.addresses[0]
            for _ in range(5):  # shorter than the three answers that it takes
                fetch_post(address, "/health/ill?answers=2")
                wait_for("it is well", lambda: fetch(address, "/health/well")[1] != b"0")
            self.assertEqual(scene.without, 0.0)
            gone, back = [], []
            for _ in range(3):
                fetch_post(address, "/health/ill")
                gone.append(scene.gone())
                fetch_post(address, "/health/well")
                back.append(scene.back())
        self.saw(gone=max(gone), back=max(back))
        self.assert_all_answered()

    # -- the end -----------------------------------------------------------------------------

    def test_rolling_restart(self) -> None:
        """SIGTERM under load: every request is answered, by this process or the other one."""
        processes = [self.serve(*UNHURRIED), self.serve(*UNHURRIED)]
        with self.load(12) as scene:
            wait_for("both are seen", lambda: len(scene.observer.addresses) == 2)
            gone, ended = [], []
            for process in list(processes):
                began = time.monotonic()
                process.signal(signal.SIGTERM)
                gone.append(timed("one is gone", lambda: len(scene.observer.addresses) < 2))
                self.assertEqual(process.wait(), 0, process.log())
                ended.append(time.monotonic() - began)
                self.serve(*UNHURRIED)
                wait_for("both are seen", lambda: len(scene.observer.addresses) == 2)
        self.saw(gone=max(gone), ended=max(ended))
        self.assert_all_answered()
        self.assertEqual(self.last.without, 0.0)

    def test_sigterm(self) -> None:
        """SIGTERM of the only process: accepted requests are answered, none is refused."""
        process = self.serve(*UNHURRIED)
        with self.load(12) as scene:
            time.sleep(0.5)
            process.signal(signal.SIGTERM)
            gone = scene.gone()
            self.assertEqual(process.wait(), 0, process.log())
        self.saw(gone=gone)
        self.assert_all_answered()

    def test_sigterm_unheard(self) -> None:
        """Clients that do not follow the address are answered until they are refused."""
        # A client that stands still for a moment keeps its connection.
        process = self.serve("--limit", "drain-linger=20000")
        with self.load(12, follow=False):
            time.sleep(0.5)
            process.signal(signal.SIGTERM)
            self.assertEqual(process.wait(), 0, process.log())
        self.saw()
        self.assert_lost_only_at_the_door(12)


@skip_without_apache
class EnsembleTests(ReliabilityCase):
    """On three servers."""

    @override
    def setUp(self) -> None:
        """Three members."""
        self.ensemble = ApacheEnsemble()
        self.addCleanup(self.ensemble.remove)
        self.ensemble.start()

    @override
    def hosts(self) -> str:
        return self.ensemble.connection_string

    def test_member_killed(self) -> None:
        """Members that are killed, the one in use and then the leader, cost nothing."""
        process = self.serve("--monitor", "127.0.0.1:0")
        client = self.kazoo()
        with self.load() as scene:
            address = scene.observer.addresses[0]
            node = f"{PROVIDERS}/{address}"
            data, stat = client.get(node)
            monitor = json.loads(data)["monitor"]
            used = _status(monitor)["zookeeper"]
            (member,) = (m for m in self.ensemble.members if used.endswith(str(m.port)))
            member.kill()
            moved = timed("it moves", lambda: _connected(monitor) not in ("", used))
            member.start()
            wait_for("one leads", lambda: self.ensemble.leader).kill()
            wait_for("another one leads", lambda: self.ensemble.leader)
            wait_for("it is connected", lambda: _connected(monitor))
            time.sleep(LONG / 1000 + 1.0)  # without heartbeats the session would have expired
            client = self.kazoo()
            self.assertEqual(client.get(node)[1].ephemeralOwner, stat.ephemeralOwner)
        self.saw(moved=moved)
        self.assert_all_answered()
        self.assertEqual(self.last.without, 0.0)
        self.assertNotIn("expired", process.log())


def fetch_post(address: str, path: str) -> None:
    """POST nothing."""
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT)
    connection.request("POST", path)
    connection.getresponse().read()
    connection.close()


def _status(monitor: str) -> dict[str, Any]:
    """What the monitor's ``status`` says."""
    status: dict[str, Any] = json.loads(told(monitor, "status"))
    return status


def _connected(monitor: str) -> str:
    """The ZooKeeper server that a process is connected to; nothing while it is not."""
    status = _status(monitor)
    return str(status["zookeeper"]) if status["session"] == "connected" else ""
