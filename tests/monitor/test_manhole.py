"""Tests of the manhole: who may use it, and that it is a Python prompt."""

from __future__ import annotations

import os
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.error import ValidPublicKey
from twisted.conch.interfaces import IConchUser
from twisted.conch.ssh.keys import BadKeyError, Key
from twisted.conch.telnet import DO, ECHO, IAC, LINEMODE, NAWS, SGA, WILL
from twisted.cred.credentials import SSHPrivateKey
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.monitor.manhole import is_local, read_token, ssh_manhole, telnet_manhole
from zkservice.monitor.prompt import completions

HERE = IPv4Address("TCP", "127.0.0.1", 4)
# What a telnet program answers to the options that it is asked for.
AGREED = b"".join(
    [IAC + WILL + LINEMODE, IAC + WILL + NAWS, IAC + WILL + SGA, IAC + DO + SGA, IAC + DO + ECHO]
)
THERE = IPv4Address("TCP", "192.0.2.1", 4)


class LocalTests(SynchronousTestCase):
    """Which peers are on this machine."""

    def test_only_loopback_and_unix_addresses_are_local(self) -> None:
        """Loopback addresses of both kinds, and UNIX sockets; nothing else."""
        local = [
            HERE,
            IPv4Address("TCP", "127.1.2.3", 4),
            IPv6Address("TCP", "::1", 4),
            IPv6Address("TCP", "::ffff:127.0.0.1", 4),
            UNIXAddress(None),
        ]
        foreign = [
            THERE,
            IPv6Address("TCP", "::ffff:192.0.2.1", 4),
            IPv6Address("TCP", "fe80::1%eth0", 4),
            IPv4Address("TCP", "localhost", 4),
            None,
        ]
        self.assertEqual([one for one in local if not is_local(one)], [])
        self.assertEqual([one for one in foreign if is_local(one)], [])


class CompletionTests(SynchronousTestCase):
    """Names that Tab completes."""

    def test_names_and_attributes(self) -> None:
        """Those of the prompt, and those of an object; hidden ones only if asked for."""

        class Service:
            config = 1
            _hidden = 2

            @property
            def costly(self) -> object:
                raise AssertionError("called")

        names = {"service": Service(), "server": 1}
        for name, found in (
            ("serv", ["server", "service"]),
            ("service.co", ["service.config", "service.costly"]),
            ("service.costly.", []),
            ("service._h", ["service._hidden"]),
            ("nothing.", []),
            ("x", []),
        ):
            self.assertEqual(completions(name, names), found, name)

    def test_tab(self) -> None:
        """What is common is typed, then the names are listed; elsewhere it is an indentation."""
        factory: Any = telnet_manhole({"service": 1, "server": 2})
        protocol, transport = factory.buildProtocol(UNIXAddress(None)), StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(AGREED)
        for typed, shown in ((b"se\t", b"rv"), (b"\t", b"server  service"), (b"i\t", b"ce")):
            transport.clear()
            protocol.dataReceived(typed)
            self.assertIn(shown, transport.value())
        transport.clear()
        protocol.dataReceived(b"\r\n\t1 + 1\r\n")
        self.assertIn(b"1", transport.value())
        protocol.connectionLost(Failure(ConnectionDone()))


class TelnetTests(SynchronousTestCase):
    """Python prompts for this machine."""

    def ask(self, factory: Any, line: bytes) -> bytes:
        """What a new connection's screen shows after a line."""
        protocol, transport = factory.buildProtocol(HERE), StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(AGREED + line + b"\r\n")
        shown: bytes = transport.value()
        protocol.connectionLost(Failure(ConnectionDone()))
        return shown

    def test_an_expression_is_evaluated(self) -> None:
        """An expression is answered, with the names that were given."""
        factory = telnet_manhole({"answer": 6})
        self.assertIn(b"42", self.ask(factory, b"answer*7"))

    def test_users_do_not_share_names(self) -> None:
        """What one user changes is not the other's, nor the giver's."""
        namespace: dict[str, Any] = {"answer": 6}
        factory = telnet_manhole(namespace)
        self.ask(factory, b"answer = 7")
        self.assertIn(b"36", self.ask(factory, b"answer*6"))
        self.assertEqual(namespace, {"answer": 6})

    def test_other_machines_are_refused(self) -> None:
        """Peers of other machines are turned away."""
        self.assertIsNone(telnet_manhole({}).buildProtocol(THERE))

    def test_the_banner_lists_the_names(self) -> None:
        """A prompt begins with what its names are."""
        shown = self.ask(telnet_manhole({"clock": Clock()}), b"1").decode("latin-1")
        self.assertIn(f"Python prompt inside process {os.getpid()}.", shown)
        self.assertIn("clock: Clock.  Provide a deterministic, easily-controlled", shown)
        self.assertLess(shown.index("clock: "), shown.index(">>>"))


