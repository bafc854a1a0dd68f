"""SIGUSR2: a new program on the same sockets, under load; and one that does not become ready.

With the embedded ZooKeeper in a process of its own, and with a real one where there is one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from typing_extensions import override

from tests.certificates import Authority
from tests.functional.processes import (
    TIMEOUT,
    TWISTD,
    Twistd,
    conversation,
    fetch,
    runs,
    told,
    wait_for,
    write_module,
)
from tests.functional.reliability import (
    PROVIDERS,
    ROOT,
    UNHURRIED,
    ReliabilityCase,
    Scene,
    SharedApacheCase,
)
from zkservice.testing.apache import skip_without_apache

APP = """
import os
{preparation}

def app(environ, start_response):
    start_response("{status}", [("Content-Type", "text/plain")])
    return [f"{release} {{os.getpid()}}".encode()]
"""

#: twistd; but where a new program is started and there is a file ``new.py``, that.
LAUNCHER = """
import os
if "ZKSERVICE_UPGRADE" in os.environ and os.path.exists("new.py"):
    exec(compile(open("new.py").read(), "new.py", "exec"))
else:
    from twisted.scripts.twistd import run
    run()
"""

#: A program that takes the address over, and dies before it is ready.
DYING = """
import json, socket, sys
from kazoo.client import KazooClient
hosts = sys.argv[sys.argv.index("--zookeeper") + 1]
client = KazooClient(hosts, timeout=4.0)
client.start()
channel = socket.socket(fileno=json.loads(os.environ["ZKSERVICE_UPGRADE"])["channel"])
lines = channel.makefile("rw")
print(json.dumps(dict(say="prepared", session=client.client_id[0])), file=lines, flush=True)
assert json.loads(lines.readline())["say"] == "go"
path = "{path}/{address}"
both = client.transaction()
both.delete(path)
both.create(path, b"{{}}", ephemeral=True)
both.commit()
print("The new program dies", flush=True)
os._exit(9)
"""

REQUEST = b"GET / HTTP/1.0\r\n\r\n"

#: The real program, but it never says that it is ready.
SHY = """
from twisted.scripts.twistd import run
from zkservice.service.upgrading.successor import Successor
send_once = Successor._send_once
Successor._send_once = lambda self, kind, **values: (
    None if kind == "ready" else send_once(self, kind, **values)
)
run()
"""


class UpgradeCase(ReliabilityCase):
    """A service in a folder of its own, and the programs that follow it."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        (self.folder / "launcher.py").write_text(LAUNCHER)
        self.write("one")

    def write(self, release: str, preparation: str = "", status: str = "200 OK") -> None:
        """Put a release of the application in place."""
        text = APP.format(release=release, preparation=preparation, status=status)
        write_module(self.folder / "app.py", text)

    def start(self, *words: str, processes: int = 1, listen: bool = True) -> Twistd:
        """A registered service of the application in the folder."""
        self.process = self.launch(
            *(["--host", "127.0.0.1"] if listen else []),
            *("--processes", str(processes), *words, "app:app"),
        )
        self.address = self.process.wait_for_log(r"Serving on (\S+)\n").group(1)
        return self.process

    def launch(self, *words: str, **options: object) -> Twistd:
        """A service that ends with the test, and the programs that follow it as well."""
        given = ("zkserve", "--zookeeper", self.hosts(), "--path", PROVIDERS, *words)
        command = [sys.executable, "launcher.py"]
        process = Twistd(str(self.folder), *given, **{"command": command, **options})  # type: ignore[arg-type]
        self.addCleanup(process.end)
        self.addCleanup(self.end_successors, process)
        return process

    def end_successors(self, process: Twistd) -> None:
        """End the programs that the log tells of."""
        for pid in re.findall(r"upgrade: process (\d+) starts", process.log()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGTERM)
                self.until_ended(int(pid))

    def until_ended(self, pid: int) -> None:
        """Wait until a process has ended, even if its parent has not reaped it yet."""
        wait_for(f"the end of {pid}", lambda: not runs(pid))

    def upgrade(self) -> int:
        """Have a new program take over; answers its process."""
        self.process.signal(signal.SIGUSR2)
        self.assertEqual(self.process.wait(), 0, self.process.log())
        found = re.findall(r"process (\d+) has taken over", self.process.log())
        return int(found[-1])

    def stop(self, pid: int) -> None:
        """SIGTERM: the program ends, and its address is gone."""
        os.kill(pid, signal.SIGTERM)
        self.until_ended(pid)
        self.assertEqual(self.looking.get_children(PROVIDERS), [])

    def registered_pid(self) -> int:
        """Which process the znode names; 0 if it names none, or is not there."""
        try:
            data = self.looking.get(f"{PROVIDERS}/{self.address}")[0]
        except NoNodeError:
            return 0
        return int(json.loads(data).get("pid", 0))

    @cached_property
    def looking(self) -> KazooClient:
        """A client for the whole test."""
        return self.kazoo()

    def until_registered(self, pid: int) -> None:
        """Wait until the znode names a process."""
        wait_for(f"{pid} is registered", lambda: self.registered_pid() == pid)

    def assert_seamless(self) -> None:
        """No request lost, no connection refused, and the znode was always there."""
        self.saw()
        self.assert_all_answered()
        self.assertEqual(self.last.without, 0)


