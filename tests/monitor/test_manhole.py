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
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.monitor.manhole import is_local, ssh_manhole, telnet_manhole

HERE = IPv4Address("TCP", "127.0.0.1", 4)
# What a telnet program answers to the options that it is asked for.
AGREED = b"".join(
    [IAC + WILL + LINEMODE, IAC + WILL + NAWS, IAC + WILL + SGA, IAC + DO + SGA, IAC + DO + ECHO]
)
THERE = IPv4Address("TCP", "192.0.2.1", 4)


class LocalTests(SynchronousTestCase):
    """Which peers are on this machine."""

    def test_addresses(self) -> None:
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

    def test_prompt(self) -> None:
        """An expression is answered, with the names that were given."""
        factory = telnet_manhole({"answer": 6})
        self.assertIn(b"42", self.ask(factory, b"answer*7"))

    def test_own_names(self) -> None:
        """What one user changes is not the other's, nor the giver's."""
        namespace: dict[str, Any] = {"answer": 6}
        factory = telnet_manhole(namespace)
        self.ask(factory, b"answer = 7")
        self.assertIn(b"36", self.ask(factory, b"answer*6"))
        self.assertEqual(namespace, {"answer": 6})

    def test_strangers(self) -> None:
        """Peers of other machines are turned away."""
        self.assertIsNone(telnet_manhole({}).buildProtocol(THERE))


class SSHTests(SynchronousTestCase):
    """Python prompts for those who hold a key."""

    @override
    def setUp(self) -> None:
        self.path = os.path.join(self.mktemp(), "host_key")
        os.makedirs(os.path.dirname(self.path))
        self.key = Key(Ed25519PrivateKey.generate())
        self.line = self.key.public().toString("openssh")

    def make(self) -> Any:
        """A manhole for the user ``admin`` with our key."""
        return ssh_manhole({}, authorized_keys=[self.line, b"\n"], user="admin", host_key=self.path)

    def login(self, user: bytes, key: Key) -> Any:
        """Log in with a signature of the key."""
        data = b"what is signed"
        credentials = SSHPrivateKey(user, key.sshType(), key.public().blob(), data, key.sign(data))
        return self.make().portal.login(credentials, None, IConchUser)

    def test_login(self) -> None:
        """The right user with the right key gets in."""
        interface, _, _ = self.successResultOf(self.login(b"admin", self.key))
        self.assertIs(interface, IConchUser)

    def test_refused(self) -> None:
        """Another key, or another name, does not."""
        other = Key(Ed25519PrivateKey.generate())
        self.failureResultOf(self.login(b"admin", other), UnauthorizedLogin)
        self.failureResultOf(self.login(b"root", self.key), UnauthorizedLogin)

    def test_no_signature(self) -> None:
        """A public key alone opens nothing."""
        blob = self.key.public().blob()
        credentials = SSHPrivateKey(b"admin", self.key.sshType(), blob, None, None)
        login = self.make().portal.login(credentials, None, IConchUser)
        self.failureResultOf(login, ValidPublicKey)

    def test_host_key(self) -> None:
        """The host's key is made once, for no one else to read, and kept."""
        first = self.make().privateKeys
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)
        second = self.make()
        self.assertEqual(second.privateKeys, first)
        self.assertEqual(list(second.publicKeys), [b"ssh-ed25519"])
        self.assertTrue(second.publicKeys[b"ssh-ed25519"].isPublic())

    def test_nobody(self) -> None:
        """Without a key nobody could log in, and a bad key is refused at once."""
        for lines in ([], [b"", b" \n"]):
            with self.assertRaisesRegex(ValueError, "at least one authorized key"):
                ssh_manhole({}, authorized_keys=lines, user="admin", host_key=self.path)
        with self.assertRaises(BadKeyError):
            ssh_manhole({}, authorized_keys=[b"nonsense"], user="admin", host_key=self.path)
        self.assertFalse(os.path.exists(self.path))
