"""Real processes for functional tests: each is started here, and ended by its pid."""

from __future__ import annotations

import contextlib
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
from typing import Any, Final, TypeVar

from kazoo.client import KazooClient
from twisted.trial.unittest import SynchronousTestCase

from zkservice.testing.apache import ReservedPort

T = TypeVar("T")

#: Seconds.  For hangs only: a busy machine may stop any process for some of them, so no test
#: says how soon something happens.  Figures are for docs/benchmarks and docs/reliability.rst.
TIMEOUT: Final = 90.0
#: Those of `free_port`, until this process ends.
_RESERVED: Final[list[ReservedPort]] = []

#: The twistd of the environment that runs the tests.
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]


#: An application that begins, and goes on when it is told.
SLOW = """
import os, time
def application(environ, start_response):
    open("begun", "w").close()
    while not os.path.exists("go"):
        time.sleep(0.02)
    start_response("200 OK", [])
    return [b""]
"""


class TimedOutError(AssertionError):
    """Something that was due did not happen."""


def wait_for(
    what: str, condition: Callable[[], T | None], seconds: float = TIMEOUT, pause: float = 0.02
) -> T:
    """The first true value of a condition."""
    deadline = time.monotonic() + seconds
    while True:
        late = time.monotonic() > deadline  # this process may be stopped in the condition
        value = condition()
        if value:
            return value
        if late:
            raise TimedOutError(f"{what}: not within {seconds} s")
        time.sleep(pause)


def free_port() -> int:
    """A TCP port of the loopback interface that no other program gets while this one runs.

    Tests of other processes ask the system for ports as well, also while the server of this port
    is down.
    """
    _RESERVED.append(ReservedPort())
    return _RESERVED[-1].number


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

    def wait_for_log(self, pattern: str, seconds: float = TIMEOUT) -> re.Match[str]:
        """The first match of a pattern in the log."""

        def look() -> re.Match[str] | None:
            ended = self.process.poll() is not None  # before its last words are read
            found = re.search(pattern, self.log())
            if found is None and ended:
                raise TimedOutError(f"{pattern!r}: the process has ended:\n{self.log()}")
            return found

        try:
            return wait_for(pattern, look, seconds)
        except TimedOutError as error:
            raise TimedOutError(f"{error}\n{self.log()}") from None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, seconds: float = TIMEOUT) -> int:
        """The exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimedOutError(f"the process has not ended:\n{self.log()}") from None

    def end(self) -> None:
        """End it, whatever it does; it need not wait until its clients have gone."""
        self.process.send_signal(signal.SIGCONT)
        for seconds in (0.3, 15):  # a second SIGTERM cuts the shutdown short
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
                break
        else:
            self.process.kill()
            self.process.wait()
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
    """A client that does not talk to stderr when its server is stopped on purpose.

    Its session is the longest that the servers grant.  It tries to connect again and again without
    ever longer pauses.
    """
    logger = logging.Logger("kazoo in tests")
    logger.addHandler(logging.NullHandler())
    retry = {"max_tries": -1, "delay": 0.05, "max_delay": 0.5}
    return KazooClient(connection_string, timeout=30.0, logger=logger, connection_retry=retry)


def started_kazoo(test: SynchronousTestCase, connection_string: str) -> KazooClient:
    """A connected `quiet_kazoo` that ends with the test."""
    client = quiet_kazoo(connection_string)
    test.addCleanup(client.close)
    test.addCleanup(client.stop)
    client.start(TIMEOUT)
    return client


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


def received(connection: socket.socket, pattern: bytes) -> bytes:
    """What comes until a pattern is found in it, in as many pieces as it likes."""
    data = b""
    while not re.search(pattern, data):
        piece = connection.recv(65536)
        if not piece:
            raise AssertionError(f"closed after {data!r}")
        data += piece
    return data


def conversation(connection: socket.socket, line: bytes) -> bytes:
    """Send something to a server that closes the connection after its reply: the reply."""
    connection.settimeout(TIMEOUT)
    connection.sendall(line)
    return b"".join(iter(lambda: connection.recv(65536), b""))


def told(monitor: str, line: str) -> str:
    """The reply of a monitor at HOST:PORT."""
    host, _, port = monitor.rpartition(":")
    with socket.create_connection((host, int(port)), TIMEOUT) as connection:
        return conversation(connection, line.encode() + b"\n").decode()


def threads_of(pid: int) -> int:
    """How many threads a process has."""
    return len(os.listdir(f"/proc/{pid}/task"))


def descriptors_of(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def fetch(
    address: str, path: str = "/", timeout: float = TIMEOUT, **kwargs: Any
) -> tuple[int, bytes]:
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
