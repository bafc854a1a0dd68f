"""Who may request the views of a real process, and what other clients get."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import tempfile

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.certificates import Authority
from tests.functional.processes import TIMEOUT, Twistd, free_port

HELLO = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"the application"]
"""


class WhoMayAskTests(SynchronousTestCase):
    """Sockets of all kinds."""

    @override
    def setUp(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        with open(os.path.join(self.folder, "app.wsgi"), "w") as file:
            file.write(HELLO)

    def serve(self, *words: str) -> None:
        """Start a service."""
        start = ["zkserve", "--zookeeper", "embedded", "--path", "/svc/p", "--status-views"]
        process = Twistd(self.folder, *start, *words, "app.wsgi")
        self.addCleanup(process.end)
        process.wait_for_log("Serving on")

    def tcp(self, port: int) -> socket.socket:
        """A connection from this machine."""
        return socket.create_connection(("127.0.0.1", port), TIMEOUT)

    def ask(self, connection: socket.socket, *fields: str, before: str = "") -> str:
        """The status line and the first line of the body."""
        lines = ["GET /-/threads HTTP/1.1", "Connection: close", *(fields or ["Host: localhost"])]
        with connection:
            connection.settimeout(TIMEOUT)
            connection.sendall((before + "\r\n".join([*lines, "", ""])).encode())
            whole = b""
            while data := connection.recv(65536):
                whole += data
        head, _, body = whole.decode().partition("\r\n\r\n")
        return f"{head.split(' ', 2)[1]} {body.splitlines()[0] if body else ''}"

    def test_at_the_ports_of_the_application(self) -> None:
        """Over TCP, over a Unix socket, behind HAProxy; in worker processes as in one."""
        for processes in ("1", "2"):
            plain, proxied = free_port(), free_port()
            path = os.path.join(self.folder, f"app{processes}.sock")
            words = ["--processes", processes, "--listen", f"tcp:{plain}:interface=127.0.0.1"]
            words += ["--listen", f"haproxy:tcp:{proxied}:interface=127.0.0.1"]
            self.serve(*words, "--listen", f"unix:{path}")
            unix = socket.socket(socket.AF_UNIX)
            unix.connect(path)
            # The workers start at the same time: either may be the first that serves.
            thread = r"^200 worker [12] " if processes == "2" else "^200 idle: application-0"
            self.assertRegex(self.ask(self.tcp(plain)), thread)
            self.assertRegex(self.ask(unix), thread)
            header = "PROXY TCP4 127.0.0.1 127.0.0.1 1 80\r\n"
            self.assertIn("403", self.ask(self.tcp(proxied), before=header))
            for field in ("X-Forwarded-For: 127.0.0.1", "Origin: http://evil.example"):
                self.assertIn("403", self.ask(self.tcp(plain), "Host: localhost", field))
            self.assertIn("403", self.ask(self.tcp(plain), "Host: evil.example"))

    def test_at_a_port_of_their_own(self) -> None:
        """Over mtls: with a certificate; the application has its paths for itself."""
        clients = Authority(os.path.join(self.folder, "clients"))
        servers = Authority(os.path.join(self.folder, "servers"))
        plain, admin = free_port(), free_port()
        endpoint = f"mtls:{admin}:interface=127.0.0.1:clientCA={clients.ca}"
        endpoint += f":privateKey={servers.issue('localhost')}"
        listen = f"tcp:{plain}:interface=127.0.0.1"
        self.serve("--processes", "2", "--listen", listen, "--admin-listen", endpoint)
        context = ssl.create_default_context(cafile=servers.ca)
        with self.assertRaises(OSError):
            self.ask(context.wrap_socket(self.tcp(admin), server_hostname="localhost"))
        context.load_cert_chain(clients.issue("operator"))
        seen = self.ask(context.wrap_socket(self.tcp(admin), server_hostname="localhost"))
        self.assertRegex(seen, "^200 worker [12] ")
        self.assertEqual(self.ask(self.tcp(plain)), "200 the application")
