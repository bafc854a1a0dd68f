"""Compare the embedded ZooKeeper with Apache's on the same machine.

Claims: at least 12,000 pipelined ``get`` a second from our client, with a core for each;
a list of 10,000 children at least as fast as Apache's; from nothing to the first answer
in less than 0.3 seconds as its own process.

    python -m benchmarks.embedded [--rounds N] [--nodes N]

The servers take turns; each contender is a process of its own.  The tables have medians
of the rounds, in operations a second.
"""

from __future__ import annotations

import argparse
import gc
import os
import socket
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from struct import pack, unpack

from benchmarks.client import Figures, in_a_process
from zkservice.embedded.access import ConnectionIdentities
from zkservice.embedded.nodes import Tree
from zkservice.embedded.server_state import ServerState
from zkservice.embedded.settings import ServerSettings
from zkservice.embedded.transaction import Mode, Rules, Transaction
from zkservice.testing.apache import ApacheZooKeeper, four_letter_word
from zkservice.wire.acl import OPEN_ACL_UNSAFE

CHILDREN = 10_000
DRIVERS = ("by hand", "kazoo", "ours")
RUN = "from twisted.scripts.twistd import run; run()"


def free_port() -> int:
    """A free port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def wait_until_ready(port: int) -> None:
    """Wait for a server, ten seconds at most."""
    deadline = time.monotonic() + 10
    while four_letter_word(port, b"isro") != b"rw":
        if time.monotonic() > deadline:
            raise RuntimeError("the server did not start")
        time.sleep(0.005)


@contextmanager
def zkembedded(*words: str) -> Iterator[int]:
    """``twistd zkembedded`` as a process; its port."""
    port = free_port()
    listen = ["--listen", f"tcp:{port}:interface=127.0.0.1"]
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "-n", "--pidfile=", "zkembedded", *listen, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_ready(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def prepare(hosts: str) -> None:
    """Make the nodes that `benchmarks.client` reads."""
    command = ["-m", "benchmarks.client", "--hosts", hosts, "--contender", "prepare"]
    subprocess.run([sys.executable, *command], check=True)


def compare(rounds: int) -> None:
    """Each driver on each server, by turns."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ApacheZooKeeper() as apache,
        zkembedded() as memory,
        zkembedded("--data-dir", os.path.join(folder, "data")) as disk,
    ):
        servers = {
            "embedded": f"127.0.0.1:{memory}",
            "embedded, on disk": f"127.0.0.1:{disk}",
            "Apache": apache.connection_string,
        }
        for hosts in servers.values():
            prepare(hosts)
        found: dict[str, dict[str, list[Figures]]] = {
            driver: {server: [] for server in servers} for driver in DRIVERS
        }
        for _ in range(rounds):
            for driver in DRIVERS:
                for server, hosts in servers.items():
                    found[driver][server].append(in_a_process(driver, hosts))
        for driver, results in found.items():
            table(f"driven by {driver}", results)
        listings = {server: list_children(hosts) for server, hosts in servers.items()}
        table(f"{CHILDREN:,} children", listings)


def table(title: str, results: dict[str, list[Figures]]) -> None:
    """Medians, and their ratios to the last server's."""
    *ours, other = results
    print(f"\n{title:24}" + "".join(f"{server:>26}" for server in results))
    for what in results[other][0]:
        base = median(one[what] for one in results[other])
        line = f"{what:24}"
        for server in ours:
            figure = median(one[what] for one in results[server])
            line += f"{figure:18,.0f}{figure / base:7.2f}x"
        print(line + f"{base:26,.0f}")


class Raw:
    """A blocking connection that packs by hand."""

    def __init__(self, hosts: str) -> None:
        host, port = hosts.split(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.call(pack(">iqiqi16s?", 0, 0, 10_000, 0, 16, bytes(16), False))

    def send(self, payload: bytes) -> None:
        """Send a frame."""
        self._socket.sendall(pack(">i", len(payload)) + payload)

    def receive(self) -> bytes:
        """Read a frame."""
        (size,) = unpack(">i", self._socket.recv(4, socket.MSG_WAITALL))
        return self._socket.recv(size, socket.MSG_WAITALL)

    def call(self, payload: bytes) -> bytes:
        """Send a frame and read one."""
        self.send(payload)
        return self.receive()

    def create(self, path: str) -> None:
        """Ask for a node, open to all; the reply is still to be read."""
        raw = path.encode()
        body = pack(f">iii{len(raw)}si", 1, 1, len(raw), raw, 0)
        acl = pack(">iii5si6s", 1, 31, 5, b"world", 6, b"anyone")
        self.send(body + acl + pack(">i", 0))


def list_children(hosts: str, times: int = 30) -> list[Figures]:
    """How often a second many children can be listed; unchanged, and each time after a change."""
    raw = Raw(hosts)
    raw.create("/children")
    raw.receive()
    for begin in range(0, CHILDREN, 1000):
        for number in range(begin, begin + 1000):
            raw.create(f"/children/child-{number:010}")
        for _ in range(1000):
            raw.receive()
    request = pack(">iii9s?", 1, 8, 9, b"/children", False)
    for _ in range(5):
        raw.call(request)

    def rate(change: bool) -> float:
        spent = 0.0
        for number in range(times):
            if change:
                raw.create(f"/children/more-{number}")
                raw.receive()
            began = time.perf_counter()
            raw.call(request)
            spent += time.perf_counter() - began
        return times / spent

    return [{"list": rate(False), "list after a change": rate(True)}]


def starts(rounds: int) -> None:
    """From nothing to the first answer."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        with zkembedded():
            taken.append(time.perf_counter() - began)
    print(f"\nfrom start to first answer: {median(taken):.3f} s")


def memory(nodes: int) -> None:
    """What a node costs, with ten bytes of data and a path of about 30 characters."""
    state = ServerState(ServerSettings(), time.time, b"secret")
    identities = ConnectionIdentities("127.0.0.1")
    gc.collect()
    tracemalloc.start()
    fill(state.tree, identities, state.rules, nodes)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{nodes:,} nodes: {size / nodes:.0f} bytes each")


def fill(tree: Tree, identities: ConnectionIdentities, rules: Rules, nodes: int) -> None:
    """Create nodes, a hundred under each parent."""
    plain = Mode(sequential=False, ephemeral=False, owner=0)
    for number in range(nodes):
        parent = f"/parent-{number // 100:06}"
        transaction = Transaction(tree, number, number, identities, 0, rules)
        if number % 100 == 0:
            transaction.create(parent, b"", OPEN_ACL_UNSAFE, plain)
        transaction.create(f"{parent}/child-{number:08}", bytes(10), OPEN_ACL_UNSAFE, plain)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Compare ZooKeeper servers.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nodes", type=int, default=100_000)
    options = parser.parse_args()
    compare(options.rounds)
    starts(options.rounds)
    memory(options.nodes)


if __name__ == "__main__":
    main()
