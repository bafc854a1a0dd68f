"""Tests for `zkservice.client.Retrying`: what is lost on the way is not done twice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from typing_extensions import override

from tests.client.base import ClientTestCase
from tests.client.network import Cable
from zkservice.client import Retrying
from zkservice.errors import (
    BadVersionError,
    ConnectionLossError,
    NodeExistsError,
    NoNodeError,
)


class RetryTests(ClientTestCase):
    """Each operation loses its request or its reply, and is done once all the same."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.zk = self.connected()
        self.retrying = Retrying(self.zk, 5, reactor=self.network, random=Random(1))

    def lose_reply(self, ask: Callable[[], Deferred[Any]]) -> Deferred[Any]:
        """The request arrives, its reply does not."""
        self.network.settle()
        self.cable.server_may_send = 1
        asked = ask()
        self.network.advance(1)
        return asked

    def lose_request(self, ask: Callable[[], Deferred[Any]]) -> Deferred[Any]:
        """The request is sent, but does not arrive."""
        self.network.settle()
        self.cable.client_may_send = 1
        asked = ask()
        self.network.advance(1)
        return asked

    def test_read(self) -> None:
        """A read is done again."""
        for lose in (self.lose_reply, self.lose_request):
            read = lose(lambda: self.retrying.read(lambda: self.zk.get("/")))
            self.assertEqual(self.result(read)[0], b"")

    def test_attempts_are_limited(self) -> None:
        """A request that breaks every connection is given up, with the last error."""

        def cut_soon(cable: Cable) -> None:
            cable.server_may_send = 45

        self.network.plug = cut_soon
        read = self.lose_reply(lambda: self.retrying.read(lambda: self.zk.get("/")))
        self.network.advance(5)
        self.failure(read, ConnectionLossError)
        del self.network.plug
        self.network.plug = lambda cable: None
        self.network.advance(5)

    def test_set(self) -> None:
        """A guarded write happens once, whichever half of the way was lost."""
        self.result(self.zk.create("/a"))
        for version, lose in enumerate((self.lose_reply, self.lose_request)):
            asked = lose(partial(self.retrying.set, "/a", b"new", version))
            self.assertEqual(self.result(asked).version, version + 1)

    def test_set_needs_a_version(self) -> None:
        """A write without a guard is not repeated, so it is not accepted; a stale one fails."""
        self.result(self.zk.create("/a"))
        self.assertRaises(ValueError, self.retrying.set, "/a", b"", -1)
        self.failure(self.retrying.set("/a", b"x", 3), BadVersionError)

    def test_set_by_others_meanwhile(self) -> None:
        """A write of somebody else that happens in our place is not taken for ours."""
        self.result(self.zk.create("/a"))
        other = self.connected()
        self.network.cables[0].client_may_send = 1
        asked = self.retrying.set("/a", b"mine", 0)
        self.network.settle()
        self.result(other.set("/a", b"theirs", 0))
        self.network.advance(1)
        self.failure(asked, BadVersionError)
        self.assertEqual(self.result(self.zk.get("/a"))[0], b"theirs")

    def test_delete(self) -> None:
        """A node that is gone when we ask again is deleted."""
        for lose in (self.lose_reply, self.lose_request):
            self.result(self.zk.create("/a"))
            self.assertIsNone(self.result(lose(lambda: self.retrying.delete("/a"))))
            self.assertIsNone(self.result(self.zk.exists("/a")))
        self.failure(self.retrying.delete("/a"), NoNodeError)

    def test_create_ephemeral(self) -> None:
        """Our own node is ours; another session's is not."""
        asked = self.lose_reply(lambda: self.retrying.create_ephemeral("/e", b"1"))
        self.assertEqual(self.result(asked), "/e")
        other = Retrying(self.connected(), reactor=self.network)
        self.failure(other.create_ephemeral("/e"), NodeExistsError)

    def test_create_protected(self) -> None:
        """A sequence node is found again, not made twice."""
        self.result(self.zk.create("/q"))
        for number, lose in enumerate((self.lose_reply, self.lose_request)):
            asked = lose(lambda: self.retrying.create_protected("/q/n-", b"1", ephemeral=True))
            path = self.result(asked)
            self.assertRegex(path, f"^/q/_c_[0-9a-f-]{{36}}-n-000000000{number}$")
            self.assertEqual(len(self.result(self.zk.get_children("/q"))), number + 1)

    def test_cancelled(self) -> None:
        """Who gives up leaves no node behind."""
        self.result(self.zk.create("/q"))
        self.server.pause()
        asked = self.retrying.create_protected("/q/n-")
        self.network.settle()
        asked.cancel()
        self.failure(asked, CancelledError)
        self.server.resume()
        self.network.advance(1)
        self.assertEqual(self.result(self.zk.get_children("/q")), [])
        _, stat = self.result(self.zk.get_children_and_stat("/q"))
        self.assertEqual(stat.cversion, 2)  # it was there
