"""Tests for `zkservice.publishing.haproxy`, with a fake HAProxy."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.formats.test_haproxy_runtime import SHOWN, A
from zkservice.errors import PublishError
from zkservice.formats.consumers import Listing
from zkservice.publishing import HAProxySocket, HAProxyTarget
from zkservice.publishing import haproxy as module

EMPTY = "\n".join(SHOWN.splitlines()[:2])
WEB = Listing("web", "/svc/web", (A,))


class FakeSocket:
    """Replies as HAProxy does."""

    address = "/run/admin.sock"

    def __init__(self) -> None:
        self.servers = EMPTY
        self.sent: list[str] = []
        self.replies: dict[str, str] = {}

    async def ask(self, command: str) -> str:
        """The reply to a command."""
        if command.startswith("show"):
            return self.servers
        self.sent.append(command)
        return self.replies.get(command.split()[0], "")


class TargetTests(SynchronousTestCase):
    """A backend that is kept up to date."""

    @override
    def setUp(self) -> None:
        self.socket = FakeSocket()
        socket: Any = self.socket
        self.target = HAProxyTarget("web", socket)

    def publish(self, *listings: Listing) -> bool:
        """Publish; returns whether something has changed."""
        return self.successResultOf(self.target.publish(listings))

    def test_servers_are_added(self) -> None:
        """All commands are sent; without commands nothing has changed."""
        self.assertTrue(self.publish(WEB))
        self.assertEqual(
            [each.split()[0] for each in self.socket.sent], ["add", "enable", "enable"]
        )
        self.socket.sent.clear()
        self.assertFalse(self.publish())
        self.assertEqual((self.socket.sent, self.target.recheck), ([], module.RECHECK))

    def test_older_versions(self) -> None:
        """An experimental command is sent again in experimental mode."""
        self.socket.replies = {
            "add": "This command is experimental and may only be used in experimental-mode",
        }
        self.publish(WEB)
        self.assertEqual(self.socket.sent[1], f"experimental-mode on; {self.socket.sent[0]}")

    def test_server_with_connections_is_deleted_later(self) -> None:
        """It is checked again soon, without an error."""
        self.socket.servers = SHOWN
        self.socket.replies = {
            "del": "Server still has connections attached to it, cannot remove it."
        }
        self.publish()
        self.assertEqual(self.target.recheck, module.RETRY_DELETION)
        self.socket.servers = EMPTY
        self.publish()
        self.assertEqual(self.target.recheck, module.RECHECK)

    def test_refusals(self) -> None:
        """The error has HAProxy's reason, also for an unknown backend."""
        self.socket.replies = {"add": "Backend must use a dynamic load balancing to support it."}
        failure = self.failureResultOf(self.target.publish([WEB]), PublishError)
        self.assertIn("refuses 'add server web/10.0.0.1:8080 ", str(failure.value))
        self.assertIn("dynamic load balancing", str(failure.value))
        self.socket.servers = "Can't find backend."
        failure = self.failureResultOf(self.target.publish([WEB]), PublishError)
        self.assertEqual(
            str(failure.value), "web@/run/admin.sock: HAProxy says: Can't find backend."
        )

    def test_preview(self) -> None:
        """It shows the commands, and sends none."""
        shown = self.successResultOf(self.target.preview([WEB]))
        self.assertIn("/run/admin.sock: add server web/10.0.0.1:8080 ", shown)
        self.assertEqual(self.socket.sent, [])


class SocketTests(SynchronousTestCase):
    """One connection for each command."""

    @override
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.transport = StringTransport()

    def ask(self) -> tuple[Deferred[str], Any]:
        """Send a command on a connected protocol."""
        socket = HAProxySocket("/run/admin.sock", self.reactor)
        reply = Deferred.fromCoroutine(socket.ask("show info"))
        [[address, factory, *_]] = self.reactor.unixClients
        self.assertEqual(address, "/run/admin.sock")
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(self.transport)
        return reply, protocol

    def test_reply(self) -> None:
        """The reply is everything until HAProxy closes."""
        reply, protocol = self.ask()
        self.assertEqual(self.transport.value(), b"show info\n")
        protocol.dataReceived(b"Name: ")
        protocol.dataReceived(b"HAProxy\n\n")
        self.assertNoResult(reply)
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.successResultOf(reply), "Name: HAProxy")

    def test_connections_are_not_logged(self) -> None:
        """There is one every few seconds, for as long as zkfollow runs."""
        self.ask()
        [[_, factory, *_]] = self.reactor.unixClients
        with capturedLogs() as logs:
            factory.doStart()
            factory.doStop()
        self.assertEqual(logs, [])

    def test_connection_that_breaks(self) -> None:
        """A reply that is cut off is an error."""
        reply, protocol = self.ask()
        protocol.connectionLost(Failure(ConnectionLost()))
        self.assertIn("was cut off", str(self.failureResultOf(reply, PublishError).value))

    def test_silence(self) -> None:
        """A missing reply is a time-out."""
        reply, _ = self.ask()
        self.reactor.advance(module.TIMEOUT)
        self.assertIn("within 5 s", str(self.failureResultOf(reply, PublishError).value))
        self.assertTrue(self.transport.disconnecting or self.transport.disconnected)

    def test_endless_reply(self) -> None:
        """The connection is closed on a reply that is too large."""
        self.patch(module, "MAX_REPLY", 10)
        reply, protocol = self.ask()
        protocol.dataReceived(b"x" * 11)
        self.assertTrue(self.transport.disconnecting or self.transport.disconnected)
        protocol.connectionLost(Failure(ConnectionLost()))
        self.failureResultOf(reply, PublishError)

    def test_missing_socket(self) -> None:
        """The error names a missing socket."""
        socket = HAProxySocket("/run/admin.sock", self.reactor)
        reply = Deferred.fromCoroutine(socket.ask("show info"))
        factory = self.reactor.unixClients[0][1]
        factory.clientConnectionFailed(None, Failure(ConnectError(string="No such file")))
        self.assertIn(
            "HAProxy at /run/admin.sock cannot be reached",
            str(self.failureResultOf(reply, PublishError).value),
        )
