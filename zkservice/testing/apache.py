"""A real Apache ZooKeeper for tests, with a data directory and a port of its own.

It blocks on purpose: a Java process is started once for many tests, outside of any
reactor.  Every wait has a bound.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar
from unittest import SkipTest

from typing_extensions import Self

JAVA_FOLDER: Final = Path("/usr/share/java")
#: Set to 1 to make tests fail that need Apache ZooKeeper where it is not installed.
REQUIRE: Final = "ZKSERVICE_REQUIRE_APACHE"
#: A Java class path that has another release of Apache ZooKeeper than Debian's package.
CLASSPATH: Final = "ZKSERVICE_ZOOKEEPER_CLASSPATH"

# The manifest of Debian's jar names the others that it needs, except one for TLS and one for
# logging.
_JARS: Final = ("zookeeper", "netty-codec", "slf4j-simple")
_SERVER: Final = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
_START_TIMEOUT: Final = 120.0  # seconds; Java on a busy machine
_STOP_TIMEOUT: Final = 10.0

T = TypeVar("T")


def available() -> bool:
    """Whether Java and a ZooKeeper server are on this machine.

    The server is that of Debian's ``zookeeper`` package, or of the class path in the environment
    variable ``ZKSERVICE_ZOOKEEPER_CLASSPATH``.
    """
    chosen = bool(os.environ.get(CLASSPATH))
    return shutil.which("java") is not None and (chosen or (JAVA_FOLDER / "zookeeper.jar").exists())


def skip_without_apache(test: T) -> T:
    """Decorate a test (or a class of tests) that needs a real server.

    Where ZooKeeper is not installed the test is skipped.  With ``ZKSERVICE_REQUIRE_APACHE=1``
    it is run there too, and fails.
    """
    if not available() and os.environ.get(REQUIRE) != "1":
        test.skip = "Apache ZooKeeper is not installed"  # type: ignore[attr-defined]
    return test


def classpath() -> str:
    """The jars that the server and ``zkCli`` need, as a Java class path.

    ``ZKSERVICE_ZOOKEEPER_CLASSPATH`` in the environment is used as it is.
    """
    if chosen := os.environ.get(CLASSPATH):
        return chosen
    found = [JAVA_FOLDER / f"{name}.jar" for name in _JARS]
    return os.pathsep.join(str(jar) for jar in found if jar.exists())


class ApacheZooKeeper:
    """One real server.  It can be stopped, killed and started again on the same data.

    Args:
        properties: Java system properties, such as
            ``zookeeper.DigestAuthenticationProvider.superDigest``.
        configuration: additional lines of ``zoo.cfg``.
    """

    def __init__(
        self,
        *,
        properties: Mapping[str, str] | None = None,
        configuration: Mapping[str, str] | None = None,
    ) -> None:
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        self._folder = Path(tempfile.mkdtemp(prefix="zookeeper-"))
        self.data_folder = self._folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._properties = {
            "zookeeper.extendedTypesEnabled": "true",
            "zookeeper.admin.enableServer": "false",
            "java.net.preferIPv4Stack": "true",
            **(properties or {}),
        }
        settings: dict[str, Any] = {
            "tickTime": 500,
            "dataDir": self.data_folder,
            "clientPort": self.port,
            "clientPortAddress": "127.0.0.1",
            "maxClientCnxns": 0,
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "*",
            **(configuration or {}),
        }
        lines = (f"{name}={value}\n" for name, value in settings.items())
        (self._folder / "zoo.cfg").write_text("".join(lines))

    @property
    def connection_string(self) -> str:
        """What clients connect to, ``127.0.0.1:PORT``."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The Java process, while there is one."""
        return None if self._process is None else self._process.pid

    @property
    def version(self) -> tuple[int, ...]:
        """The release that runs, such as ``(3, 8, 0)``; empty if the server does not run."""
        reply = four_letter_word(self.port, b"srvr").decode(errors="replace")
        found = re.match(r"Zookeeper version: (\d+)\.(\d+)\.(\d+)", reply)
        return tuple(map(int, found.groups())) if found else ()

    @property
    def log(self) -> str:
        """What the server has printed so far."""
        return (self._folder / "log").read_text(errors="replace")

    def start(self) -> Self:
        """Start it, and wait until clients can connect.

        Raises:
            RuntimeError: it did not start within 120 s; the message has the end of its output.
        """
        if self._process is None:
            self.launch()
            self.wait_until_ready()
        return self

    def launch(self) -> None:
        """Start it, without waiting for it."""
        java = shutil.which("java")
        if java is None:
            raise RuntimeError("there is no java on this machine")
        command = [java, "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        command += [f"-D{name}={value}" for name, value in self._properties.items()]
        command += ["-cp", classpath(), _SERVER, str(self._folder / "zoo.cfg")]
        with open(self._folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder
            )

    def wait_until_ready(self) -> None:
        """Wait until clients can connect; for a member of an ensemble, until there is a leader.

        Raises:
            RuntimeError: it did not start within 120 s; the message has the end of its output.
        """
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline and self._running():
            # Not "ruok": the server replies imok before it accepts clients.
            if four_letter_word(self.port, b"isro") == b"rw":
                return
            time.sleep(0.05)
        self.kill()
        raise RuntimeError(f"ZooKeeper did not start:\n{self.log[-2000:]}")

    def stop(self) -> None:
        """Terminate it (SIGTERM) and wait; its data is kept for another `start`."""
        self._end(lambda process: process.terminate())

    def kill(self) -> None:
        """Kill it (SIGKILL); its data is kept for another `start`."""
        self._end(lambda process: process.kill())

    def restart(self) -> Self:
        """Stop and start it, on the same port with the same data."""
        self.stop()
        return self.start()

    def wipe(self) -> None:
        """Kill it and delete its data: the next `start` makes a new server on the same port."""
        self.kill()
        for data in self.data_folder.glob("version-*"):
            shutil.rmtree(data)

    def remove(self) -> None:
        """Kill it and delete its directory; it cannot be started again."""
        self.kill()
        self._reserved.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.remove()

    def _running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _end(self, send_signal: Any) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        send_signal(process)
        try:
            process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class ApacheEnsemble:
    """An ensemble of real servers; each member can be killed and started again.

    Args:
        size: the number of members; a majority must run.
        properties: Java system properties of all members.
        configuration: additional lines of their ``zoo.cfg``.
    """

    def __init__(
        self,
        size: int = 3,
        *,
        properties: Mapping[str, str] | None = None,
        configuration: Mapping[str, str] | None = None,
    ) -> None:
        self._reserved = [(ReservedPort(), ReservedPort()) for _ in range(size)]
        peers = {
            f"server.{number}": f"127.0.0.1:{quorum.number}:{election.number}"
            for number, (quorum, election) in enumerate(self._reserved, 1)
        }
        limits = {"initLimit": "20", "syncLimit": "10"}  # ticks
        lines = {**limits, **peers, **(configuration or {})}
        self.members = tuple(
            ApacheZooKeeper(properties=properties, configuration=lines) for _ in peers
        )
        for number, member in enumerate(self.members, 1):
            member.data_folder.mkdir()
            (member.data_folder / "myid").write_text(f"{number}\n")

    @property
    def connection_string(self) -> str:
        """All members: ``127.0.0.1:PORT,127.0.0.1:PORT,...``."""
        return ",".join(member.connection_string for member in self.members)

    @property
    def leader(self) -> ApacheZooKeeper | None:
        """The leader, if there is one now."""
        for member in self.members:
            if b"Mode: leader" in four_letter_word(member.port, b"srvr"):
                return member
        return None

    def start(self) -> Self:
        """Start all members, and wait until clients can connect to each.

        Raises:
            RuntimeError: one did not start within 120 s.
        """
        for member in self.members:
            member.launch()
        for member in self.members:
            member.wait_until_ready()
        return self

    def remove(self) -> None:
        """Kill all members and delete their directories; they cannot be started again."""
        for member in self.members:
            member.remove()
        for quorum, election in self._reserved:
            quorum.close()
            election.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.remove()


def four_letter_word(port: int, word: bytes, timeout: float = 5.0) -> bytes:
    """Send a four-letter word to the server on a loopback port, and return its reply.

    The reply is empty if there is no server.
    """
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as connection:
            connection.sendall(word)
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
            return answer
    except OSError:
        return b""


def require_apache() -> None:
    """Skip the running test where there is no Apache ZooKeeper, unless it is required."""
    if not available() and os.environ.get(REQUIRE) != "1":
        raise SkipTest("Apache ZooKeeper is not installed")


class ReservedPort:
    """A port of the loopback interface that the system does not assign again until it is closed.

    A server may be down when another one asks the system for a port, and two ensembles that get
    each other's ports mix their data.  So the port stays bound here, without listening; Linux lets
    a server bind it too, because both set SO_REUSEADDR, as Java does.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]
        if sys.platform != "linux":
            self._socket.close()

    def close(self) -> None:
        """Release the port."""
        self._socket.close()
