"""``twistd zkembedded`` as a process, with other people's clients."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
from pathlib import Path
from unittest import SkipTest

from kazoo.client import KazooClient
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.certificates import Authority
from tests.functional.processes import TIMEOUT, Twistd, free_port, wait_for
from zkservice.testing.apache import REQUIRE, four_letter_word

QUIET = logging.getLogger("quiet")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False
ZKCLI = "/usr/share/zookeeper/bin/zkCli.sh"


class ProcessTestCase(SynchronousTestCase):
    """One process, ended by its id."""

    @override
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        self.port = free_port()

    def start(self, *words: str) -> Twistd:
        """Start a server, and wait until it answers."""
        twistd = self.run_twistd("--tick-time", "500", *words)
        wait_for("imok", lambda: four_letter_word(self.port, b"ruok") == b"imok")
        return twistd

    def run_twistd(self, *words: str) -> Twistd:
        """Start a server."""
        listen = ("--listen", f"tcp:{self.port}:interface=127.0.0.1")
        twistd = Twistd(self.folder, "zkembedded", *listen, *words)
        self.addCleanup(twistd.end)
        return twistd

    def client(self, **options: object) -> KazooClient:
        """A connected kazoo."""
        retry = {"max_tries": -1, "max_delay": 0.5}  # back before its session ends
        client = KazooClient(
            f"127.0.0.1:{self.port}", timeout=10.0, logger=QUIET, connection_retry=retry, **options
        )
        self.addCleanup(client.close)
        self.addCleanup(client.stop)
        client.start(TIMEOUT)
        return client


def require_zkcli() -> None:
    """Skip the running test where there is no zkCli, unless it is required."""
    if not os.path.exists(ZKCLI) or shutil.which("java") is None:
        if os.environ.get(REQUIRE) == "1":
            raise AssertionError(f"there is no {ZKCLI}")
        raise SkipTest(f"there is no {ZKCLI}")


class ZkembeddedTests(ProcessTestCase):
    """The program."""

    def test_it_says_where_it_listens(self) -> None:
        """It logs where it listens and that it is not an ensemble, and ends cleanly."""
        twistd = self.start()
        twistd.wait_for_log(rf"ZooKeeper listens on 127\.0\.0\.1:{self.port}")
        twistd.wait_for_log("one ZooKeeper node in one process, not an ensemble")
        twistd.signal(signal.SIGTERM)
        self.assertEqual(twistd.wait(), 0)

    def test_a_taken_port_is_one_line(self) -> None:
        """One line that says so, and exit code 1."""
        self.start()
        second = self.run_twistd()
        self.assertEqual(second.wait(), 1)
        self.assertRegex(second.log(), rf"zkembedded: cannot listen at tcp:{self.port}:.* in use")
        self.assertNotIn("Traceback", second.log())

    def test_a_taken_directory_is_one_line(self) -> None:
        """So with a data directory."""
        self.start("--data-dir", "data")
        self.port = free_port()
        second = self.run_twistd("--data-dir", "data")
        self.assertEqual(second.wait(), 1)
        self.assertRegex(second.log(), "zkembedded: cannot use the data directory .*/data: another")
        self.assertNotIn("Traceback", second.log())

    def test_invalid_options_are_one_line(self) -> None:
        """Options that mean nothing are refused in one line."""
        Path(self.folder).mkdir()
        Path(self.folder, "users").write_text("nobody")
        for words, said in (
            (("--tick-time", "0"), "--tick-time must be at least 1"),
            (("--super-digest", "super"), "--super-digest must be like super:BASE64"),
            (("--listen", "nonsense:1"), "is not a Twisted server endpoint"),
            (("--sasl-users", "no-such-file"), "--sasl-users: no-such-file: No such file"),
            (("--sasl-users", "users"), "--sasl-users: users: line 1 must be 'user:password'"),
        ):
            twistd = self.run_twistd(*words)
            self.assertEqual(twistd.wait(), 1, words)
            self.assertIn(said, twistd.log())
            self.assertNotIn("Traceback", twistd.log())

    def test_acknowledged_writes_survive_kill_9(self) -> None:
        """After kill -9 all is there that was acknowledged, and sessions go on."""
        first = self.start("--data-dir", "data")
        client = self.client()
        client.create("/e", b"x", ephemeral=True)
        session = client.client_id[0]
        pending = [client.create_async(f"/n{number}") for number in range(5000)]
        pending[500].get(timeout=TIMEOUT)
        first.signal(signal.SIGKILL)  # in the middle of it
        first.wait()
        for one in pending:
            one.wait(TIMEOUT)
        acknowledged = {one.value for one in pending if one.successful()}
        self.assertGreater(len(acknowledged), 500)
        zxid = client.last_zxid
        self.start("--data-dir", "data")
        wait_for("the client is back", lambda: client.connected)
        there = {f"/{name}" for name in client.retry(client.get_children, "/")}
        self.assertEqual(acknowledged - there, set())
        self.assertEqual(client.client_id[0], session)
        self.assertEqual(client.retry(client.exists, "/e").ephemeralOwner, session)
        client.create("/later")
        self.assertGreater(client.last_zxid, zxid)

    def test_start_again_in_memory(self) -> None:
        """Clients find out that their sessions are over, and get new ones."""
        first = self.start()
        client = self.client()
        client.create("/a")
        session = client.client_id[0]
        first.end()
        self.start()
        # There is no id while it is not connected.
        wait_for("a new session", lambda: (client.client_id or (session,))[0] != session)
        self.assertIsNone(client.retry(client.exists, "/a"))

    def test_super_user_and_sasl(self) -> None:
        """The super user's digest, and users from a file."""
        Path(self.folder).mkdir()
        Path(self.folder, "users").write_text("jane:secret\n")
        digest = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="
        self.start("--super-digest", digest, "--sasl-users", "users")
        boss = self.client(auth_data=[("digest", "super:test")])
        boss.set("/zookeeper/config", b"x")
        jane = {"mechanism": "DIGEST-MD5", "username": "jane", "password": "secret"}
        client = self.client(sasl_options=jane)
        self.assertEqual(client.create("/mine"), "/mine")

    def test_it_is_the_same_over_tls(self) -> None:
        """Over TLS it is the same, four-letter words included."""
        Path(self.folder).mkdir()
        authority = Authority(self.folder)
        certificate = authority.issue("localhost")
        secure = free_port()
        endpoint = f"ssl:{secure}:interface=127.0.0.1:privateKey={certificate}"
        self.start("--listen", endpoint)
        client = KazooClient(f"localhost:{secure}", use_ssl=True, ca=authority.ca, logger=QUIET)
        self.addCleanup(client.close)
        self.addCleanup(client.stop)
        client.start(TIMEOUT)
        self.assertEqual(client.create("/a"), "/a")
        trust = ssl.create_default_context(cafile=authority.ca)
        with (
            socket.create_connection(("localhost", secure), TIMEOUT) as plain,
            trust.wrap_socket(plain, server_hostname="localhost") as line,
        ):
            line.sendall(b"isro")
            self.assertEqual(line.recv(100), b"rw")


