"""Compare this package's front end with the servers that its users could choose.

    python -m benchmarks.http [--rounds 5] [--seconds 2] [ROW ...]

Each row is one application under every server, each in a process of its own on a loopback
port that the system picks.  The servers take turns under wrk, so that a noisy moment of
the machine hits all of them; figures are medians of the rounds.  The processor time that a
request costs the server is the figure that a busy machine disturbs least.  Needs ``wrk`` and the
``bench`` extra.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PEERS = ("zopeserver", "waitress", "gunicorn", "wsgiresource", "granian")
POST = """
wrk.method = "POST"
wrk.body = string.rep("x", 65536)
wrk.headers["Content-Type"] = "application/octet-stream"
"""


@dataclass(frozen=True)
class Row:
    """One line of the comparison: what is served, how, and to how many."""

    application: str
    threads: int
    connections: int = 32
    script: str = ""
    #: The first one is the yardstick of the ratios.
    servers: tuple[str, ...] = ("zkservice", *PEERS)
    #: What the first one claims to reach, as multiples of the others.
    claims: dict[str, float] = field(default_factory=dict)
    #: Requests a second that the first one claims to reach, where waiting is all there is.
    at_least: float = 0


ROWS = {
    "hello-1": Row("hello", 1, claims={"zopeserver": 1.5, "wsgiresource": 6}),
    "hello-4": Row(
        "hello",
        4,
        claims={"zopeserver": 2.2, "wsgiresource": 6, "waitress": 2.5, "gunicorn": 4},
    ),
    "metrics": Row("hello", 4, servers=("metrics", "zkservice"), claims={"zkservice": 0.95}),
    "view": Row("hello", 4, servers=("view", "ceiling"), claims={"ceiling": 0.75}),
    "document": Row("document", 4, claims=dict.fromkeys(PEERS[:-1], 1.0)),
    "echo": Row("echo", 4, script=POST, claims=dict.fromkeys(PEERS[:-1], 1.3)),
    "stream": Row("stream", 4, claims={"wsgiresource": 5, "gunicorn": 0.8}),
    "sleep": Row("sleep", 32, connections=256, at_least=0.9 * 3200),
}


@dataclass
class Figures:
    """What wrk measured of one server, one number a round."""

    rate: list[float] = field(default_factory=list)  # requests a second
    p99: list[float] = field(default_factory=list)  # milliseconds
    cpu: list[float] = field(default_factory=list)  # microseconds of the server, a request
    errors: int = 0


def free_port() -> int:
    """A free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cpu_seconds(session: int) -> float:
    """Processor time that the processes of a session have taken."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            values = stat.read_text().rpartition(") ")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        if int(values[3]) == session:
            ticks += int(values[11]) + int(values[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(server: str, row: Row) -> Iterator[tuple[int, int]]:
    """Run a server; gives its port, as soon as it accepts connections, and its session."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.http_servers"]
    process = subprocess.Popen(
        [*command, server, row.application, str(port), str(row.threads)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _await_port(process, server, port)
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_port(process: subprocess.Popen[bytes], server: str, port: int) -> None:
    for _ in range(200):
        if process.poll() is not None:
            raise SystemExit(f"{server} has ended with {process.returncode}; is it installed?")
        try:
            with socket.create_connection(("127.0.0.1", port), 10) as connection:
                # A parent process listens before its workers answer.
                connection.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
                connection.recv(1)
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"{server} does not listen")


def measure(port: int, row: Row, seconds: int, script: Path | None) -> tuple[float, float, int]:
    """One turn: requests a second, 99th percentile in milliseconds, errors."""
    command = ["wrk", "-t1", f"-c{row.connections}", f"-d{seconds}s", "--latency"]
    if script is not None:
        command += ["-s", str(script)]
    output = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/"], check=True, capture_output=True, text=True
    ).stdout
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])  # type: ignore[index]
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", output)
    assert p99 is not None
    unit = {"us": 0.001, "ms": 1.0, "s": 1000.0}[p99[2]]
    errors = sum(
        int(number)
        for line in re.findall(r"Socket errors:.*|Non-2xx.*", output)
        for number in re.findall(r"\d+", line.removeprefix("Non-2xx or 3xx"))
    )
    return rate, float(p99[1]) * unit, errors


def compare(row: Row, rounds: int, seconds: int) -> dict[str, Figures]:
    """Let the servers of a row take turns."""
    figures = {server: Figures() for server in row.servers}
    with tempfile.TemporaryDirectory() as folder:
        script = None
        if row.script:
            script = Path(folder, "script.lua")
            script.write_text(row.script)
        for _ in range(rounds):
            for server in row.servers:
                with running(server, row) as (port, session):
                    measure(port, row, 1, script)  # warm up
                    before = cpu_seconds(session)
                    rate, p99, errors = measure(port, row, seconds, script)
                    cpu = (cpu_seconds(session) - before) / (rate * seconds) * 1e6
                figures[server].cpu.append(cpu)
                figures[server].rate.append(rate)
                figures[server].p99.append(p99)
                figures[server].errors += errors
    return figures


def report(name: str, row: Row, figures: dict[str, Figures]) -> None:
    """Print a row: medians, the ratio to each peer, and whether the claim holds."""
    print(f"\n{name}: {row.application}, {row.threads} threads, {row.connections} connections")
    first = figures[row.servers[0]]
    for server, figure in figures.items():
        rate, p99 = statistics.median(figure.rate), statistics.median(figure.p99)
        ratios = [own / other for own, other in zip(first.rate, figure.rate, strict=True)]
        ratio = statistics.median(ratios)
        cpu = statistics.median(figure.cpu)
        line = f"  {server:13}{rate:9,.0f} requests/s {cpu:7,.0f} us CPU each   p99 {p99:7.2f} ms"
        if server != row.servers[0]:
            line += f"   {row.servers[0]} is {ratio:5.2f} times as fast"
        elif row.at_least:
            verdict = "holds" if rate >= row.at_least else "DOES NOT HOLD"
            line += f" (claim: {row.at_least:,.0f}, {verdict})"
        if server in row.claims:
            verdict = "holds" if ratio >= row.claims[server] else "DOES NOT HOLD"
            line += f" (claim: {row.claims[server]:g}, {verdict})"
        if figure.errors:
            line += f"   {figure.errors} ERRORS"
        print(line, flush=True)


def run_rows(description: str | None, rows: dict[str, Row], seconds: int) -> None:
    """Run the rows that the command line names, or all of them."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(rows)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=seconds)
    options = parser.parse_args()
    for name in options.rows or rows:
        report(name, rows[name], compare(rows[name], options.rounds, options.seconds))


if __name__ == "__main__":
    run_rows(__doc__, ROWS, 2)
