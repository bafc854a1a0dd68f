"""Tests for `zkservice.client.Retrying`: lost requests and replies, and no write twice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from typing_extensions import override

from tests.client.base import TIMEOUT, ClientTestCase
from tests.client.network import Cable
from zkservice.client import EventType, Retrying, WatchEvent, ZooKeeperClient, digest_acl
from zkservice.errors import (
    BadVersionError,
    ConnectionLossError,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
    ThrottledOpError,
)


class RetryTests(ClientTestCase):
    """Each operation loses its request or its reply, and is carried out exactly once."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.zk = self.connected()
        self.retrying = Retrying(self.zk, 5, reactor=self.network, random=Random(1))

    def lose_reply(self, ask: Callable[[], Deferred[Any]]) -> Deferred[Any]:
        """The request arrives, its reply does not."""
        self.network.settle()
        self.cable.server_may_send = 1
        call = ask()
        self.network.advance(1)
        return call

    def lose_request(self, ask: Callable[[], Deferred[Any]]) -> Deferred[Any]:
        """The request is sent, but does not arrive."""
        self.network.settle()
        self.cable.client_may_send = 1
        call = ask()
        self.network.advance(1)
        return call

    def test_a_read_is_repeated(self) -> None:
        """A read is repeated."""
        for lose in (self.lose_reply, self.lose_request):
            read = lose(lambda: self.retrying.read(lambda: self.zk.get("/")))
            self.assertEqual(self.result(read)[0], b"")

    def test_attempts_are_limited(self) -> None:
        """A request that breaks every connection fails with the last error."""

        def cut_soon(cable: Cable) -> None:
            cable.server_may_send = 45

        self.network.on_connect = cut_soon
        read = self.lose_reply(lambda: self.retrying.read(lambda: self.zk.get("/")))
        self.network.advance(5)
        self.failure(read, ConnectionLossError)
        del self.network.on_connect
        self.network.on_connect = lambda cable: None
        self.network.advance(5)

    def test_guarded_set_happens_once(self) -> None:
        """A write with a version is carried out once, whether its request or its reply was lost."""
        self.result(self.zk.create("/a"))
        for version, lose in enumerate((self.lose_reply, self.lose_request)):
            call = lose(partial(self.retrying.set, "/a", b"new", version))
            self.assertEqual(self.result(call).version, version + 1)

    def test_set_needs_a_version(self) -> None:
        """A write needs a version to be repeated; one with an old version fails."""
        self.result(self.zk.create("/a"))
        self.assertRaises(ValueError, self.retrying.set, "/a", b"", -1)
        self.failure(self.retrying.set("/a", b"x", 3), BadVersionError)

    def test_set_by_others_meanwhile(self) -> None:
        """Another client's write is not taken for the one that was lost."""
        self.result(self.zk.create("/a"))
        other = self.connected()
        self.network.cables[0].client_may_send = 1
        call = self.retrying.set("/a", b"mine", 0)
        self.network.settle()
        self.result(other.set("/a", b"theirs", 0))
        self.network.advance(1)
        self.failure(call, BadVersionError)
        self.assertEqual(self.result(self.zk.get("/a"))[0], b"theirs")

    def test_an_earlier_write_of_the_same_bytes_is_not_taken_for_ours(self) -> None:
        """A change that this session had seen before the reply was lost is another client's."""
        self.result(self.zk.create("/a"))
        other = self.connected()
        self.result(other.set("/a", b"same", 0))
        self.result(self.zk.exists("/"))  # the reply tells which changes the server has made
        self.network.cables[0].client_may_send = 1
        call = self.retrying.set("/a", b"same", 0)
        self.network.advance(1)
        self.failure(call, BadVersionError)

    def test_an_exact_write_is_in_doubt_if_the_same_bytes_are_there(self) -> None:
        """They may have been written by this client or by another one."""
        self.result(self.zk.create("/a"))
        other = self.connected()
        self.network.cables[0].client_may_send = 1
        call = self.retrying.set("/a", b"same", 0, exact=True)
        self.network.settle()
        self.result(other.set("/a", b"same", 0))
        self.network.advance(1)
        self.assert_in_doubt(call)
        call = self.lose_reply(lambda: self.retrying.set("/a", b"more", 1, exact=True))
        self.assert_in_doubt(call)

    def test_an_exact_write_is_repeated_if_it_was_certainly_not_carried_out(self) -> None:
        """The node has the version that was asked for, or other bytes."""
        self.result(self.zk.create("/a"))
        call = self.lose_request(lambda: self.retrying.set("/a", b"1", 0, exact=True))
        self.assertEqual(self.result(call).version, 1)
        other = self.connected()
        self.network.cables[-2].client_may_send = 1
        call = self.retrying.set("/a", b"2", 1, exact=True)
        self.network.settle()
        self.result(other.set("/a", b"theirs", 1))
        self.network.advance(1)
        self.failure(call, BadVersionError)

    def in_doubt(
        self, ask: Callable[[], Deferred[Any]], *meanwhile: Callable[[ZooKeeperClient], Any]
    ) -> Deferred[Any]:
        """The request is carried out, its reply is lost, and another client acts."""
        cable, other = self.cable, self.connected()
        cable.server_may_send = 1
        call = ask()
        self.network.settle()
        for act in meanwhile:
            self.result(act(other))
        self.network.advance(1)
        return call

    def assert_in_doubt(self, call: Deferred[Any]) -> None:
        """Assert that a call fails with ``maybe_applied``."""
        self.assertTrue(self.failure(call, ConnectionLossError).maybe_applied)

    def test_set_and_others_write_on(self) -> None:
        """A write that was carried out is not reported as refused after another client's write."""
        self.result(self.zk.create("/a"))
        call = self.in_doubt(
            lambda: self.retrying.set("/a", b"mine", 0), lambda other: other.set("/a", b"theirs", 1)
        )
        self.assert_in_doubt(call)

    def test_set_and_others_replace_the_node(self) -> None:
        """The versions of a new node show nothing about a write to the old one."""
        self.result(self.zk.create("/a"))
        call = self.in_doubt(
            lambda: self.retrying.set("/a", b"mine", 0),
            lambda other: other.delete("/a"),
            lambda other: other.create("/a"),
            lambda other: other.set("/a", b"theirs"),
        )
        self.assert_in_doubt(call)
        self.assertEqual(self.result(self.zk.get("/a"))[0], b"theirs")

    def test_set_and_others_delete_or_lock(self) -> None:
        """The outcome is unknown if the node was deleted, or may not be written any more."""
        for path in ("/a", "/b"):
            self.result(self.zk.create(path))
        call = self.in_doubt(
            lambda: self.retrying.set("/a", b"mine", 0), lambda other: other.delete("/a")
        )
        self.assert_in_doubt(call)
        locked = [digest_acl("other", "secret")]
        call = self.in_doubt(
            lambda: self.retrying.set("/b", b"mine", 0), lambda other: other.set_acl("/b", locked)
        )
        self.assert_in_doubt(call)

    def test_delete_and_others_create_it_again(self) -> None:
        """Another client's new node is not deleted, whatever its version is."""
        for version in (-1, 0, 1):
            path = f"/a{version}"
            self.result(self.zk.create(path))
            if version == 1:
                self.result(self.zk.set(path, b"1"))
            call = self.in_doubt(
                partial(self.retrying.delete, path, version),
                lambda other, path=path: other.create(path, b"theirs"),  # type: ignore[misc]
            )
            self.assert_in_doubt(call)
            self.assertEqual(self.result(self.zk.get(path))[0], b"theirs")

    def test_delete_of_a_changed_node(self) -> None:
        """A node that still exists was not deleted, so its version decides."""
        self.result(self.zk.create("/a"))
        other = self.connected()
        self.network.cables[0].client_may_send = 1
        call = self.retrying.delete("/a", 0)
        self.network.settle()
        self.result(other.set("/a", b"theirs"))
        self.network.advance(1)
        self.failure(call, BadVersionError)

    def test_create_ephemeral_and_others_delete_it(self) -> None:
        """Another session's node is not taken for ours after ours was deleted."""
        call = self.in_doubt(
            lambda: self.retrying.create_ephemeral("/e"),
            lambda other: other.delete("/e"),
            lambda other: other.create("/e", ephemeral=True),
        )
        self.failure(call, NodeExistsError)

    def test_an_uncertain_write_is_not_repeated(self) -> None:
        """A plain write is repeated only if it was certainly not carried out."""
        call = self.lose_reply(lambda: self.retrying.write(lambda: self.zk.create("/a")))
        self.assert_in_doubt(call)
        self.assertIsNotNone(self.result(self.zk.exists("/a")))
        tries: list[int] = []

        def refused() -> Deferred[str]:
            tries.append(1)
            error = (
                ThrottledOpError() if len(tries) < 3 else ConnectionLossError(maybe_applied=False)
            )
            return fail(error) if len(tries) < 4 else self.zk.create("/b")

        call = self.retrying.write(refused)
        self.network.advance(1)
        self.assertEqual(self.result(call), "/b")

    def test_attempts_that_end_in_doubt(self) -> None:
        """When all attempts are used up, the error tells if one may have been carried out."""
        for last in (ConnectionLossError(maybe_applied=False), ThrottledOpError()):
            errors = [ConnectionLossError(), *[last] * 9]
            self.patch(self.zk, "set", lambda *_, errors=errors: fail(errors.pop(0)))
            call = self.retrying.set("/a", b"", 0)
            self.network.advance(5)
            self.assert_in_doubt(call)

    # -- across sessions

    def expired(self) -> None:
        """Stop all servers, until the test calls `outlast`."""
        listening = dict(self.network.listening)
        self.network.listening.clear()
        self.network.cables[0].cut()
        self.network.settle()
        self.addCleanup(self.network.listening.update, listening)
        self.listening = listening

    def outlast(self, *calls: Deferred[Any]) -> None:
        """Let the session expire, then start the servers again."""
        self.network.advance(TIMEOUT * 2)
        for one in calls:
            self.assertNoResult(one)
        self.network.listening.update(self.listening)
        self.network.advance(2)
        self.assertEqual(self.zk.statistics().expiries, 1)

    def test_calls_outlast_the_session(self) -> None:
        """Calls that were not sent when the session expired are sent in the new one, in order."""
        self.result(self.zk.create("/a"))
        self.expired()
        calls: list[Deferred[Any]] = [
            self.retrying.write(lambda: self.zk.create("/b")),
            self.retrying.write(lambda: self.zk.create("/b/c")),
            self.retrying.read(lambda: self.zk.get("/b")),
            self.retrying.set("/a", b"1", 0),
            self.retrying.delete("/b/c"),
            self.retrying.create_protected("/b/n-"),
        ]
        self.outlast(*calls)
        for one in calls:
            self.result(one)
        self.assertEqual(len(self.result(self.zk.get_children("/b"))), 1)

    def test_ephemeral_nodes_do_not_outlast_the_session(self) -> None:
        """An ephemeral node is not created in another session."""
        self.expired()
        calls = [
            self.retrying.create_ephemeral("/e"),
            self.retrying.create_protected("/n-", ephemeral=True),
        ]
        self.network.advance(TIMEOUT * 2)
        for one in calls:
            self.failure(one, SessionExpiredError)
        self.network.listening.update(self.listening)
        self.network.advance(1)
        self.assertEqual(self.result(self.zk.get_children("/")), ["zookeeper"])

    def test_write_in_doubt_outlasts_the_session(self) -> None:
        """The outcome of a write that was sent in the old session is read in the new one."""
        self.result(self.zk.create("/a"))
        self.cable.server_may_send = 1
        call = self.retrying.set("/a", b"mine", 0)
        self.network.run_due()
        self.network.cables[0].deliver()
        self.expired()
        self.outlast(call)
        self.assertEqual(self.result(call).version, 1)

    def test_no_new_session(self) -> None:
        """If there will be no other session, calls fail instead of waiting for ever."""
        client = self.connected(new_session=False)
        assert client.client_id is not None
        self.server.expire(client.client_id[0])
        self.network.advance(1)
        retrying = Retrying(client, reactor=self.network)
        self.failure(retrying.read(lambda: client.get("/")), SessionExpiredError)
        self.failure(retrying.get_and_watch("/")[0], SessionExpiredError)

    # -- watches

    def watching(self) -> list[Callable[[], tuple[Deferred[Any], Deferred[WatchEvent]]]]:
        """The operations that read and watch."""
        return [
            lambda: self.retrying.exists_and_watch("/a"),
            lambda: self.retrying.get_and_watch("/a"),
            lambda: self.retrying.get_children_and_watch("/a"),
        ]

    def test_a_repeated_read_has_its_watch(self) -> None:
        """A read with a watch is repeated, and its watch fires."""
        for ask in self.watching():
            for lose in (self.lose_reply, self.lose_request):
                self.result(self.zk.create("/a"))
                pairs: list[tuple[Deferred[Any], Deferred[WatchEvent]]] = []
                lose(lambda ask=ask, pairs=pairs: pairs.append(ask()))  # type: ignore[misc]
                ((value, watch),) = pairs
                self.result(value)
                self.assertNoResult(watch)
                self.result(self.zk.delete("/a"))
                self.assertEqual(self.result(watch).path, "/a")
                self.assertEqual(self.zk.statistics().watches, 0)

    def test_watches_outlast_the_session(self) -> None:
        """A read with a watch that was not sent is sent in the new session."""
        self.result(self.zk.create("/a"))
        self.expired()
        value, watch = self.retrying.get_and_watch("/a")
        self.outlast(value)
        self.result(value)
        self.result(self.zk.set("/a", b"1"))
        self.assertIs(self.result(watch).type, EventType.DATA_CHANGED)

    def test_watch_ends_with_its_session(self) -> None:
        """A watch that is set fails when its session ends, as the client's does."""
        value, watch = self.retrying.exists_and_watch("/a")
        self.result(value)
        self.expired()
        self.network.advance(TIMEOUT * 2)
        self.failure(watch, SessionExpiredError)

    def test_watch_is_cancelled(self) -> None:
        """Cancelling removes the watch, before there is a value as well as after."""
        for early in (True, False):
            value, watch = self.retrying.exists_and_watch("/a")
            if not early:
                self.result(value)
            watch.cancel()
            self.failure(watch, CancelledError)
            self.assertIsNone(self.result(value))
            self.network.settle()
            self.assertEqual(self.zk.statistics().watches, 0)

    def test_watch_without_a_value(self) -> None:
        """If the value fails or is cancelled there is no watch."""
        value, _ = self.retrying.get_and_watch("/missing")
        self.failure(value, NoNodeError)
        stat, _ = self.retrying.exists_and_watch("/a")
        stat.cancel()
        self.failure(stat, CancelledError)
        self.network.settle()
        self.assertEqual(self.zk.statistics().watches, 0)

    def test_a_node_that_is_gone_counts_as_deleted(self) -> None:
        """A node that is gone when the request is repeated counts as deleted."""
        for lose in (self.lose_reply, self.lose_request):
            self.result(self.zk.create("/a"))
            self.assertIsNone(self.result(lose(lambda: self.retrying.delete("/a"))))
            self.assertIsNone(self.result(self.zk.exists("/a")))
        self.failure(self.retrying.delete("/a"), NoNodeError)

    def test_only_an_own_ephemeral_counts_as_created(self) -> None:
        """A node of this session counts as created; another session's does not."""
        call = self.lose_reply(lambda: self.retrying.create_ephemeral("/e", b"1"))
        self.assertEqual(self.result(call), "/e")
        other = Retrying(self.connected(), reactor=self.network)
        self.failure(other.create_ephemeral("/e"), NodeExistsError)

    def test_a_protected_node_is_created_once(self) -> None:
        """A protected node is found by its mark, not created twice."""
        self.result(self.zk.create("/q"))
        for number, lose in enumerate((self.lose_reply, self.lose_request)):
            call = lose(lambda: self.retrying.create_protected("/q/n-", b"1", ephemeral=True))
            path = self.result(call)
            self.assertRegex(path, f"^/q/_c_[0-9a-f-]{{36}}-n-000000000{number}$")
            self.assertEqual(len(self.result(self.zk.get_children("/q"))), number + 1)

    def test_a_cancelled_create_leaves_no_node(self) -> None:
        """A call that is cancelled while it waits for its reply leaves no node."""
        self.result(self.zk.create("/q"))
        self.server.pause()
        call = self.retrying.create_protected("/q/n-")
        self.network.settle()
        call.cancel()
        self.failure(call, CancelledError)
        self.server.resume()
        self.network.advance(1)
        self.assertEqual(self.result(self.zk.get_children("/q")), [])
        _, stat = self.result(self.zk.get_children_and_stat("/q"))
        self.assertEqual(stat.cversion, 2)  # created, and deleted