class ZkCliTests(ProcessTestCase):
    """Java's own client, scripted."""

    SCRIPT = """\
create /a hello
create -s -e /a/s- x
create -c /container
create -t 60000 /mortal
ls -w /a
create /a/b 1
get -w /a
stat -w /a
set /a 2
addWatch -m PERSISTENT_RECURSIVE /a
set /a/b 2
removewatches /a
addauth digest u:p
setAcl /a/b auth:u:p:cdrwa
getAcl /a/b
getAllChildrenNumber /
getEphemerals /
whoami
sync /a
deleteall /a
delete /no
ls /
quit
"""

    def test_zkcli_works_as_with_a_real_server(self) -> None:
        """Create, list, watch, authenticate, delete, quit: all is as with a real server."""
        require_zkcli()
        self.start()
        said = subprocess.run(
            [ZKCLI, "-server", f"127.0.0.1:{self.port}"],
            input=self.SCRIPT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
            check=True,
        ).stdout
        self.assertNotIn("KeeperErrorCode", said)
        for line in (
            "Created /a",
            "Created /a/s-0000000000",
            "Created /container",
            "Created /mortal",
            "[s-0000000000]",
            "WatchedEvent state:SyncConnected type:NodeChildrenChanged path:/a",
            "WatchedEvent state:SyncConnected type:NodeDataChanged path:/a",
            "WatchedEvent state:SyncConnected type:NodeDataChanged path:/a/b",
            "WatchedEvent state:SyncConnected type:PersistentWatchRemoved path:/a",
            "'digest,'u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=",
            "[/a/s-0000000000]",
            "digest: u",
            "Sync is OK",
            "Node does not exist: /no",
            "[container, mortal, zookeeper]",
        ):
            self.assertIn(line, said)
        self.assertEqual(len(re.findall("type:NodeDataChanged path:/a$", said, re.M)), 1)
        wait_for("the session is closed", lambda: self._sessions() == "0")

    def test_java_is_told_that_its_session_expired(self) -> None:
        """Java's client learns that its session expired with the server, and gets a new one."""
        require_zkcli()
        first = self.start()
        with open(os.path.join(self.folder, "said"), "w+b") as said:
            where = f"127.0.0.1:{self.port}"
            client = subprocess.Popen(
                [ZKCLI, "-server", where], stdin=subprocess.PIPE, stdout=said, stderr=said
            )
            self.addCleanup(client.wait)
            self.addCleanup(client.kill)
            assert client.stdin is not None
            self.addCleanup(client.stdin.close)

            def say(line: str, answer: str) -> None:
                """Type a line, if any, and wait for an answer."""
                assert client.stdin is not None
                client.stdin.write(line.encode())
                client.stdin.flush()
                wait_for(answer, lambda: answer in Path(said.name).read_text())

            say("create /a\n", "Created /a")
            first.end()
            self.start()
            say("", "state:Expired")
            say(f"connect {where}\ncreate /b\nls /\n", "[b, zookeeper]")
            client.stdin.write(b"quit\n")
            client.stdin.flush()
            self.assertEqual(client.wait(TIMEOUT), 0)

    def _sessions(self) -> str:
        report = four_letter_word(self.port, b"mntr").decode()
        found = re.search(r"^zk_global_sessions\t(\d+)$", report, re.M)
        return found[1] if found else "no answer"
