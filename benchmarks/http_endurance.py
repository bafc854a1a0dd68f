"""Show what the front end does to its memory, its descriptors and its other clients.

    python -m benchmarks.http_endurance [--connects 200000] [--idle 10000] [CHECK ...]

Each check runs against a server process of its own and prints what it found.
"""

from __future__ import annotations

import argparse
import os
import resource
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Process
from pathlib import Path

from benchmarks.http import Row, running

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
MIB = 1 << 20


@dataclass
class Server:
    """A server process under test."""

    port: int
    pid: int

    def memory(self) -> int:
        """Resident bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def descriptors(self) -> int:
        """Open files."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self) -> int:
        """Threads."""
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def connect(self) -> socket.socket:
        """A new connection."""
        return socket.create_connection(("127.0.0.1", self.port), 10)

    def ask(self) -> float:
        """Send one request, and read the response; returns the seconds that took."""
        began = time.perf_counter()
        with self.connect() as sock:
            sock.sendall(CLOSE)
            answer = b""
            while part := sock.recv(65536):
                answer += part
        assert answer.startswith(b"HTTP/1.1 200 OK"), answer[:100]
        return time.perf_counter() - began


@contextmanager
def serving(application: str, threads: int = 4) -> Iterator[Server]:
    """A server with one of the benchmark's applications."""
    with running("zkservice", Row(application, threads)) as (port, pid):
        server = Server(port, pid)
        server.ask()
        yield server


def settled(server: Server, descriptors: int) -> int:
    """Wait until the server has closed the connections that clients have closed.

    Returns its descriptors then.
    """
    for _ in range(100):
        if server.descriptors() <= descriptors:
            break
        time.sleep(0.05)
    return server.descriptors()


def idle(count: int) -> None:
    """Hold many idle keep-alive connections, each of which was served once."""
    with serving("hello") as server:
        memory = server.memory()
        sockets = []
        for _ in range(count):
            sock = server.connect()
            sock.sendall(GET)
            sock.recv(1000)
            sockets.append(sock)
        each = (server.memory() - memory) / count
        worst = max(server.ask() for _ in range(100))
        print(f"idle: {count} connections, {each / 1024:.1f} KiB each;", end=" ")
        print(f"worst of 100 other requests {worst * 1000:.1f} ms")
        for sock in sockets:
            sock.close()


def connects(count: int) -> None:
    """Connect, ask and leave, very often."""
    with serving("hello") as server:
        for _ in range(5000):
            server.ask()
        memory, descriptors, threads = server.memory(), server.descriptors(), server.threads()
        began = time.perf_counter()
        for number in range(count):
            with server.connect() as sock:
                sock.sendall(CLOSE if number % 4 else GET)
                sock.recv(1000)
                if number % 8 == 0:  # reset the connection
                    linger = struct.pack("ii", 1, 0)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        took = time.perf_counter() - began
        after = settled(server, descriptors)
        print(f"connects: {count} in {took:.0f} s;", end=" ")
        print(f"memory {memory / MIB:.1f} -> {server.memory() / MIB:.1f} MiB,", end=" ")
        print(f"descriptors {descriptors} -> {after}, threads {threads} -> {server.threads()}")


def misbehaving(count: int) -> None:
    """Send hundreds of incomplete requests, and reset connections, while others are served."""
    with serving("hello") as server:
        descriptors = server.descriptors()
        # in processes of their own, so that they do not slow the measuring client down
        others = [Process(target=_misbehave, args=(server, kind), daemon=True) for kind in range(4)]
        sockets = [server.connect() for _ in range(count)]
        for number, sock in enumerate(sockets):
            sock.sendall((b"", GET[:10], GET[:-2], b"POST / HTTP/1.1\r\nHo")[number % 4])
        for other in others:
            other.start()
        times = sorted(server.ask() for _ in range(500))
        for other in others:
            other.terminate()
            other.join()
        for sock in sockets:
            sock.close()
        after = settled(server, descriptors)
        print(f"misbehaving: {count} incomplete and 4 busy ones; other requests:", end=" ")
        print(f"median {times[250] * 1000:.1f} ms, worst {times[-1] * 1000:.1f} ms;", end=" ")
        print(f"descriptors {descriptors} -> {after}")


def _misbehave(server: Server, kind: int) -> None:
    while True:
        with suppress(OSError), server.connect() as sock:
            if kind == 0:
                for at in range(len(CLOSE)):
                    sock.sendall(CLOSE[at : at + 1])
            elif kind == 1:
                sock.sendall(GET[:-5])
            elif kind == 2:
                sock.sendall(GET * 20)
            else:
                sock.sendall(b"\0" * 100)
            if kind % 2:
                linger = struct.pack("ii", 1, 0)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def slow(count: int) -> None:
    """Stop in the middle of heads, of bodies and of reading a large answer."""
    body = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 400_000
    for name, application, data in (
        ("half a head", "hello", GET[:-4]),
        ("half a body", "hello", body),
        ("never reading 100 MB", "large", GET),
    ):
        with serving("hello" if application == "hello" else "both") as server:
            memory, descriptors = server.memory(), server.descriptors()
            sockets = []
            for _ in range(count):
                sock = socket.socket()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
                sock.connect(("127.0.0.1", server.port))
                sock.sendall(data if application == "hello" else data.replace(b"/ ", b"/large "))
                sockets.append(sock)
            time.sleep(0.5)
            during = [server.ask() for _ in range(100)]
            time.sleep(4)
            later = [server.ask() for _ in range(100)]
            each = (server.memory() - memory) / count
            print(f"slow: {count} clients, {name}: {each / 1024:.0f} KiB of memory each;", end=" ")
            print(f"other requests at once {max(during) * 1000:.1f} ms at worst,", end=" ")
            print(f"after 4 s {max(later) * 1000:.1f} ms;", end=" ")
            for sock in sockets:
                sock.close()
            print(f"descriptors {descriptors} -> {settled(server, descriptors)}")


CHECKS: dict[str, Callable[[int], None]] = {
    "idle": idle,
    "connects": connects,
    "misbehaving": misbehaving,
    "slow": slow,
}


def main() -> None:
    """Run the checks that were asked for, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("checks", nargs="*", help=f"of {', '.join(CHECKS)}")
    parser.add_argument("--connects", type=int, default=200_000)
    parser.add_argument("--idle", type=int, default=10_000)
    parser.add_argument("--misbehaving", type=int, default=300)
    parser.add_argument("--slow", type=int, default=20)
    options = vars(parser.parse_args())
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for name in options["checks"] or CHECKS:
        CHECKS[name](options[name])


if __name__ == "__main__":
    main()