class LoadTests(UpgradeCase):
    """What clients see."""

    def check_upgrade(self, processes: int) -> None:
        """Upgrade under load, twice: the second time it is the new program that is asked."""
        self.start(processes=processes)
        with self.load():
            self.write("two")
            pid = self.upgrade()
            self.assertEqual(fetch(self.address)[1].split()[0], b"two")
            self.assertEqual(self.registered_pid(), pid)
            self.write("three")
            os.kill(pid, signal.SIGUSR2)
            self.until_ended(pid)
            self.assertEqual(fetch(self.address)[1].split()[0], b"three")
            last = self.registered_pid()
        self.assert_seamless()
        self.assertNotIn(last, (0, pid))
        self.stop(last)

    def test_one_process(self) -> None:
        """No request is lost, and the znode never goes."""
        self.check_upgrade(1)

    def test_worker_processes(self) -> None:
        """The same with a parent and two workers."""
        self.check_upgrade(2)

    def test_a_program_that_cannot_start_changes_nothing(self) -> None:
        """The old one goes on, the log says why, and the next upgrade succeeds."""
        self.start()
        with self.load():
            self.write("two", "1/0")
            self.process.signal(signal.SIGUSR2)
            reason = self.process.wait_for_log(r"upgrade: (.*); this program goes on").group(1)
            self.process.wait_for_log("division by zero")
            self.assertEqual(fetch(self.address)[1], f"one {self.process.pid}".encode())
            self.write("two")
            self.process.wait_for_log("SIGUSR2 starts another one")
            self.upgrade()
        self.assertIn("app", reason)
        self.assert_seamless()

    def test_a_worker_that_cannot_start_changes_nothing(self) -> None:
        """The same with worker processes."""
        self.start(processes=2)
        with self.load():
            self.write("two", "1/0")
            self.process.signal(signal.SIGUSR2)
            self.process.wait_for_log("upgrade: no worker can start.*; this program goes on")
            self.assertEqual(fetch(self.address)[1].split()[0], b"one")
        self.assert_seamless()

    def test_an_ill_program_does_not_take_over(self) -> None:
        """It is asked for its health before it gets a request; the old one goes on."""
        health = ("--health", "/", "--health-interval", "100", "--health-timeout", "30000")
        self.start(*health, "--upgrade-timeout", "4000")
        with self.load():
            self.write("two", status="500 Ill")
            self.process.signal(signal.SIGUSR2)
            self.process.wait_for_log(r"upgrade: it was not ready within 4 s")
            self.assertEqual(self.registered_pid(), self.process.pid)
            self.assertEqual(fetch(self.address)[1].split()[0], b"one")
        self.assert_seamless()

    def test_a_program_that_dies_while_it_takes_over_is_replaced(self) -> None:
        """It has the znode already: the old one takes it back in one transaction."""
        self.start()
        text = DYING.format(path=PROVIDERS, address=self.address)
        (self.folder / "new.py").write_text("import os\n" + text)
        with self.load():
            self.process.signal(signal.SIGUSR2)
            self.process.wait_for_log("The new program dies")
            self.process.wait_for_log("upgrade: it has ended: .*; this program goes on")
            self.until_registered(self.process.pid)
            time.sleep(5)  # its session expires
            self.assertEqual(self.registered_pid(), self.process.pid)
        self.assert_seamless()

    def test_a_program_that_hangs_is_ended(self) -> None:
        """After ``--upgrade-timeout``; meanwhile a second SIGUSR2 is ignored."""
        self.start("--upgrade-timeout", "5000")
        (self.folder / "new.py").write_text("import time; time.sleep(600)")
        with self.load():
            self.process.signal(signal.SIGUSR2)
            pid = int(self.process.wait_for_log(r"upgrade: process (\d+) starts").group(1))
            self.process.signal(signal.SIGUSR2)
            self.process.wait_for_log("SIGUSR2 is ignored: an upgrade is under way")
            self.process.wait_for_log("upgrade: it was not ready within 5 s; this program goes on")
            self.until_ended(pid)
        self.assert_seamless()

    def sent(self) -> int:
        """How many requests were sent so far."""
        return self.scene.counts.sent

    @contextmanager
    @override
    def load(self, clients: int = 6, *, follow: bool = True) -> Iterator[Scene]:
        with super().load(clients, follow=follow) as self.scene:
            yield self.scene

    def check_sigterm(self, begun: str) -> None:
        """SIGTERM at some point of the upgrade: both programs end, and the address goes."""
        with self.load() as scene:
            self.process.signal(signal.SIGUSR2)
            pid = int(self.process.wait_for_log(r"upgrade: process (\d+) starts").group(1))
            self.process.wait_for_log(begun)
            self.process.signal(signal.SIGTERM)
            scene.gone()
            self.assertEqual(self.process.wait(), 0, self.process.log())
            self.until_ended(pid)
        self.saw()
        self.assert_all_answered()

    def test_sigterm_while_the_new_program_starts(self) -> None:
        """It had nothing yet: it is killed."""
        self.start(*UNHURRIED)
        (self.folder / "new.py").write_text("import time; time.sleep(600)")
        self.check_sigterm("upgrade: process")

    def test_sigterm_while_the_new_program_takes_over(self) -> None:
        """It deregisters and drains like the old one."""
        self.start(*UNHURRIED)
        (self.folder / "new.py").write_text(SHY)
        self.check_sigterm("taking over from the old program(.|\n)*Serving on")

    def given_up(self) -> int:
        """How many new programs were given up."""
        return len(re.findall("upgrade: .*; this program goes on", self.process.log()))

    def took_over(self) -> int:
        """The program that took over; 0 if it was late before, because the machine is busy."""
        started, before = r"upgrade: process (\d+) starts", self.given_up()
        seen = len(re.findall(started, self.process.log()))
        self.process.signal(signal.SIGUSR2)
        (pid,) = wait_for("it starts", lambda: re.findall(started, self.process.log())[seen:])
        wait_for(
            "it takes over, or is late",
            lambda: self.registered_pid() == int(pid) or self.given_up() > before,
        )
        if self.given_up() == before:
            return int(pid)
        self.until_ended(int(pid))
        ended = "upgrade: the new program has ended"
        wait_for("another", lambda: self.process.log().count(ended) == before + 1)
        return 0

    def check_taken_back(self, processes: int, end: Callable[[int], None]) -> None:
        """The new program has the znode and the connections, but is never ready: both come back."""
        self.start("--upgrade-timeout", str(8000 * processes), processes=processes)
        (self.folder / "new.py").write_text(SHY)
        with self.load():
            while not (pid := self.took_over()):
                pass
            before = self.given_up()
            end(pid)
            wait_for("it is given up", lambda: self.given_up() > before)
            self.until_ended(pid)
            self.until_registered(self.process.pid)
            seen = self.sent()
            wait_for("it serves", lambda: self.sent() > seen + 50)
        self.assert_seamless()

    def test_a_program_that_is_late_gives_back(self) -> None:
        """It finishes its requests, and leaves the znode."""
        self.check_taken_back(1, lambda pid: None)

    def test_worker_processes_that_are_late_give_back(self) -> None:
        """The same with a parent and two workers."""
        self.check_taken_back(2, lambda pid: None)

    def test_a_program_that_is_asked_to_stop_gives_back(self) -> None:
        """SIGTERM for the new program alone, before it is ready."""
        self.check_taken_back(1, lambda pid: os.kill(pid, signal.SIGTERM))


