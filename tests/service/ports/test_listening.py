"""Tests for `zkservice.service.ports.listening`."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import shutil
import socket
import tempfile
from types import SimpleNamespace
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.errors import ConfigurationError
from zkservice.service.config import Config, ListenAddress, Owner, ZooKeeperTarget
from zkservice.service.ports.endpoint_strings import give_socket, open_port, socket_owner
from zkservice.service.ports.listeners import Listeners
from zkservice.service.ports.listening import close_port, endpoint_of


class _Welcome(Protocol):
    """Says a word to whoever is let in."""

    @override
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"welcome")


class ClosePortTests(SynchronousTestCase):
    """A real port, of a reactor that turns when the test says so."""

    def setUp(self) -> None:
        """A port that has had a quiet time: the reactor accepts one connection at a time."""
        self.reactor = SelectReactor()
        self.addCleanup(self.end_reactor)
        factory = Factory.forProtocol(_Welcome)
        self.port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.connect()
        self.port.doRead()

    def end_reactor(self) -> None:
        """Close what is still open."""
        for open_one in self.reactor.removeAll():
            open_one.connectionLost(Failure(ConnectionDone()))
        self.reactor.waker.connectionLost(Failure(ConnectionDone()))

    def connect(self) -> socket.socket:
        """A connection, as far as the kernel is concerned."""
        client = socket.create_connection(("127.0.0.1", self.port.getHost().port), 5)
        self.addCleanup(client.close)
        return client

    def test_pending_connections_are_accepted_before_the_port_closes(self) -> None:
        """Connections in the kernel's queue when the port closes are accepted; later ones not."""
        clients = [self.connect() for _ in range(10)]
        where = self.port.getHost().port
        closed = close_port(self.reactor, self.port)
        clients.append(self.connect())  # between two turns of the reactor
        self.reactor.runUntilCurrent()
        self.successResultOf(closed)
        self.reactor.doIteration(0)
        self.assertEqual([client.recv(7) for client in clients], [b"welcome"] * 11)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", where), 5)


class EndpointTests(SynchronousTestCase):
    """Where the monitor and the manhole listen."""

    def test_loopback_by_default(self) -> None:
        """Without a host it is this machine only; all addresses have to be asked for."""
        for address, endpoint in (
            (":9001", "tcp:9001:interface=127.0.0.1"),
            ("0.0.0.0:9001", "tcp:9001:interface=0.0.0.0"),
            ("[::1]:0", r"tcp:0:interface=\:\:1"),
            ("/run/m", "unix:/run/m:mode=600"),
        ):
            self.assertEqual(endpoint_of(address), endpoint)


