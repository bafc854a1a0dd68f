"""The how-to pages, typed into a shell: files are saved, commands run, their output compared."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.functional.pages import DOCS, follow
from tests.functional.processes import EmbeddedProcess, Twistd, free_port
from tests.functional.proxies import envoy_binary, traefik_binary

EXAMPLES = DOCS.parent / "examples"
#: What the pages call the reader's ensemble, or one server of it.
ENSEMBLE = re.compile(r"zk1:2181(,zk2:2181)?")
#: The ports that the pages show.
PORT = re.compile(r"\b(80[89]\d|8443|2182|2281|9090)\b")


class HowToTestCase(SynchronousTestCase):
    """Begins each page in an empty folder, with a ZooKeeper."""

    @override
    def setUp(self) -> None:
        self.zookeeper = EmbeddedProcess(self.mktemp())
        self.addCleanup(self.zookeeper.stop)
        self.zookeeper.start()
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "bin").mkdir(parents=True)
        self.ports: dict[str, str] = {}

    def check(self, name: str, commands: int, **environ: str) -> None:
        """Follow a page, with other ports, on loopback only, and with ``etc`` for ``/etc``.

        Args:
            commands: at least so many are on the page.
        """
        page = (DOCS / "howto" / f"{name}.rst").read_text()
        page = ENSEMBLE.sub(self.zookeeper.connection_string, page)
        page = page.replace("--port 8080", "--host 127.0.0.1 --port 8080")
        page = page.replace("port = 8080", "port = 8080\n    host = 127.0.0.1")
        page = PORT.sub(lambda found: self.port(found[0]), page)
        page = page.replace("/etc/", f"{self.folder}/etc/")
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        done = follow(self, page, str(self.folder), **{"PATH": path, **environ})
        self.assertGreaterEqual(done, commands)

    def port(self, shown: str) -> str:
        """Return the port that stands for one of the page's."""
        return self.ports.setdefault(shown, str(free_port()))

    def provide(self, *words: str) -> None:
        """Register the service that a proxy's page takes for granted."""
        application = self.folder / "shop.wsgi"
        application.write_text(
            "def application(environ, start_response):\n"
            '    start_response("200 OK", [("Content-Type", "text/plain")])\n'
            '    return [b"Welcome to the shop.\\n"]\n'
        )
        service = Twistd(
            str(self.folder / "provider"),
            *("zkserve", "--zookeeper", self.zookeeper.connection_string, "--path", "/svc/shop"),
            *("--host", "127.0.0.1", "--port", self.port("8080"), *words),
            str(application),
        )
        self.addCleanup(service.end)
        service.wait_for_log("Serving on")

    def etc(self, name: str) -> Path:
        """Make a folder for a proxy's configuration."""
        folder = self.folder / "etc" / name
        folder.mkdir(parents=True)
        return folder

    def command(self, name: str, script: str) -> None:
        """Make a command of the shell."""
        path = self.folder / "bin" / name
        path.write_text(f'#!/bin/sh\nexec {script} "$@"\n')
        path.chmod(0o755)


class ApplicationPageTests(HowToTestCase):
    """How to serve an application of each kind."""

    def test_flask(self) -> None:
        """A Flask application is served, registered and logged."""
        self.check("flask", 5)

    def test_django(self) -> None:
        """A Django project is served with settings for production and its static files."""
        self.check("django", 9)

    def test_pyramid(self) -> None:
        """A PasteDeploy file is served by pserve and by twistd."""
        self.check("pyramid", 8)

    @skipUnless(find_spec("uvicorn") and find_spec("a2wsgi"), "there is no uvicorn or no a2wsgi")
    def test_asgi(self) -> None:
        """A FastAPI application runs under zkregister, and wrapped by a2wsgi."""
        self.check("asgi", 10)


class ZooKeeperPageTests(HowToTestCase):
    """How to secure it, and how to use it in programs of other kinds."""

    @skipUnless(shutil.which("openssl"), "there is no openssl")
    def test_tls(self) -> None:
        """Clients and ZooKeeper are reached over TLS, with certificates on both sides."""
        self.check("tls", 12)

    def test_zookeeper_acl(self) -> None:
        """Only a service with the password can register."""
        self.check("zookeeper_acl", 12)

    def test_twisted(self) -> None:
        """Two services are listed, see each other, and follow a setting."""
        self.check("twisted", 8)

    def test_asyncio(self) -> None:
        """An asyncio program uses the client, a resolver and a lock."""
        self.check("asyncio", 1)


class ProxyPageTests(HowToTestCase):
    """How to send requests to whoever is registered."""

    @skipUnless(shutil.which("nginx"), "there is no nginx")
    def test_nginx(self) -> None:
        """nginx includes the servers, and is reloaded by zkfollow."""
        self.provide()
        folder = self.etc("nginx")
        names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = " ".join(f"{name}_temp_path {folder}/{name};" for name in names)
        (folder / "nginx.conf").write_text(
            f"pid {self.folder}/nginx.pid; error_log {folder}/error.log; events {{}}\n"
            f"http {{ access_log off; {temporary} include conf.d/*.conf; }}\n"
        )
        self.command("nginx", f"{shutil.which('nginx')} -p {folder} -c {folder}/nginx.conf")
        self.check("nginx", 7)

    @skipUnless(shutil.which("haproxy"), "there is no HAProxy")
    def test_haproxy(self) -> None:
        """HAProxy reads the backend, and gets updates through its socket."""
        self.provide("--status-views")
        folder = self.etc("haproxy")
        # A socket's path has at most 107 characters.
        run = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, run)
        short = f"-e 's#/run/haproxy/#{run}/#'"
        self.command("haproxy", f"sh {folder}/haproxy.sh")
        (folder / "haproxy.sh").write_text(
            f'sed -i {short} {folder}/haproxy.cfg\nexec {shutil.which("haproxy")} "$@"\n'
        )
        self.check("haproxy", 7)

    @skipUnless(envoy_binary(), "there is no Envoy")
    def test_envoy(self) -> None:
        """Envoy reads the endpoints."""
        self.provide()
        self.etc("envoy")
        self.command("envoy", f"{envoy_binary()} --use-dynamic-base-id")
        self.check("envoy", 7)

    @skipUnless(traefik_binary(), "there is no Traefik")
    def test_traefik(self) -> None:
        """Traefik reads the services, and routes to them."""
        self.provide()
        (self.etc("traefik") / "dynamic").mkdir()
        self.command("traefik", traefik_binary())
        self.check("traefik", 6)

    @skipUnless(shutil.which("prometheus"), "there is no Prometheus")
    @skipUnless(find_spec("prometheus_client"), "there is no prometheus-client")
    def test_prometheus(self) -> None:
        """Prometheus scrapes the registered providers, with the rules for alerts."""
        self.provide("--metrics")
        folder = self.etc("prometheus")
        shutil.copy(EXAMPLES / "prometheus-alerts.yml", folder)
        self.check("prometheus", 8)