class PlaceTests(UpgradeCase):
    """What is handed over beside the requests."""

    @contextmanager
    def asking(self, ask: Callable[[], bytes]) -> Iterator[list[bytes]]:
        """A thread that asks all the time; whatever goes wrong is in the answers."""
        answers: list[bytes] = []
        over = threading.Event()

        def run() -> None:
            while not over.is_set():
                try:
                    answers.append(ask())
                except OSError as error:
                    answers.append(repr(error).encode())
                time.sleep(0.005)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield answers
        finally:
            over.set()
            thread.join(TIMEOUT)

    def check(self, answers: list[bytes]) -> None:
        """All were answered, first by the old program and then by the new one."""
        others = [one for one in answers if not one.startswith(b"HTTP/1.1 200")]
        self.assertEqual(others, [])
        self.assertIn(b"one ", answers[0])
        self.assertIn(b"two ", answers[-1])

    def test_a_tls_port_continues_with_current_certificates(self) -> None:
        """A TLS port goes on, with the certificates of now."""
        authority = Authority(str(self.folder / "certificates"))
        pem = authority.issue("localhost")
        self.start("--listen", f"ssl:0:privateKey={pem}:interface=127.0.0.1", listen=False)
        host, _, port = self.address.rpartition(":")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

        def ask() -> bytes:
            with (
                socket.create_connection((host, int(port)), TIMEOUT) as plain,
                context.wrap_socket(plain) as secure,
            ):
                return conversation(secure, REQUEST)

        before = ssl.get_server_certificate((host, int(port)))
        with self.asking(ask) as answers:
            wait_for("answers", lambda: len(answers) > 3)
            self.write("two")
            authority.issue("localhost")
            pid = self.upgrade()
            seen = len(answers)
            wait_for("answers", lambda: len(answers) > seen + 3)
        self.check(answers)
        self.assertNotEqual(ssl.get_server_certificate((host, int(port))), before)
        self.stop(pid)

    def test_a_unix_sockets_file_stays_until_the_last_program_ends(self) -> None:
        """Its file stays while one program follows the other, and goes with the last one."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = Path(folder.name, "s")
        words = ("--listen", f"unix:{path}:mode=600", "--advertise", "proxy.example:80")
        self.start(*words, listen=False)
        file = path.stat().st_ino

        def ask() -> bytes:
            with socket.socket(socket.AF_UNIX) as local:
                local.connect(str(path))
                return conversation(local, REQUEST)

        with self.asking(ask) as answers:
            wait_for("answers", lambda: len(answers) > 3)
            self.write("two")
            pid = self.upgrade()
            seen = len(answers)
            wait_for("answers", lambda: len(answers) > seen + 3)
        self.check(answers)
        self.assertEqual(path.stat().st_ino, file)
        self.assertEqual(os.readlink(f"{path}.lock"), str(pid))
        self.assertEqual(self.registered_pid(), pid)
        self.stop(pid)
        self.assertFalse(path.exists() or os.path.islink(f"{path}.lock"))

    def test_the_monitor_stays_at_its_address(self) -> None:
        """It is at the same address, and tells of the new program."""
        self.start("--monitor", "127.0.0.1:0")
        where = self.process.wait_for_log(r"The monitor listens at (\S+)").group(1)
        pid = self.upgrade()
        self.assertEqual(json.loads(told(where, "status"))["pid"], pid)

    def test_an_address_that_the_operator_has_taken_out_stays_out(self) -> None:
        """Maintenance does not end with an upgrade."""
        self.start("--monitor", "127.0.0.1:0")
        where = self.process.wait_for_log(r"The monitor listens at (\S+)").group(1)
        self.assertIn("out: at night", told(where, "out at night"))
        self.upgrade()
        self.assertEqual(self.registered_pid(), 0)
        self.assertEqual(told(where, "in").strip(), "in")
        self.assertNotEqual(self.registered_pid(), 0)

    def test_embedded_zookeeper_is_refused(self) -> None:
        """Its data and its port live in the process."""
        process = Twistd(
            str(self.folder),
            *("zkserve", "--zookeeper", "embedded", "--path", PROVIDERS, "app:app"),
        )
        self.addCleanup(process.end)
        process.wait_for_log(r"Serving on \S+\n")
        process.signal(signal.SIGUSR2)
        process.wait_for_log("SIGUSR2 is ignored: the embedded ZooKeeper")

    def test_daemon_with_a_pid_file(self) -> None:
        """The pid file names the new program; it is removed by that, and the log has both."""
        pidfile, log = self.folder / "pid", self.folder / "log"
        words = ["--pidfile", str(pidfile), "--logfile", str(log), "zkserve"]
        words += ["--zookeeper", self.hosts(), "--path", PROVIDERS, "--host", "127.0.0.1"]
        subprocess.run(
            [*TWISTD, *words, "app:app"],
            cwd=self.folder,
            check=True,
            env={**os.environ, "PYTHONPATH": ROOT},
        )

        def pid() -> int:
            with contextlib.suppress(FileNotFoundError):
                return int(pidfile.read_text() or 0)
            return 0

        def end() -> None:
            if number := pid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGTERM)

        self.addCleanup(end)
        wait_for("it serves", lambda: log.exists() and "Serving on" in log.read_text())
        first = pid()
        os.kill(first, signal.SIGUSR2)
        self.until_ended(first)
        second = wait_for("its pid file", lambda: pid() not in (0, first) and pid())
        self.assertIn(f"process {second} has taken over", log.read_text())
        wait_for("it serves, too", lambda: log.read_text().count("Serving on") == 2)
        os.kill(second, signal.SIGTERM)
        self.until_ended(second)
        self.assertFalse(pidfile.exists())


class SystemdTests(UpgradeCase):
    """Under systemd: its socket, and which process sends which notification."""

    def test_systemd_follows_the_main_process(self) -> None:
        """Each program sends in time the messages that systemd accepts from it alone."""
        self.check_notifications("1")

    def test_systemd_follows_the_parent_of_workers(self) -> None:
        """The same with worker processes, which get systemd's connections from their parent."""
        self.check_notifications("2")

    def check_notifications(self, processes: str) -> None:
        """Start, upgrade and stop, with systemd's socket."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(notify.close)
        notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        notify.settimeout(TIMEOUT)
        notify.bind(f"{folder.name}/notify")
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        activate = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); "
            "os.environ['LISTEN_PID'] = str(os.getpid()); "
            "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
        )
        process = self.launch(
            *("--listen", "systemd:domain=INET:index=0", "--processes", processes, "app:app"),
            command=[sys.executable, "-c", activate, str(listening.fileno()), "launcher.py"],
            inherit=[listening.fileno()],
            environ={
                "LISTEN_FDS": "1",
                "LISTEN_FDNAMES": "http",
                "NOTIFY_SOCKET": f"{folder.name}/notify",
            },
        )
        self.process = process
        self.address = process.wait_for_log(r"Serving on (\S+)\n").group(1)
        serving = f"READY=1\nSTATUS=Serving on {self.address}"
        self.assertEqual(heard(notify), (process.pid, serving))
        self.write("two")
        pid = self.upgrade()
        sender, text = heard(notify)
        self.assertEqual((sender, text.split("\n")[0]), (process.pid, "RELOADING=1"))
        self.assertEqual(heard(notify), (process.pid, f"MAINPID={pid}"))
        self.assertEqual(heard(notify), (pid, serving))
        self.assertEqual(fetch(self.address)[1].split()[0], b"two")
        os.kill(pid, signal.SIGTERM)
        self.assertEqual(heard(notify), (pid, "STOPPING=1"))


def heard(notify: socket.socket) -> tuple[int, str]:
    """The process that has sent the next notification, and its text."""
    size = struct.calcsize("3i")
    data, ancillary, _, _ = notify.recvmsg(4096, socket.CMSG_SPACE(size))
    pid, _, _ = struct.unpack("3i", ancillary[0][2][:size])
    return pid, data.decode()


@skip_without_apache
class ApacheTests(SharedApacheCase, LoadTests):
    """With Apache ZooKeeper."""
