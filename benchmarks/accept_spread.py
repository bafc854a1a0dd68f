"""How evenly connections are spread over four processes: four ways to accept them.

    python -m benchmarks.accept_spread [--rounds 5]

64 connections are opened at once, or 1 ms apart, and kept.  The figures are the connections of
each process, the most first, of the round in the middle.  The last way is ``twistd zkserve``'s own.
Claim: no worker of zkserve has more than twice the connections of another.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.http import Row, running

HOST = "127.0.0.1"
PROCESSES = 4
CONNECTIONS = 64


def listen(*, shared_port: int = 0, reuse: bool = False) -> socket.socket:
    """A listening socket on a port that the system picks, or on one that others have too."""
    listening = socket.socket()
    if reuse:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.bind((HOST, shared_port))
    listening.listen(1024)
    listening.setblocking(False)
    return listening


def serve(listening: socket.socket, flags: int) -> None:
    """Accept as a reactor does, and respond to every request with the process id."""
    epoll = select.epoll()
    epoll.register(listening, select.EPOLLIN | flags)
    kept: dict[int, socket.socket] = {}
    while True:
        for descriptor, _ in epoll.poll():
            if descriptor != listening.fileno():
                connection = kept[descriptor]
                try:
                    received = connection.recv(4096)
                except ConnectionResetError:
                    received = b""
                if received:
                    body = str(os.getpid()).encode()
                    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
                    connection.sendall(head + body)
                else:
                    epoll.unregister(descriptor)
                    kept.pop(descriptor).close()
                continue
            while True:
                try:
                    connection = listening.accept()[0]
                except BlockingIOError:
                    break
                kept[connection.fileno()] = connection
                epoll.register(connection, select.EPOLLIN)


@contextmanager
def forked(make: Callable[[int], socket.socket], flags: int) -> Iterator[int]:
    """Four processes that accept; gives their port."""
    first = make(0)
    port = first.getsockname()[1]
    sockets = [first, *(make(port) for _ in range(PROCESSES - 1))]
    children = []
    for listening in sockets:
        child = os.fork()
        if not child:
            serve(listening, flags)
        children.append(child)
    for listening in sockets:
        listening.close()
    try:
        yield port
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


@contextmanager
def shared(flags: int) -> Iterator[int]:
    """One socket, which all accept from."""
    listening = listen()
    with forked(lambda _: listening, flags) as port:
        yield port


@contextmanager
def reuse_port() -> Iterator[int]:
    """A socket for each, with SO_REUSEPORT."""
    with forked(lambda port: listen(shared_port=port, reuse=True), 0) as port:
        yield port


@contextmanager
def passed_by_parent() -> Iterator[int]:
    """The parent of ``twistd zkserve --processes 4`` accepts, and passes connections on."""
    with running("zkserve-4", Row("process", 2)) as (port, _):
        time.sleep(3)  # until the last worker serves, too
        yield port


WAYS = {
    "one socket": lambda: shared(0),
    "one socket, EPOLLEXCLUSIVE": lambda: shared(select.EPOLLEXCLUSIVE),
    "SO_REUSEPORT": reuse_port,
    "passed by the parent": passed_by_parent,
}


def spread(port: int, pause: float) -> list[int]:
    """How many connections each process has, the most first."""
    connections = []
    for _ in range(CONNECTIONS):
        connections.append(socket.create_connection((HOST, port), 10))
        time.sleep(pause)
    owners: Counter[bytes] = Counter()
    for connection in connections:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        owners[connection.recv(4096).rpartition(b"\r\n\r\n")[2]] += 1
    for connection in connections:
        # reset instead of TIME_WAIT, so that the next round finds free ports
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    time.sleep(0.3)
    return sorted([*owners.values(), *[0] * (PROCESSES - len(owners))], reverse=True)


def main() -> None:
    """Try every way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    even = True
    for name, way in WAYS.items():
        with way() as port:
            for pause, words in ((0.0, "at once"), (0.001, "1 ms apart")):
                found = sorted(spread(port, pause) for _ in range(rounds))
                middle = found[len(found) // 2]
                print(f"{name:28} {words:12} {', '.join(map(str, middle))}", flush=True)
                if way is passed_by_parent:
                    even = even and all(one[0] <= 2 * one[-1] for one in found)
    print("claim: holds" if even else "claim: DOES NOT HOLD")
    sys.exit(not even)


if __name__ == "__main__":
    main()