class GuardTests(SynchronousTestCase):
    """What has to be said, or not, before a line of Python is run."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.ran: list[int] = []
        self.factories: dict[bytes | None, Any] = {}

    def connect(self, token: bytes | None = b"sesame") -> tuple[Any, StringTransport]:
        """A connection to a manhole whose ``run`` can be seen."""
        factory = self.factories.get(token)
        if factory is None:
            factory = telnet_manhole({"run": self.ran.append}, token=token, clock=self.clock)
            self.factories[token] = factory
        protocol: Any = factory.buildProtocol(HERE)
        transport = StringTransport()
        protocol.makeConnection(transport)
        self.addCleanup(protocol.connectionLost, Failure(ConnectionDone()))
        return protocol, transport

    def test_the_token_opens_a_prompt(self) -> None:
        """Behind the token there is a prompt; line ends may be those of any telnet."""
        for number, end in enumerate((b"\r\n", b"\n", b"\r\0")):
            protocol, transport = self.connect()
            self.assertTrue(transport.value().endswith(b"Token: "))
            protocol.dataReceived(AGREED + b"sesame" + end)
            self.assertIn(b">>>", transport.value())
            protocol.dataReceived(b"run(%d)\r\n" % number)
            self.assertEqual(self.ran[-1:], [number])

    def test_token_in_pieces(self) -> None:
        """The token may come in pieces, and with the first line of Python behind it."""
        protocol, _ = self.connect()
        for piece in (b"ses", b"ame", b"\r", b"\n", b"run(1)\r\n"):
            protocol.dataReceived(piece)
        protocol, _ = self.connect()
        protocol.dataReceived(b"sesame\r\nrun(2)\r\n")
        self.assertEqual(self.ran, [1, 2])

    def test_a_wrong_token_closes_the_connection(self) -> None:
        """With a wrong token the connection is closed, and what follows is not run."""
        for wrong in (b"", b"sesam", b"sesame2", b"run(1)", b"x" * 10_000):
            protocol, transport = self.connect()
            protocol.dataReceived(wrong + b"\r\nsesame\r\nrun(1)\r\n")
            protocol.dataReceived(b"sesame\r\nrun(1)\r\n")
            self.assertTrue(transport.disconnecting, wrong)
        self.assertEqual(self.ran, [])

    def test_http_is_refused(self) -> None:
        """HTTP is refused, with a token or without, however it is cut into pieces."""
        request = b"POST /run(1) HTTP/1.1\r\nHost: a\r\n\r\nrun(1)\r\nsesame\r\nrun(1)\r\n"
        for token in (None, b"sesame"):
            for size in (1, 7, 1000):
                protocol, transport = self.connect(token)
                for start in range(0, len(request), size):
                    protocol.dataReceived(request[start : start + size])
                self.assertTrue(transport.disconnecting)
                self.assertIn(b"does not speak HTTP", transport.value())
        self.assertEqual(self.ran, [])

    def test_a_tls_handshake_is_refused(self) -> None:
        """So is a handshake of TLS, in which a page can choose some bytes."""
        protocol, transport = self.connect(None)
        protocol.dataReceived(b"\x16\x03\x01\x02\x00\x01\rrun(1)\r\n")
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.ran, [])

    def test_an_endless_first_line_is_refused(self) -> None:
        """A first line without end is refused before it fills the memory."""
        protocol, transport = self.connect(None)
        for _ in range(100):
            protocol.dataReceived(b"x" * 100)
        self.assertTrue(transport.disconnecting)

    def test_login_takes_too_long(self) -> None:
        """Without a login the connection times out; after it the user may be idle for a day."""
        _, silent = self.connect()
        protocol, user = self.connect()
        protocol.dataReceived(b"sesame\r\n")
        self.clock.advance(60)
        self.assertEqual((silent.disconnected, user.disconnected), (True, False))
        self.clock.advance(86_400)
        self.assertFalse(user.disconnected)

    def test_silent_connections_give_way_to_others(self) -> None:
        """Connections that do not log in give way to others, before a session does."""
        protocol, user = self.connect()
        protocol.dataReceived(b"sesame\r\n")
        silent = [self.connect()[1] for _ in range(100)]
        self.assertFalse(user.disconnected)
        self.assertEqual(sum(not one.disconnected for one in silent), 31)
        self.assertFalse(silent[-1].disconnected)


class TokenFileTests(SynchronousTestCase):
    """Where the token is kept."""

    def test_a_missing_file_is_created_private(self) -> None:
        """A missing file is made, for no one else to read; its token stays."""
        path = self.mktemp()
        token = read_token(path)
        self.assertGreaterEqual(len(token), 32)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        self.assertEqual(read_token(path), token)
        self.assertNotEqual(read_token(self.mktemp()), token)

    def test_the_first_line_of_a_file_is_the_token(self) -> None:
        """The first line of a file is the token; without one it is refused."""
        path = self.mktemp()
        for content, token in ((b" sesame \nmore", b"sesame"), (b"x", b"x")):
            with open(path, "wb") as file:
                file.write(content)
            self.assertEqual(read_token(path), token)
        for content in (b"", b"\nx", b"x" * 5000):
            with open(path, "wb") as file:
                file.write(content)
            self.assertRaises(ValueError, read_token, path)

    def test_readable_to_others(self) -> None:
        """A token that others can read is used, and the log warns of it."""
        path = self.mktemp()
        read_token(path)
        for mode, warnings in ((0o600, 0), (0o640, 1), (0o604, 1)):
            os.chmod(path, mode)
            with capturedLogs() as seen:
                read_token(path)
            self.assertEqual([event["path"] for event in seen], [path] * warnings)

    def test_a_dangling_link_is_not_followed(self) -> None:
        """A link to nothing is not followed when the file is made."""
        path = self.mktemp()
        os.symlink(f"{path}.elsewhere", path)
        self.assertRaises(OSError, read_token, path)
        self.assertFalse(os.path.exists(f"{path}.elsewhere"))


class SSHTests(SynchronousTestCase):
    """Python prompts for those who hold a key."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.path = os.path.join(self.mktemp(), "host_key")
        os.makedirs(os.path.dirname(self.path))
        self.key = Key(Ed25519PrivateKey.generate())
        self.line = self.key.public().toString("openssh")

    def make(self) -> Any:
        """A manhole for the user ``admin`` with our key."""
        return ssh_manhole(
            {},
            authorized_keys=[self.line, b"\n"],
            user="admin",
            host_key=self.path,
            clock=self.clock,
        )

    def login(self, user: bytes, key: Key) -> Any:
        """Log in with a signature of the key."""
        data = b"what is signed"
        credentials = SSHPrivateKey(user, key.sshType(), key.public().blob(), data, key.sign(data))
        return self.make().portal.login(credentials, None, IConchUser)

    def test_the_right_key_logs_in(self) -> None:
        """The right user with the right key gets in."""
        interface, _, _ = self.successResultOf(self.login(b"admin", self.key))
        self.assertIs(interface, IConchUser)

    def test_another_key_or_name_is_refused(self) -> None:
        """Another key, or another name, does not."""
        other = Key(Ed25519PrivateKey.generate())
        self.failureResultOf(self.login(b"admin", other), UnauthorizedLogin)
        self.failureResultOf(self.login(b"root", self.key), UnauthorizedLogin)

    def test_a_key_without_a_signature_is_refused(self) -> None:
        """A public key alone opens nothing."""
        blob = self.key.public().blob()
        credentials = SSHPrivateKey(b"admin", self.key.sshType(), blob, None, None)
        login = self.make().portal.login(credentials, None, IConchUser)
        self.failureResultOf(login, ValidPublicKey)

    def test_login_takes_too_long(self) -> None:
        """A connection that does not log in is dropped after a while, or gives way to another."""
        factory = self.make()
        factory.doStart()
        self.addCleanup(factory.doStop)

        def connect() -> tuple[Any, StringTransport]:
            protocol, transport = factory.buildProtocol(THERE), StringTransport()
            protocol.makeConnection(transport)
            self.addCleanup(protocol.connectionLost, Failure(ConnectionDone()))
            return protocol, transport

        user, first = connect()
        user.avatar = object()  # as Twisted does when a user has logged in
        user.logoutFunction = lambda: None
        silent = [connect()[1] for _ in range(40)]
        self.assertEqual(sum(one.disconnected for one in silent), 9)
        self.clock.advance(60)
        self.assertEqual(sum(one.disconnected for one in silent), 40)
        self.assertFalse(first.disconnected)

    def test_the_host_key_is_created_once(self) -> None:
        """The host's key is made once, for no one else to read, and kept."""
        first = self.make().privateKeys
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)
        second = self.make()
        self.assertEqual(second.privateKeys, first)
        self.assertEqual(list(second.publicKeys), [b"ssh-ed25519"])
        self.assertTrue(second.publicKeys[b"ssh-ed25519"].isPublic())

    def test_without_a_valid_key_it_does_not_start(self) -> None:
        """A manhole without a key, or with a bad one, is refused at once."""
        for lines in ([], [b"", b" \n"]):
            with self.assertRaisesRegex(ValueError, "at least one authorized key"):
                ssh_manhole({}, authorized_keys=lines, user="admin", host_key=self.path)
        with self.assertRaises(BadKeyError):
            ssh_manhole({}, authorized_keys=[b"nonsense"], user="admin", host_key=self.path)
        self.assertFalse(os.path.exists(self.path))
