"""Reload a service again and again under load, and count the requests that are lost.

    python -m benchmarks.reloads [--requests 100000] [--reloads 10] [--processes 2]

A real ``twistd zkserve`` with worker processes gets SIGHUP while four kinds of clients send
requests: over kept connections, pipelined, uploads in chunks, and streams.  A request is lost if it
was sent on a connection that the server had not announced to close, and got no complete response.
Claim: no request is lost.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

HOST = "127.0.0.1"
APPLICATION = """
import os

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (b"x" * 1000 for _ in range(20))
    body = b"hello"
    if path == "/upload":
        body = str(len(environ["wsgi.input"].read())).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""


class Connection:
    """A kept connection, opened again when the server has said that it closes it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open()

    def _open(self) -> None:
        self._socket = socket.create_connection((HOST, self._port), 20)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def ask(self, requests: list[bytes]) -> int:
        """Send requests together; returns how many were answered, or could not be any more."""
        self._socket.sendall(b"".join(requests))
        for number in range(len(requests)):
            closing = self._read()
            if closing:
                self._close()
                self._open()
                return number + 1  # those behind it were not begun, and may be sent again
        return len(requests)

    def _read(self) -> bool:
        """Read a response; returns whether it announces the end of the connection."""
        status = self._file.readline()
        if not status.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"instead of a response: {status!r}")
        fields = {}
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            fields[name.lower()] = value.strip().lower()
        if b"content-length" in fields:
            size = int(fields[b"content-length"])
            if len(self._file.read(size)) != size:
                raise ConnectionError("a response that is cut off")
        else:
            while size := int(self._file.readline() or b"-1", 16):
                if size < 0 or len(self._file.read(size + 2)) != size + 2:
                    raise ConnectionError("a stream that is cut off")
            self._file.readline()
        return fields.get(b"connection") == b"close"

    def _close(self) -> None:
        self._file.close()
        self._socket.close()


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
STREAM = b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n"
UPLOAD = (
    b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    + (b"%x\r\n%s\r\n" % (8000, b"x" * 8000)) * 4
    + b"0\r\n\r\n"
)
KINDS = {"kept": [GET], "pipelined": [GET] * 5, "upload": [UPLOAD], "stream": [STREAM]}


class Load:
    """Clients of all kinds, until there were enough responses."""

    def __init__(self, port: int, requests: int, clients: int) -> None:
        self.answered: Counter[str] = Counter()
        self.lost: list[str] = []
        self._port = port
        self._requests = requests
        self._threads = [
            threading.Thread(target=self._client, args=(kind,), daemon=True)
            for kind in list(KINDS) * clients
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    @property
    def total(self) -> int:
        """Answered so far."""
        return sum(self.answered.values())

    def join(self) -> None:
        """Wait for the end."""
        for thread in self._threads:
            thread.join()

    def _client(self, kind: str) -> None:
        connection = Connection(self._port)
        while self.total < self._requests:
            try:
                self.answered[kind] += connection.ask(KINDS[kind])
            except (OSError, ValueError) as error:
                self.lost.append(f"{kind}: {error!r}")
                connection = Connection(self._port)


def wait_for(what: str, log: Path, condition: Callable[[str], bool]) -> None:
    """Wait until the log says something."""
    for _ in range(1200):
        if condition(log.read_text(errors="replace")):
            return
        time.sleep(0.05)
    raise SystemExit(f"{what}: not within a minute; see {log}")


def main() -> None:
    """Start the service, load it, reload it, and say what was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--reloads", type=int, default=10)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
        probe.close()
        Path(folder, "app.py").write_text(APPLICATION)
        log = Path(folder, "log")
        words = ["zkserve", "--zookeeper=embedded", "--path=/reloads", f"--host={HOST}"]
        words += [f"--port={port}", f"--processes={options.processes}", "app:app"]
        run = "from twisted.scripts.twistd import run; run()"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-c", run, "-n", "--pidfile=", *words],
                cwd=folder,
                stdout=out,
                stderr=out,
                env={**os.environ, "PYTHONPATH": os.getcwd()},
            )
        try:
            wait_for("the start", log, lambda text: text.count(" serves ") == options.processes)
            load = Load(port, options.requests, clients=2)
            began = time.monotonic()
            load.start()
            for number in range(options.reloads):
                while load.total < options.requests * (number + 0.5) / options.reloads:
                    time.sleep(0.01)
                process.send_signal(signal.SIGHUP)
                done = number + 1
                wait_for(
                    f"reload {done}",
                    log,
                    lambda text, done=done: text.count("the old ones drain") == done,  # type: ignore[misc]
                )
            load.join()
            seconds = time.monotonic() - began
        finally:
            process.terminate()
            process.wait(60)
        text = log.read_text(errors="replace")
        withdrawn = text.partition("Main loop terminated")[0].count("suspended")
    each = ", ".join(f"{count:,} {kind}" for kind, count in sorted(load.answered.items()))
    print(f"{load.total:,} requests in {seconds:.0f} s ({each})")
    print(
        f"{options.reloads} reloads, {len(load.lost)} requests lost, {withdrawn} times deregistered"
    )
    for line in load.lost[:10]:
        print(f"  {line}")
    print("claim: DOES NOT HOLD" if load.lost else "claim: holds")
    sys.exit(bool(load.lost))


if __name__ == "__main__":
    main()
