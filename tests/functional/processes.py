"""Real processes for functional tests: each is started here, and ended by its pid."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from kazoo.client import KazooClient

T = TypeVar("T")

#: The twistd of the environment that runs the tests.
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]


class TimedOutError(AssertionError):
    """Something that was due did not happen."""


def wait_for(
    what: str, condition: Callable[[], T | None], seconds: float = 15.0, pause: float = 0.02
) -> T:
    """The first true value of a condition."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimedOutError(f"{what}: not within {seconds} s")
        time.sleep(pause)


def free_port() -> int:
    """A free TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Twistd:
    """One ``twistd -n`` with its log."""

    def __init__(
        self,
        folder: str,
        *words: str,
        environ: dict[str, str] | None = None,
        command: Sequence[str] = TWISTD,
        inherit: Sequence[int] = (),
    ) -> None:
        os.makedirs(folder, exist_ok=True)
        self.log_path = os.path.join(folder, f"twistd-{time.monotonic_ns()}.log")
        self._log = open(self.log_path, "wb")  # noqa: SIM115 - closed in end()
        self.process = subprocess.Popen(
            [*command, "-n", "--pidfile=", *words],
            cwd=folder,
            pass_fds=inherit,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**self.environment(), **(environ or {})},
        )

    @staticmethod
    def environment() -> dict[str, str]:
        """That of a process which finds this checkout."""
        return {**os.environ, "PYTHONPATH": _root()}

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    def log(self) -> str:
        """All it has said so far."""
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def wait_for_log(self, pattern: str, seconds: float = 15.0) -> re.Match[str]:
        """The first match of a pattern in the log."""

        def look() -> re.Match[str] | None:
            found = re.search(pattern, self.log())
            if found is None and self.process.poll() is not None:
                raise TimedOutError(f"{pattern!r}: the process has ended:\n{self.log()}")
            return found

        try:
            return wait_for(pattern, look, seconds)
        except TimedOutError as error:
            raise TimedOutError(f"{error}\n{self.log()}") from None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, seconds: float = 15.0) -> int:
        """The exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimedOutError(f"the process has not ended:\n{self.log()}") from None

    def end(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        self._log.close()


class EmbeddedProcess:
    """``twistd zkembedded`` with its data in a folder: started, stopped and started again."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._port = free_port()
        self._twistd: Twistd | None = None

    @property
    def connection_string(self) -> str:
        """Where it listens, whether or not it runs."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        os.makedirs(self._folder, exist_ok=True)
        self._twistd = Twistd(
            self._folder,
            "zkembedded",
            *("--listen", f"tcp:{self._port}:interface=127.0.0.1"),
            *("--data-dir", os.path.join(os.path.abspath(self._folder), "data")),
            *("--tick-time", "500"),
        )
        wait_for("zkembedded answers", self._answers)

    def stop(self) -> None:
        """Stop it; its data stays."""
        if self._twistd is not None:
            self._twistd.end()
            self._twistd = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), 1) as probe:
                probe.sendall(b"ruok")
                return probe.recv(4) == b"imok"
        except OSError:
            return False


def quiet_kazoo(connection_string: str) -> KazooClient:
    """A client that does not talk to stderr when its server is stopped on purpose."""
    logger = logging.Logger("kazoo in tests")
    logger.addHandler(logging.NullHandler())
    return KazooClient(connection_string, timeout=4.0, logger=logger)


def write_module(path: Path, text: str) -> None:
    """Write a module's source, which may replace another one of the same size.

    Python tells stale bytecode from the size and the second of the source: the second differs.
    """
    modified = time.time()
    if path.exists():
        modified = max(modified, path.stat().st_mtime + 1)
    path.write_text(text)
    os.utime(path, (modified, modified))


def runs(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):  # the second if it ends between the two calls
        return False


def threads_of(pid: int) -> int:
    """How many threads a process has."""
    return len(os.listdir(f"/proc/{pid}/task"))


def descriptors_of(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def fetch(address: str, path: str = "/", timeout: float = 10, **kwargs: Any) -> tuple[int, bytes]:
    """The status and body of one request."""
    import http.client

    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=timeout)
    try:
        connection.request("GET", path, **kwargs)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _root() -> str:
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