class UnixSocketTests(SynchronousTestCase):
    """The files of Unix sockets: their owners, their replacement and their removal."""

    def setUp(self) -> None:
        """A socket in a folder of its own."""
        self.reactor = SelectReactor()
        self.addCleanup(self.reactor.waker.connectionLost, Failure(ConnectionDone()))
        self.path = os.path.join(tempfile.mkdtemp(), "s")
        self.addCleanup(shutil.rmtree, os.path.dirname(self.path))
        factory = Factory.forProtocol(_Welcome)
        self.port = open_port(self.reactor, f"unix:{self.path}:mode=600", factory)

    def close(self) -> None:
        """Close the port."""
        closed = close_port(self.reactor, self.port)
        self.reactor.runUntilCurrent()
        self.successResultOf(closed)

    def test_the_file_belongs_to_the_given_owner(self) -> None:
        """The file gets the given user or group; the one that is not given stays as it was."""
        self.addCleanup(self.close)
        given: list[tuple[str, int, int]] = []

        def chown(path: str, user: int, group: int, **named: bool) -> None:
            given.append((os.path.realpath(path), user, group))

        self.patch(os, "chown", chown)
        give_socket(self.port, Owner(12, -1))
        self.assertEqual(given, [(self.path, 12, -1)])

    def test_a_file_that_only_root_may_give_away(self) -> None:
        """The message says that only root may give files away."""
        self.addCleanup(self.close)

        def refuse(*words: object, **named: object) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        self.patch(os, "chown", refuse)
        error = self.assertRaises(ConfigurationError, give_socket, self.port, Owner(12, -1))
        self.assertIn(f"cannot give {self.path} away: Operation not permitted", str(error))

    def test_replaced_before_it_is_given(self) -> None:
        """A file that has replaced the socket meanwhile is not given away."""
        self.addCleanup(self.close)
        victim, second = f"{self.path}.victim", f"{self.path}.second"
        self.patch(os, "chown", lambda *words, **named: self.fail(f"chown{words}"))
        with open(victim, "w", encoding="utf-8"):
            pass
        for replace in (
            lambda: os.symlink(victim, self.path),
            lambda: os.link(victim, self.path),
            lambda: os.link(second, self.path),  # the socket of another service
        ):
            os.rename(self.path, second)
            replace()
            with self.assertRaises((ConfigurationError, OSError)) as caught:
                give_socket(self.port, Owner(os.getuid(), os.getgid()))
            self.assertIn(f"cannot give {self.path} away", str(caught.exception))
            os.rename(second, self.path)

    def test_mode_is_never_changed_by_name(self) -> None:
        """The file has its mode from the start: what has its name later may be another's."""
        self.addCleanup(self.close)
        self.patch(os, "chmod", lambda *words: self.fail(f"chmod{words}"))
        for mask in (0o000, 0o077):
            for mode in (0o600, 0o660, 0o666, 0o777):
                path = f"{self.path}.{mode:o}.{mask:o}"
                before = os.umask(mask)
                try:
                    port: Any = open_port(self.reactor, f"unix:{path}:mode={mode:o}", Factory())
                finally:
                    self.assertEqual(os.umask(before), mask)
                self.addCleanup(port.connectionLost, Failure(ConnectionDone()))
                self.assertEqual(os.stat(path).st_mode & 0o777, mode)

    def test_left_by_a_process_that_died(self) -> None:
        """A socket whose process has died is replaced; a file that is not a socket is kept."""
        self.addCleanup(self.close)
        for name, left in (("socket", True), ("file", False)):
            path = f"{self.path}.{name}"
            if left:
                with socket.socket(socket.AF_UNIX) as dead:
                    dead.bind(path)
            else:
                with open(path, "w", encoding="utf-8"):
                    pass
            os.symlink("999999999", f"{path}.lock")  # no process has this number
            if left:
                port: Any = open_port(self.reactor, f"unix:{path}", Factory())
                self.addCleanup(port.connectionLost, Failure(ConnectionDone()))
            else:
                error = self.assertRaises(
                    ConfigurationError, open_port, self.reactor, f"unix:{path}", Factory()
                )
                self.assertIn(
                    "stop the process that listens there, or choose another path", str(error)
                )
                self.assertTrue(os.path.isfile(path))

    def test_a_tcp_port_has_no_file(self) -> None:
        """A TCP port has no file, and nothing is done to it."""
        self.addCleanup(self.close)
        port = self.reactor.listenTCP(0, Factory.forProtocol(_Welcome), interface="127.0.0.1")
        self.addCleanup(port.connectionLost, Failure(ConnectionDone()))
        self.patch(os, "chown", lambda *words: self.fail(f"chown{words}"))
        give_socket(port, Owner(12, 12))

    def test_file_that_cannot_be_removed(self) -> None:
        """A file that cannot be removed does not keep the socket open."""
        os.unlink(self.path)
        with capturedLogs() as seen:
            self.close()
        self.assertFalse(hasattr(self.port, "socket"))
        (event,) = (each for each in seen if "path" in each)
        self.assertIn(f"cannot remove the socket {self.path}", formatEvent(event) or "")

    def test_unknown_owners_are_named(self) -> None:
        """Users and groups by name or number; what this machine does not know is named."""
        self.addCleanup(self.close)
        user, group = pwd.getpwuid(os.getuid()), grp.getgrgid(os.getgid())
        for text, expected in {
            user.pw_name: (user.pw_uid, -1),
            f"{user.pw_name}:{group.gr_name}": (user.pw_uid, group.gr_gid),
            f":{group.gr_name}": (-1, group.gr_gid),
            "12:34": (12, 34),
        }.items():
            self.assertEqual(socket_owner(text), expected, text)
        for text, reason in {
            "nobody-has-this-name": "no user nobody-has-this-name",
            "0:nobody-has-this-name": "no group nobody-has-this-name",
            ":": "USER:GROUP",
        }.items():
            error = self.assertRaises(ConfigurationError, socket_owner, text)
            self.assertIn(reason, str(error))


class TLSTests(SynchronousTestCase):
    """Which listeners speak TLS."""

    def test_kinds_of_endpoints(self) -> None:
        """TLS endpoints do, with or without the PROXY protocol before them; others do not."""
        for endpoint, expected in {
            "ssl:443:privateKey=site.pem": True,
            "mtls:443:privateKey=site.pem": True,
            "haproxy:ssl:443:privateKey=site.pem": True,
            "haproxy:tcp:80": False,
            "tcp:443": False,
            "unix:/run/ssl:": False,
        }.items():
            self.assertEqual(ListenAddress(endpoint).tls, expected, endpoint)

    def tls_addresses(self, *endpoints: str, advertise: tuple[str, ...] = ()) -> set[str]:
        """The registered addresses that count as TLS, of listeners on ports 1, 2, ..."""
        listen = tuple(map(ListenAddress, endpoints))
        at = ZooKeeperTarget(None)
        config = Config("app", "/svc", at, listen, advertise=advertise)
        listeners = Listeners(config, MemoryReactorClock())
        for number, _ in enumerate(endpoints, 1):
            where = IPv4Address("TCP", "10.0.0.1", number)
            port: Any = SimpleNamespace(getHost=lambda where=where: where)
            listeners.ports.append(port)
        return set(listeners.tls_addresses)

    def test_addresses_are_those_of_the_tls_listeners(self) -> None:
        """Those of the TLS listeners; what is advertised counts if everything speaks TLS."""
        self.assertEqual(self.tls_addresses("ssl:1", "tcp:2"), {"10.0.0.1:1"})
        self.assertEqual(self.tls_addresses("ssl:1", "tcp:2", advertise=("h:1",)), set())
        self.assertEqual(self.tls_addresses("ssl:1", "mtls:2", advertise=("h:1",)), {"h:1"})
