"""Operating ``twistd zkserve``: health, a secured ZooKeeper, Paste, daemons."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from kazoo.client import KazooClient
from kazoo.security import make_digest_acl
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority
from tests.functional.processes import (
    SLOW,
    TIMEOUT,
    TWISTD,
    Twistd,
    conversation,
    fetch,
    free_port,
    received,
    started_kazoo,
    wait_for,
)
from tests.functional.shared_servers import Place, SharedEmbedded

PATH = "/svc/providers"

#: An application that is healthy until a request to ``/ill`` makes it unhealthy.
MOODY = """
import os
well = True
def application(environ, start_response):
    global well
    path = environ["PATH_INFO"]
    if path in ("/well", "/ill"):
        well = path == "/well"
    bad = path == "/never" or (path == "/health" and not well)
    status = "503 Service Unavailable" if bad else "200 OK"
    start_response(status, [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""

#: An application that responds with the name in the client's certificate.
WHO = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["SSL_CLIENT_S_DN_CN"].encode()]
"""

VIEWS = """
from zkservice.web import TextView
hello = TextView(lambda environ: "hello " + environ["QUERY_STRING"])
"""

PEER = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['REMOTE_ADDR']} {environ['wsgi.url_scheme']}".encode()]
"""

PASTE = """
[app:main]
use = call:paste_app:make_app

[server:main]
use = egg:zkservice
zookeeper = {zookeeper}
path = {path}
host = 127.0.0.1
session_timeout = 10000
threads = 2
zservertracelog = true
monitor_server = 127.0.0.1:0
loggers = {loggers}
"""

PASTE_APP = """
def make_app(global_conf, **settings):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"from Paste"]
    return application
"""

ZCONFIG = """
  <logger>
    level INFO
    <logfile>
      path STDERR
      format PASTE $$(levelname)s $$(message)s
    </logfile>
  </logger>
"""


class OperationsTests(SynchronousTestCase):
    """One embedded ZooKeeper, and processes that use it."""

    def setUp(self) -> None:
        """A ZooKeeper, an independent client, a folder."""
        self.server = Place(SharedEmbedded.hosts)
        self.server.start()
        self.kazoo: KazooClient = started_kazoo(self, self.server.connection_string)
        self.folder = tempfile.mkdtemp()  # short: a socket's path has a limit
        self.addCleanup(shutil.rmtree, self.folder)

    def write(self, name: str, text: str) -> str:
        """A file in the folder; answers its path."""
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def words(self, *words: str) -> list[str]:
        """``zkserve`` with what all of them need."""
        common = ["--zookeeper", self.server.connection_string, "--path", PATH]
        return ["zkserve", *common, "--host", "127.0.0.1", *words, self.write("app.wsgi", MOODY)]

    def serve(self, *words: str, environ: dict[str, str] | None = None) -> Twistd:
        """A process that ends with the test."""
        process = Twistd(self.folder, *self.words(*words), environ=environ)
        self.addCleanup(process.end)
        return process

    def address_of(self, process: Twistd) -> str:
        """Where a process serves, when it knows that it is registered."""
        return process.wait_for_log(r"Serving on ([^\s,]+)\n")[1]

    def registered(self) -> list[str]:
        """The addresses under the path."""
        if self.kazoo.exists(PATH) is None:
            return []
        return list(self.kazoo.get_children(PATH))

    def test_an_unhealthy_process_is_deregistered_until_it_recovers(self) -> None:
        """Ill three times in a row it is taken away, well twice in a row it is back."""
        health = ("--health", "/health", "--health-interval", "100", "--health-timeout", "30000")
        process = self.serve(*health)
        address = self.address_of(process)
        fetch(address, "/ill")
        wait_for("it is taken away", lambda: not self.registered())
        self.assertEqual(fetch(address)[0], 200)
        process.wait_for_log(r"health check: unhealthy \(status 503\)")
        fetch(address, "/well")
        self.assertEqual(wait_for("it is back", self.registered), [address])

    def test_what_was_never_healthy_is_not_registered(self) -> None:
        """What never answers well is served, but not registered."""
        port = free_port()
        words = ["--port", str(port), "--health", "/never", "--health-interval", "100"]
        process = self.serve(*words, "--status-views")
        process.wait_for_log(r"but not registered in .* \(health: ")
        self.assertEqual(fetch(f"127.0.0.1:{port}")[0], 200)
        ready = (503, b"health: status 503\n")
        wait_for("a verdict", lambda: fetch(f"127.0.0.1:{port}", "/-/ready") == ready)
        self.assertEqual(self.registered(), [])

    def test_ill_at_first(self) -> None:
        """Until there is a verdict, what is said is true of silence and of bad answers."""
        process = self.serve("--health", "/never", "--health-interval", "60000")
        process.wait_for_log(r"but not registered in .* \(health: no check has succeeded yet\)")

    def test_out_and_in(self) -> None:
        """An operator takes it out and puts it back through the monitor."""
        where = os.path.join(self.folder, "m")
        address = self.address_of(self.serve("--monitor", where, "--status-views"))
        self.assertEqual(fetch(address, "/-/ready"), (200, b"ready\n"))

        def say(command: str) -> str:
            with socket.socket(socket.AF_UNIX) as monitor:
                monitor.connect(where)
                return conversation(monitor, command.encode() + b"\n").decode()

        check = [sys.executable, "-m", "zkservice.cli.main", "check"]
        check += [where, PATH]
        self.assertEqual(subprocess.run(check, timeout=TIMEOUT).returncode, 0)
        self.assertEqual(say("out new disk"), "out: new disk\n")
        self.assertEqual(self.registered(), [])
        self.assertEqual(subprocess.run(check, timeout=TIMEOUT, capture_output=True).returncode, 1)
        self.assertEqual(say("servers"), "[]\n")
        self.assertIn('"reason": "new disk"', say("status"))
        self.assertEqual(fetch(address)[0], 200)
        self.assertEqual(fetch(address, "/-/ready"), (503, b"new disk\n"))
        self.assertEqual(fetch(address, "/-/health")[0], 200)
        self.assertEqual(say("in"), "in\n")
        self.assertEqual(self.registered(), [address])
        self.assertEqual(fetch(address, "/-/ready")[0], 200)

    def test_views_while_all_workers_are_busy(self) -> None:
        """A view and the status views answer although the only thread sleeps."""
        views = self.write("our_views.py", VIEWS)
        self.assertTrue(views)
        app = self.write("slow.wsgi", SLOW)
        words = ["zkserve", "--zookeeper", self.server.connection_string, "--path", PATH]
        words += ["--host", "127.0.0.1", "--threads", "1", "--status-views", "--metrics"]
        process = Twistd(self.folder, *words, "--view", "/hi=our_views.hello", app)
        self.addCleanup(process.end)
        address = self.address_of(process)
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), TIMEOUT) as busy:
            busy.sendall(b"GET /?secret HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_for("the worker sleeps", lambda: b"time.sleep" in fetch(address, "/-/threads")[1])
            self.assertEqual(fetch(address, "/hi?you"), (200, b"hello you"))
            self.assertEqual(fetch(address, "/-/health")[0], 200)
            self.assertEqual(fetch(address, "/-/ready"), (200, b"ready\n"))
            metrics = fetch(address, "/-/metrics")[1].decode().splitlines()
            self.assertIn("zkserve_workers_busy 1.0", metrics)
            self.assertIn("zkserve_registered 1.0", metrics)
            self.assertIn('zkserve_http_responses_total{method="GET",status="200"}', str(metrics))
            process.wait_for_log(r"all 1 threads .* They run GET / from 127.0.0.1 for \d+\.\d s")
            self.assertNotIn("secret", process.log())
            self.write("go", "")
        process.wait_for_log("a thread is free again: all of them were busy for")

    def test_an_unknown_view_is_one_line(self) -> None:
        """A view that cannot be found is one line, and exit code 1."""
        process = self.serve("--view", "/x=no_such_module.view")
        self.assertEqual(process.wait(), 1)
        self.assertIn("zkserve: the view no_such_module.view for /x cannot", process.log())

    def test_both_logs_are_reopened_on_sighup(self) -> None:
        """Both logs are written, and are opened again on SIGHUP."""
        access, trace = os.path.join(self.folder, "access"), os.path.join(self.folder, "trace")
        process = self.serve("--access-log", access, "--trace-log", trace)
        address = self.address_of(process)

        def written(path: str, pattern: str) -> Callable[[], bool]:
            def look() -> bool:
                with open(path) as file:
                    return re.search(pattern, file.read()) is not None

            return look

        fetch(address, "/one")
        wait_for("the access log", written(access, r'"GET /one HTTP/1.1" 200 '))
        wait_for("the trace log", written(trace, r"(?m)^E 1 "))
        os.rename(access, access + ".1")
        process.signal(signal.SIGHUP)
        wait_for("a new access log", lambda: os.path.exists(access))
        fetch(address, "/two")
        wait_for("the access log", written(access, r'"GET /two HTTP/1.1" 200 '))
        self.assertFalse(written(access, "/one")())

    def test_the_application_sees_the_client_behind_a_trusted_proxy(self) -> None:
        """What a trusted proxy says of its client is what the application sees."""
        app = self.write("peer.wsgi", PEER)
        words = ["zkserve", "--zookeeper", self.server.connection_string, "--path", PATH]
        words += ["--host", "127.0.0.1", "--trusted-proxy", "127.0.0.0/8", app]
        process = Twistd(self.folder, *words)
        self.addCleanup(process.end)
        address = self.address_of(process)
        forwarded = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
        self.assertEqual(fetch(address, headers=forwarded), (200, b"192.0.2.7 https"))

    def test_the_manhole_knows_the_service(self) -> None:
        """A Python prompt in the process knows the service."""
        where = os.path.join(self.folder, "manhole")
        process = self.serve("--manhole", where)
        self.address_of(process)
        with socket.socket(socket.AF_UNIX) as prompt:
            prompt.settimeout(TIMEOUT)
            prompt.connect(where)
            for expression, shown in (
                ("service.config.path[::-1]", PATH[::-1]),
                ("service.workers.statistics()", "WorkersStatistics("),
                ("service.status()['path'][::-1]", PATH[::-1]),
                ("presence.client.state", "State.CONNECTED"),
            ):
                prompt.sendall(f"{expression}\r\n".encode())
                received(prompt, re.escape(shown.encode()))
        self.assertIn("A manhole is open", process.log())

    def test_manhole_and_web_pages(self) -> None:
        """At a port it asks for the token, and the body of a POST is not run."""
        token, proof = (os.path.join(self.folder, name) for name in ("token", "proof"))
        process = self.serve("--manhole", ":0", "--manhole-telnet", "--manhole-token", token)
        where = process.wait_for_log(
            r"A manhole is open at (127.0.0.1:\d+), telnet, with the token"
        )
        run = f"open({proof!r}, 'w').close()\r\n".encode()
        line = http.client.HTTPConnection(where[1], timeout=TIMEOUT)
        self.addCleanup(line.close)
        with contextlib.suppress(OSError):  # it may be closed before all was sent
            line.request("POST", "/", run * 100, {"Content-Type": "text/plain"})
        self.assertRaises((http.client.BadStatusLine, OSError), line.getresponse)
        self.assertFalse(os.path.exists(proof))
        host, _, port = where[1].rpartition(":")
        with (
            open(token, "rb") as file,
            socket.create_connection((host, int(port)), TIMEOUT) as prompt,
        ):
            prompt.sendall(file.read() + run)
            wait_for("it is run", lambda: os.path.exists(proof))
        self.assertNotIn("Traceback", process.log())

    def test_the_applications_logging_is_in_the_log(self) -> None:
        """What the application says through logging is in the log."""
        app = self.write("logs.wsgi", "import logging\nlogging.info('loaded')\n" + MOODY)
        words = ["zkserve", "--zookeeper", self.server.connection_string, "--path", PATH]
        process = Twistd(self.folder, *words, "--loggers", "INFO", app)
        self.addCleanup(process.end)
        process.wait_for_log("loaded")

    def secure(self) -> None:
        """Let only one user create below /svc."""
        self.kazoo.ensure_path(PATH)
        admin = make_digest_acl("admin", "hunter2", all=True)
        self.kazoo.set_acls(PATH, [admin])

    def test_a_missing_permission_is_one_line(self) -> None:
        """Without the right it is one line that says what to do, and exit code 1."""
        self.secure()
        process = self.serve()
        self.assertEqual(process.wait(), 1, process.log())
        self.assertRegex(process.log(), r"zkserve: /svc/providers\S*: .*ACL.*--zookeeper-auth")
        self.assertNotIn("Traceback", process.log())

    def test_an_identity_from_a_file_registers(self) -> None:
        """With an identity from a file or the environment; the secret is nowhere to be seen."""
        self.secure()
        self.kazoo.add_auth("digest", "admin:hunter2")
        secret = self.write("secret", "admin:hunter2\n")
        for where in (secret, "env:ZK_ADMIN"):
            process = self.serve(
                *("--zookeeper-auth", f"digest:{where}", "--acl", "creator"),
                environ={"ZK_ADMIN": "admin:hunter2"},
            )
            address = self.address_of(process)
            (acl,), _ = self.kazoo.get_acls(f"{PATH}/{address}")
            self.assertTrue(acl.id.id.startswith("admin:"))
            with open(f"/proc/{process.pid}/cmdline") as file:
                self.assertNotIn("hunter2", file.read())
            process.signal(signal.SIGTERM)
            self.assertEqual(process.wait(), 0, process.log())
            self.assertNotIn("hunter2", process.log())

    def paste(self, loggers: str) -> tuple[subprocess.Popen[bytes], Callable[[], str]]:
        """A real ``pserve``, and what it has said so far."""
        text = PASTE.format(zookeeper=self.server.connection_string, path=PATH, loggers=loggers)
        ini = self.write("deploy.ini", text)
        self.write("paste_app.py", PASTE_APP)
        said = open(os.path.join(self.folder, "pserve.log"), "w+b")  # noqa: SIM115
        self.addCleanup(said.close)
        process = subprocess.Popen(
            [sys.executable, "-m", "pyramid.scripts.pserve", ini],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": self.folder},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)

        def log() -> str:
            with open(said.name, errors="replace") as file:
                return file.read()

        return process, log

    def test_pserve_serves_and_registers(self) -> None:
        """``use = egg:zkservice`` under pserve: served, registered, and gone in good order."""
        process, log = self.paste("INFO")
        address = wait_for("it is registered", self.registered)[0]
        self.assertEqual(fetch(address), (200, b"from Paste"))
        self.assertIn(b'"monitor":', self.kazoo.get(f"{PATH}/{address}")[0])
        process.terminate()
        self.assertEqual(process.wait(TIMEOUT), 0, log())
        self.assertEqual(self.registered(), [])
        self.assertIn(f"Serving on {address}", log())
        self.assertRegex(log(), r"zc.tracelog.*E 1 ")

    def test_loggers_may_be_zconfig_text(self) -> None:
        """``loggers`` may be a ZConfig text."""
        process, log = self.paste(ZCONFIG)
        address = wait_for("it is registered", self.registered)[0]
        wait_for("it says so", lambda: f"PASTE INFO Serving on {address}" in log())
        process.terminate()
        self.assertEqual(process.wait(TIMEOUT), 0, log())

    def test_a_socket_of_systemd_is_listened_on(self) -> None:
        """A socket that systemd has opened is listened on; systemd hears when it is ready."""
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(notify.close)
        notify.settimeout(TIMEOUT)
        notify.bind(os.path.join(self.folder, "notify"))
        listening = socket.socket()
        self.addCleanup(listening.close)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        # What systemd does between fork and exec: descriptor 3, and LISTEN_PID.
        activate = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); "
            "os.environ['LISTEN_PID'] = str(os.getpid()); "
            "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
        )
        activated = [sys.executable, "-c", activate]
        words = ["zkserve", "--zookeeper", self.server.connection_string, "--path", PATH]
        words += ["--listen", "systemd:domain=INET:index=0", self.write("app.wsgi", MOODY)]
        process = subprocess.Popen(
            [*activated, str(listening.fileno()), *TWISTD[1:], "-n", "--pidfile=", *words],
            cwd=self.folder,
            pass_fds=[listening.fileno()],
            env={
                **os.environ,
                "LISTEN_FDS": "1",
                "LISTEN_FDNAMES": "http",
                "NOTIFY_SOCKET": os.path.join(self.folder, "notify"),
                "WATCHDOG_USEC": "200000",
            },
            stdout=subprocess.DEVNULL,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        address = f"127.0.0.1:{port}"
        self.assertEqual(wait_for("it is registered", self.registered), [address])
        self.assertEqual(fetch(address), (200, str(process.pid).encode()))
        self.assertEqual(
            [notify.recv(1000).decode() for _ in range(3)],
            [f"READY=1\nSTATUS=Serving on {address}", "WATCHDOG=1", "WATCHDOG=1"],
        )
        process.terminate()
        self.assertEqual(process.wait(TIMEOUT), 0)

    def test_a_unix_socket_is_served(self) -> None:
        """A unix socket is served; what others are to use is said with --advertise."""
        path = os.path.join(self.folder, "s")
        words = ["zkserve", "--zookeeper", self.server.connection_string, "--path", PATH]
        words += ["--listen", f"unix:{path}:mode=640", "--advertise", "proxy.example:80"]
        # Only root can give it to another user.
        owner = (65534, 65533) if os.getuid() == 0 else (os.getuid(), os.getgid())
        words += ["--socket-owner", "{}:{}".format(*owner), "--health-tcp"]
        process = Twistd(self.folder, *words, self.write("app.wsgi", MOODY))
        self.addCleanup(process.end)
        self.assertEqual(wait_for("it is registered", self.registered), ["proxy.example:80"])
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            answer = conversation(client, b"GET / HTTP/1.0\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK"), answer)
        status = os.stat(path)
        self.assertEqual((status.st_uid, status.st_gid), owner)
        self.assertEqual(stat.S_IMODE(status.st_mode), 0o640)
        process.signal(signal.SIGTERM)
        self.assertEqual(process.wait(), 0)
        self.assertFalse(os.path.exists(path))

    def test_only_a_client_with_a_certificate_is_served(self) -> None:
        """A client with a certificate is let in, and known to the application; no other is."""
        clients, servers = (
            Authority(os.path.join(self.folder, name), name) for name in ("clients", "servers")
        )
        words = ["zkserve", "--zookeeper", self.server.connection_string, "--path", PATH]
        words += ["--listen", f"mtls:0:interface=127.0.0.1:clientCA={clients.ca}"]
        words[-1] += f":privateKey={servers.issue('localhost')}"
        process = Twistd(self.folder, *words, self.write("app.wsgi", WHO))
        self.addCleanup(process.end)
        address = self.address_of(process)
        context = ssl.create_default_context(cafile=servers.ca)

        def ask() -> bytes:
            port = int(address.rpartition(":")[2])
            line = http.client.HTTPSConnection("localhost", port, context=context, timeout=TIMEOUT)
            self.addCleanup(line.close)
            line.request("GET", "/")
            return line.getresponse().read()

        self.assertRaises((ssl.SSLError, OSError), ask)
        context.load_cert_chain(servers.issue("joe"))
        self.assertRaises((ssl.SSLError, OSError), ask)
        context.load_cert_chain(clients.issue("jane"))
        self.assertEqual(ask(), b"jane")
        self.assertNotIn("Traceback", process.log())

    def test_sighup_loads_the_renewed_certificate(self) -> None:
        """After SIGHUP new connections get the new certificate; the process stays."""
        authority = Authority(self.folder)
        pem = shutil.copy(authority.issue("old.example"), os.path.join(self.folder, "site.pem"))
        words = ["zkserve", "--zookeeper", self.server.connection_string, "--path", PATH]
        words += ["--listen", f"ssl:0:interface=127.0.0.1:privateKey={pem}"]
        process = Twistd(self.folder, *words, self.write("app.wsgi", MOODY))
        self.addCleanup(process.end)
        address = self.address_of(process)
        port = int(address.rpartition(":")[2])

        def shown() -> str:
            context = ssl.create_default_context(cafile=authority.ca)
            context.check_hostname = False
            with (
                socket.create_connection(("127.0.0.1", port), TIMEOUT) as line,
                context.wrap_socket(line) as secured,
            ):
                return str(secured.getpeercert())

        self.assertIn("old.example", shown())
        shutil.copy(authority.issue("new.example"), pem)
        process.signal(signal.SIGHUP)
        process.wait_for_log("the certificates of ssl:0:.* were read again")
        self.assertIn("new.example", shown())

    def test_unix_socket_alone(self) -> None:
        """Nothing that can be registered is an error that says what to do."""
        words = ["zkserve", "--zookeeper", self.server.connection_string, "--path", PATH]
        words += ["--listen", f"unix:{self.folder}/s", self.write("app.wsgi", MOODY)]
        process = Twistd(self.folder, *words)
        self.addCleanup(process.end)
        self.assertEqual(process.wait(), 1)
        self.assertIn("--advertise HOST:PORT", process.log())

    def test_an_ipv6_address_is_registered_in_brackets(self) -> None:
        """An IPv6 address is registered in brackets."""
        words = ["zkserve", "--zookeeper", self.server.connection_string, "--path", PATH]
        process = Twistd(self.folder, *words, "--host", "::1", self.write("app.wsgi", MOODY))
        self.addCleanup(process.end)
        address = self.address_of(process)
        self.assertRegex(address, r"^\[::1\]:[0-9]+$")
        self.assertEqual(fetch(address)[0], 200)

    def test_zookeeper_behind_tls_needs_the_right_ca(self) -> None:
        """ZooKeeper behind TLS: registered with the right CA, refused with any other."""
        authority = Authority(self.folder)
        certificate = authority.issue("localhost")
        port = free_port()
        keeper = Twistd(
            self.folder,
            "zkembedded",
            *("--listen", f"ssl:{port}:interface=127.0.0.1:privateKey={certificate}"),
        )
        self.addCleanup(keeper.end)
        keeper.wait_for_log("ZooKeeper listens on")
        words = ["zkserve", "--zookeeper", f"localhost:{port}", "--path", PATH, "--zookeeper-tls"]
        words += ["--host", "127.0.0.1"]
        app = self.write("app.wsgi", MOODY)
        trusting = Twistd(self.folder, *words, "--zookeeper-ca", authority.ca, app)
        self.addCleanup(trusting.end)
        self.address_of(trusting)
        doubting = Twistd(self.folder, *words, app)
        self.addCleanup(doubting.end)
        doubting.wait_for_log("but not registered")
        doubting.wait_for_log("certificate verify failed")

    def test_a_daemon_has_a_pid_file_and_ends(self) -> None:
        """Daemonized by twistd: a pid file, a log file, and a clean end."""
        pidfile = os.path.join(self.folder, "zk.pid")
        logfile = os.path.join(self.folder, "zk.log")
        port = free_port()
        command = [
            *TWISTD,
            "--pidfile",
            pidfile,
            "--logfile",
            logfile,
            *self.words("--port", str(port)),
        ]
        subprocess.run(
            command, cwd=self.folder, check=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL
        )
        with open(pidfile) as file:
            pid = int(file.read())
        self.addCleanup(_end, pid)
        self.assertEqual(wait_for("it is registered", self.registered), [f"127.0.0.1:{port}"])
        self.assertEqual(fetch(f"127.0.0.1:{port}"), (200, str(pid).encode()))
        wait_for("it says so", lambda: "Serving on" in Path(logfile).read_text())
        os.rename(logfile, logfile + ".1")
        os.kill(pid, signal.SIGHUP)
        wait_for("the log is opened again", lambda: os.path.exists(logfile))
        os.kill(pid, signal.SIGTERM)
        wait_for("it has ended", lambda: not os.path.exists(pidfile))
        self.assertEqual(self.registered(), [])
        with open(logfile + ".1") as file:
            self.assertIn("Serving on", file.read())
        with open(logfile) as file:
            self.assertIn("Stopped", file.read())

    def test_daemon_that_cannot_start(self) -> None:
        """A taken port, an application that fails: told to the shell, no pid file, code 1."""
        broken = self.write("broken.wsgi", "nonsense()")
        pidfile = os.path.join(self.folder, "zk.pid")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            for words, expected in {
                ("missing.wsgi",): b"missing.wsgi does not exist",
                (broken,): b"zkserve: ",
                ("--host", "127.0.0.1", "--port", port, broken): b"zkserve: cannot listen",
            }.items():
                log = os.path.join(self.folder, "zk.log")
                command = [*TWISTD, "--pidfile", pidfile, "--logfile", log]
                command += ["zkserve", "--path", PATH, "-z", self.server.connection_string, *words]
                ended = subprocess.run(
                    command,
                    cwd=self.folder,
                    capture_output=True,
                    timeout=TIMEOUT,
                    stdin=subprocess.DEVNULL,
                )
                self.assertEqual(ended.returncode, 1, words)
                self.assertIn(expected, ended.stdout + ended.stderr)
                # twistd tells the shell first, and takes its pid file away then.
                wait_for("the pid file is gone", lambda: not os.path.exists(pidfile))

    def test_paste_that_cannot_start(self) -> None:
        """pserve, too, ends with exit code 1 and the reason."""
        for change, expected in (
            ("port = http", "port must be a whole number, not 'http'"),
            ("port = 99999", "port must be at most 65535, not 99999"),
        ):
            process, log = self.paste(f"INFO\n{change}")
            self.assertEqual(process.wait(TIMEOUT), 1, log())
            self.assertIn(expected, log())

    def test_outdated_credentials_end_no_service(self) -> None:
        """Credentials that the servers no longer take end no service."""
        users = self.write("users", "admin:one\n")
        secret = self.write("secret", "admin:one\n")
        port = free_port()
        where = ["--listen", f"tcp:{port}:interface=127.0.0.1", "--sasl-users", users]
        keeper = Twistd(self.folder, "zkembedded", *where)
        self.addCleanup(keeper.end)
        keeper.wait_for_log("ZooKeeper listens on")
        words = ["zkserve", "--zookeeper", f"127.0.0.1:{port}", "--path", PATH]
        words += ["--host", "127.0.0.1", "--zookeeper-sasl", secret]
        process = Twistd(self.folder, *words, self.write("app.wsgi", MOODY))
        self.addCleanup(process.end)
        address = self.address_of(process)
        keeper.end()
        self.write("users", "admin:two\n")
        keeper = Twistd(self.folder, "zkembedded", *where)
        self.addCleanup(keeper.end)
        process.wait_for_log("refuses credentials that it accepted before")
        self.assertEqual(fetch(address)[0], 200)
        process.signal(signal.SIGTERM)
        self.assertEqual(process.wait(), 0, process.log())

    def test_status_while_draining(self) -> None:
        """The monitor answers to the end."""
        monitor = os.path.join(self.folder, "m")
        app = self.write("slow.wsgi", SLOW)
        words = ["zkserve", "--zookeeper", self.server.connection_string, "--path", PATH]
        process = Twistd(self.folder, *words, "--host", "127.0.0.1", "--monitor", monitor, app)
        self.addCleanup(process.end)
        address = self.address_of(process)
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), TIMEOUT) as busy:
            busy.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_for("it has begun", Path(self.folder, "begun").exists)
            process.signal(signal.SIGTERM)
            process.wait_for_log("Finishing the requests that run")
            with socket.socket(socket.AF_UNIX) as asking:
                asking.connect(monitor)
                answer = conversation(asking, b"status\n")
            self.write("go", "")
        self.assertIn(address.encode(), answer)
        self.assertEqual(process.wait(), 0, process.log())


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
