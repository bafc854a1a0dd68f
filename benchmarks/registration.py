"""Compare how fast an address comes, comes back and goes: ``twistd zkserve`` and kazoo.

Claim: at least twice as fast in recovery, after either kind of expiry.

    python -m benchmarks.registration [--expiries 50] [--starts 20]

It starts an Apache ZooKeeper of its own, which grants sessions of one second at most, and
watches the znodes with a client that asks every millisecond.  kazoo's way is
`benchmarks/registration_kazoo.py`: a client with default settings, a listener and a thread
that creates the ephemeral znode again; it serves no requests.  Both processes take turns.

start:    from the start of the process until the znode is there
stopped:  the process is stopped (SIGSTOP) until its session has expired; from SIGCONT on
cut off:  the network is cut until the session has expired, and for a second more; from
          when it works again on
SIGTERM:  from the signal until the znode is gone
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from statistics import median

from kazoo.client import KazooClient

from tests.functional.load import Proxy
from zkservice.testing.apache import ApacheZooKeeper

ROOT = Path(__file__).parent.parent
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile="]
KAZOO = [sys.executable, str(Path(__file__).parent / "registration_kazoo.py")]
#: What the server grants, in milliseconds: both ask for the same 10 s.
SESSION = {"tickTime": "100", "minSessionTimeout": "1000", "maxSessionTimeout": "1000"}
#: Seconds that the network stays cut after the session has expired.
CUT = 1.0
#: What has to be twice as fast.
RECOVERIES = ("stopped", "cut off")

ROWS = ("start", *RECOVERIES, "SIGTERM")


@dataclass
class Contender:
    """A program that keeps one znode registered."""

    name: str
    command: Callable[[str], list[str]]  # from a connection string
    parent: str
    figures: dict[str, list[float]] = field(default_factory=lambda: {row: [] for row in ROWS})
    process: subprocess.Popen[bytes] | None = None

    def start(self, hosts: str) -> None:
        """Start the process."""
        self.process = subprocess.Popen(
            self.command(hosts),
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def end(self) -> None:
        """Wait for the process, or end it."""
        if self.process is None:
            return
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


def contenders() -> list[Contender]:
    """Both of them."""
    app = str(ROOT / "examples" / "hello.wsgi")

    def zkserve(hosts: str) -> list[str]:
        words = ["--zookeeper", hosts, "--path", "/zkserve", "--host", "127.0.0.1"]
        return [*TWISTD, "zkserve", *words, app]

    def kazoo(hosts: str) -> list[str]:
        return [*KAZOO, hosts, "/kazoo"]

    return [Contender("zkserve", zkserve, "/zkserve"), Contender("kazoo", kazoo, "/kazoo")]


class Watcher:
    """Polls every millisecond whether a process is registered."""

    def __init__(self, client: KazooClient) -> None:
        self._client = client

    def until(self, one: Contender, there: bool, seconds: float = 60.0) -> float:
        """Milliseconds from now until the znode is there, or gone."""
        began = time.perf_counter()
        while bool(self._client.get_children(one.parent)) is not there:
            if time.perf_counter() - began > seconds:
                raise SystemExit(f"{one.name}: nothing has happened within {seconds} s")
            time.sleep(0.001)
        return (time.perf_counter() - began) * 1000


def measure_ends(watcher: Watcher, one: Contender, hosts: str) -> None:
    """A start and a SIGTERM."""
    one.start(hosts)
    one.figures["start"].append(watcher.until(one, there=True))
    time.sleep(0.5)  # as a process that has been registered for a while
    one.signal(signal.SIGTERM)
    one.figures["SIGTERM"].append(watcher.until(one, there=False))
    one.end()


def measure_stopped(watcher: Watcher, one: Contender, proxy: Proxy) -> None:
    """An expiry while the process is stopped."""
    one.signal(signal.SIGSTOP)
    watcher.until(one, there=False)
    one.signal(signal.SIGCONT)
    one.figures["stopped"].append(watcher.until(one, there=True))


def measure_cut_off(watcher: Watcher, one: Contender, proxy: Proxy) -> None:
    """An expiry while the network is cut."""
    proxy.cut()
    watcher.until(one, there=False)
    time.sleep(CUT)
    proxy.heal()
    one.figures["cut off"].append(watcher.until(one, there=True))


def show(all_of_them: list[Contender]) -> bool:
    """Print the table; return whether the claim holds."""
    print(f"{'milliseconds':14}" + "".join(f"{one.name:>20}" for one in all_of_them) + "   ratio")
    good = True
    for row in ROWS:
        medians = [median(one.figures[row]) for one in all_of_them]
        cells = "".join(
            f"{middle:10.0f} ({percentile(one.figures[row], 99):6.0f})"
            for middle, one in zip(medians, all_of_them, strict=True)
        )
        ratio = medians[1] / medians[0]
        good &= row not in RECOVERIES or ratio >= 2
        print(f"{row:14}{cells}   {ratio:5.1f}   of {len(all_of_them[0].figures[row])}")
    print("median (99th percentile)")
    return good


def percentile(figures: list[float], percent: int) -> float:
    """The smallest figure that so many percent do not exceed."""
    return sorted(figures)[ceil(len(figures) * percent / 100) - 1]


def main() -> int:
    """Measure, and say whether the claim holds."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--expiries", type=int, default=50)
    options.add_argument("--starts", type=int, default=20)
    chosen = options.parse_args()
    both = contenders()
    with ApacheZooKeeper(configuration=SESSION) as server:
        client = KazooClient(server.connection_string)
        client.start()
        proxies = [Proxy(server.port) for _ in both]
        try:
            for one in both:
                client.ensure_path(one.parent)
            watcher = Watcher(client)
            for _ in range(chosen.starts):
                for one in both:
                    measure_ends(watcher, one, server.connection_string)
            for one, proxy in zip(both, proxies, strict=True):
                one.start(proxy.connection_string)
                watcher.until(one, there=True)
            for measure in (measure_stopped, measure_cut_off):
                for _ in range(chosen.expiries):
                    for one, proxy in zip(both, proxies, strict=True):
                        time.sleep(0.2)
                        measure(watcher, one, proxy)
        finally:
            for one, proxy in zip(both, proxies, strict=True):
                if one.process is not None:
                    one.process.kill()
                one.end()
                proxy.close()
            client.stop()
            client.close()
    return 0 if show(both) else 1


if __name__ == "__main__":
    raise SystemExit(main())
