"""What the benchmarks of discovery share: a service of real processes, and how it is asked."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from typing_extensions import Self, override

from zkservice.testing.apache import ApacheZooKeeper, four_letter_word

ROOT = Path(__file__).parent.parent
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile="]
PATH = "/svc/hello"
REQUEST = b"GET / HTTP/1.1\r\nHost: hello\r\nConnection: close\r\n\r\n"

#: A way to send requests.  Called with the number of the request, it fires with whether the
#: response was complete, with status 200.
Way = Callable[[int], Deferred[bool]]


class Service:
    """An Apache ZooKeeper and processes of ``twistd zkserve`` that are registered there.

    Args:
        count: processes at the start.
        words: more options of ``zkserve``.
        server: an ``ApacheEnsemble``; None: one server.
    """

    def __init__(self, count: int, *words: str, server: Any = None) -> None:
        self._count = count
        self._words = words
        self._server = server or ApacheZooKeeper()
        self._folder = tempfile.TemporaryDirectory()
        self.processes: list[subprocess.Popen[bytes]] = []
        self._leaving: list[subprocess.Popen[bytes]] = []  # that were sent a signal

    @property
    def connection_string(self) -> str:
        """ZooKeeper's."""
        return self._server.connection_string

    def packets(self) -> int:
        """Packets that ZooKeeper has received so far, pings and this request included."""
        reply = four_letter_word(self._server.port, b"srvr").decode()
        line = next(line for line in reply.splitlines() if line.startswith("Received"))
        return int(line.split()[1])

    def add(self) -> subprocess.Popen[bytes]:
        """Start one more process."""
        words = ["--zookeeper", self.connection_string, "--path", PATH, "--host", "127.0.0.1"]
        command = [*TWISTD, "zkserve", *words, *self._words, str(ROOT / "examples" / "hello.wsgi")]
        process = subprocess.Popen(
            command, cwd=self._folder.name, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.processes.append(process)
        return process

    def end(self, process: subprocess.Popen[bytes], how: signal.Signals) -> None:
        """Send a signal to a process that is not to be used any more."""
        self.processes.remove(process)
        process.send_signal(how)
        self._leaving.append(process)

    def __enter__(self) -> Self:
        self._server.__enter__()
        for _ in range(self._count):
            self.add()
        return self

    def __exit__(self, *why: Any) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in [*self.processes, *self._leaving]:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        self._server.__exit__(*why)
        self._folder.cleanup()


class OneRequest(Protocol):
    """Sends one request over a connection of its own, and reads to the end."""

    def __init__(self) -> None:
        self.answer: Deferred[bytes] = Deferred()
        self._data = b""

    @override
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(REQUEST)

    @override
    def dataReceived(self, data: bytes) -> None:
        self._data += data

    @override
    def connectionLost(self, reason: Any = None) -> None:
        self.answer.callback(self._data)


def over_new_connections(endpoint: Callable[[int], Any]) -> Way:
    """Ask over a connection for each request, to the endpoint of its number."""

    async def ask(number: int) -> bool:
        one: Any = await endpoint(number).connect(Factory.forProtocol(OneRequest))
        answer = await one.answer
        if not answer:
            raise ConnectionError("closed without a response")
        return bool(answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"\n"))

    return lambda number: Deferred.fromCoroutine(ask(number))


def with_treq(agent: Any, uri: Callable[[int], str]) -> Way:
    """Ask with treq over an agent, for the URI of a request's number."""
    http = HTTPClient(agent)

    async def ask(number: int) -> bool:
        response = await http.get(uri(number))
        body = await response.content()
        return bool(response.code == 200 and body)

    return lambda number: Deferred.fromCoroutine(ask(number))


async def milliseconds(way: Way, requests: int) -> float:
    """The mean time of requests that are sent one after another."""
    start = time.perf_counter()
    for number in range(requests):
        if not await way(number):
            raise SystemExit("a response was not whole, or its status not 200")
    return (time.perf_counter() - start) * 1000 / requests
