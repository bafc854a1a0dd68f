"""Tests for the operations of `zkservice.client.ZooKeeperClient`, on the embedded server."""

from __future__ import annotations

from threading import active_count
from typing import Any

from twisted.internet.defer import CancelledError, gatherResults

from tests.client.base import ClientTestCase
from zkservice.errors import (
    BadArgumentsError,
    BadVersionError,
    ClientClosedError,
    InvalidPathError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    OperationTimeoutError,
    ReplyTooLargeError,
    RequestTooLargeError,
    RuntimeInconsistencyError,
    TransactionFailedError,
    UnimplementedError,
    UnwritableError,
)
from zkservice.wire.acl import CREATOR_ALL_ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, digest_acl
from zkservice.wire.records import OpCode


class OperationTests(ClientTestCase):
    """The result and the errors of each operation."""

    def test_create_and_get(self) -> None:
        """A node that was created can be read, with its Stat."""
        client = self.connected()
        self.assertEqual(self.result(client.create("/a", b"data")), "/a")
        data, stat = self.result(client.get("/a"))
        self.assertEqual((data, stat.version, stat.data_length), (b"data", 0, 4))

    def test_create_errors_name_the_path(self) -> None:
        """The server's refusals raise errors that name the path."""
        client = self.connected()
        self.result(client.create("/a"))
        self.assertEqual(self.failure(client.create("/a"), NodeExistsError).path, "/a")
        orphan = self.failure(client.create("/b/c"), NoNodeError)
        self.assertEqual(orphan.path, "/b/c")
        self.assertEqual(str(orphan), "/b/c: the parent of this znode does not exist")

    def test_an_ephemeral_node_ends_with_its_session(self) -> None:
        """An ephemeral node is owned by the session, and deleted with it."""
        client, other = self.connected(), self.connected()
        self.result(client.create("/e", ephemeral=True))
        stat = self.result(other.exists("/e"))
        assert stat is not None and client.client_id is not None
        self.assertEqual(stat.ephemeral_owner, client.client_id[0])
        self.result(client.close())
        self.assertIsNone(self.result(other.exists("/e")))

    def test_sequence_number_is_in_the_returned_path(self) -> None:
        """The result of create has the server's number; the prefix may end with a slash."""
        client = self.connected()
        self.result(client.create("/q"))
        self.assertEqual(self.result(client.create("/q/n-", sequence=True)), "/q/n-0000000000")
        self.assertEqual(self.result(client.create("/q/", sequence=True)), "/q/0000000001")

    def test_container_and_ttl(self) -> None:
        """Container and TTL nodes are created; a TTL node is deleted in time."""
        client = self.connected()
        self.assertEqual(self.result(client.create("/c", container=True)), "/c")
        self.assertEqual(self.result(client.create("/t", ttl=0.5)), "/t")
        self.assertEqual(self.result(client.create("/t-", ttl=1, sequence=True)), "/t-0000000002")
        self.network.advance(130)
        self.assertIsNone(self.result(client.exists("/t")))

    def test_a_kind_of_node_that_the_server_does_not_offer(self) -> None:
        """A server that does not offer a kind of node refuses it, and the call fails."""
        old = self.start_server("10.0.0.2", ttl_nodes=False)
        client = self.connected("10.0.0.2")
        self.assertEqual(self.failure(client.create("/t", ttl=1), UnimplementedError).path, "/t")
        self.result(client.close())
        old.stop()

    def test_a_server_that_is_too_old_for_an_operation(self) -> None:
        """A server that is too old for an operation disconnects, and the client reconnects."""
        client = self.connected()
        self.server.unimplement(OpCode.WHO_AM_I)  # as before 3.7
        self.failure(client.who_am_i(), UnimplementedError)
        self.network.advance(1)
        self.assertIsNotNone(self.result(client.exists("/")))
        self.assertEqual(client.statistics().connections, 2)

    def test_a_client_needs_no_thread(self) -> None:
        """A client needs no thread."""
        before = active_count()
        self.result(self.connected().exists("/"))
        self.assertEqual(active_count(), before)

    def test_kinds_that_do_not_exist(self) -> None:
        """Invalid combinations of arguments are refused before anything is sent."""
        client = self.connected()
        sent = len(self.cable.client.writes)
        for options in (
            {"ephemeral": True, "container": True},
            {"sequence": True, "container": True},
            {"ephemeral": True, "ttl": 1},
            {"container": True, "ttl": 1},
            {"ttl": 0},
            {"ttl": -1},
            {"ttl": 2**40 / 1000},
        ):
            error = self.failure(client.create("/x", **options), BadArgumentsError)
            self.assertIn("/x: ", str(error))
        self.assertEqual(len(self.cable.client.writes), sent)

    def test_data_are_bytes(self) -> None:
        """Text is refused with a hint; a buffer is accepted; None means no data."""
        client = self.connected()
        with self.assertRaisesRegex(TypeError, "encode it"):
            client.create("/a", "text")  # type: ignore[arg-type]
        with self.assertRaisesRegex(TypeError, "encode it"):
            client.set("/a", "text")  # type: ignore[arg-type]
        self.result(client.create("/a", bytearray(b"buffer")))
        self.assertEqual(self.result(client.get("/a"))[0], b"buffer")
        self.result(client.create("/none", None))
        self.assertEqual(self.result(client.get("/none"))[0], b"")

    def test_delete_respects_version_and_children(self) -> None:
        """Deleting respects version and children."""
        client = self.connected()
        self.result(gatherResults([client.create("/a"), client.create("/a/b")]))
        self.failure(client.delete("/a"), NotEmptyError)
        self.failure(client.delete("/a/b", 7), BadVersionError)
        self.assertIsNone(self.result(client.delete("/a/b", 0)))
        self.failure(client.delete("/a/b"), NoNodeError)

    def test_a_missing_node_is_a_result_not_an_error(self) -> None:
        """`exists` returns None for a missing node."""
        client = self.connected()
        self.assertIsNone(self.result(client.exists("/a")))
        self.result(client.create("/a"))
        stat = self.result(client.exists("/a"))
        assert stat is not None
        self.assertEqual(stat.version, 0)

    def test_set_returns_the_new_stat(self) -> None:
        """Setting returns the new Stat, and respects the version."""
        client = self.connected()
        self.result(client.create("/a"))
        self.assertEqual(self.result(client.set("/a", b"1", 0)).version, 1)
        self.failure(client.set("/a", b"2", 0), BadVersionError)
        self.assertEqual(self.result(client.get("/a"))[0], b"1")

    def test_children_are_names(self) -> None:
        """The result is the children's names, not their paths."""
        client = self.connected()
        for path in ("/a", "/a/b", "/a/c"):
            self.result(client.create(path))
        names = self.result(client.get_children("/a"))
        self.assertCountEqual(names, ["b", "c"])
        names, stat = self.result(client.get_children_and_stat("/a"))
        self.assertEqual((sorted(names), stat.num_children), (["b", "c"], 2))
        self.failure(client.get_children("/nope"), NoNodeError)

    def test_an_acl_has_a_version_of_its_own(self) -> None:
        """An ACL can be read and set; it has its own version, ``aversion``."""
        client = self.connected()
        self.result(client.create("/a", acl=OPEN_ACL_UNSAFE))
        acl, stat = self.result(client.get_acl("/a"))
        self.assertEqual((acl, stat.aversion), (list(OPEN_ACL_UNSAFE), 0))
        self.assertEqual(self.result(client.set_acl("/a", READ_ACL_UNSAFE, 0)).aversion, 1)
        self.assertEqual(self.result(client.get_acl("/a"))[0], list(READ_ACL_UNSAFE))

    def test_an_added_identity_counts_from_then_on(self) -> None:
        """A credential that is added is used for the next request."""
        client = self.connected()
        self.assertIsNone(self.result(client.add_auth("digest", "u:p")))
        self.result(client.create("/mine", acl=CREATOR_ALL_ACL))
        acl, _ = self.result(client.get_acl("/mine"))
        self.assertEqual(acl, [digest_acl("u", "p")])

    def test_sync_returns_the_path(self) -> None:
        """Sync returns the path."""
        client = self.connected()
        self.assertEqual(self.result(client.sync("/a")), "/a")

    def test_paths_are_checked(self) -> None:
        """A request with an invalid path fails, and is not sent."""
        client = self.connected()
        for call in (client.get("a"), client.create("/a/"), client.delete("//")):
            self.failure(call, InvalidPathError)
        value, watch = client.get_and_watch("")
        self.failure(value, InvalidPathError)
        self.assertNoResult(watch)

    def test_arguments_that_cannot_be_sent(self) -> None:
        """Each call fails and names the argument; nothing else is affected."""
        client = self.connected()
        wrong: Any = "nonsense"
        change = client.transaction()
        change.delete("/a", 2**40)
        for call in (
            client.delete("/a", 2**40),
            client.set("/a", b"", wrong),
            client.create("/a", acl=[wrong]),
            client.create_and_stat("/a", acl=[wrong]),
            client.set_acl("/a", [wrong]),
            client.remove_watches("/a", wrong),
            client.reconfig(joining=7),  # type: ignore[arg-type]
            client.add_auth("digest", 7),  # type: ignore[arg-type]
            change.commit(),
        ):
            self.assertIn("has an invalid", str(self.failure(call, UnwritableError)))
        self.result(client.add_auth("digest", "u:p"))
        self.cable.cut()
        self.network.advance(1)
        self.assertIsNone(self.result(client.exists("/a")))

    def test_a_request_over_the_limit_is_not_sent(self) -> None:
        """A request over the server's limit is not sent; the error has its size."""
        client = self.connected()
        self.result(client.create("/a"))
        fits = 0xFFFFF - 8 - 4 - 2 - 4 - 4
        self.result(client.set("/a", bytes(fits)))
        error = self.failure(client.set("/a", bytes(fits + 1)), RequestTooLargeError)
        self.assertEqual((error.path, error.size, error.limit), ("/a", 0x100000, 0xFFFFF))

    def test_reply_too_large(self) -> None:
        """A reply over the client's limit fails only its own call; the error has path and size."""
        client = self.connected(max_reply=1000)
        self.result(client.create("/large", bytes(2000)))
        before, large, after = client.get("/"), client.get("/large"), client.get("/")
        error = self.failure(large, ReplyTooLargeError)
        self.assertEqual((error.path, error.limit), ("/large", 1000))
        self.assertEqual(error.size, 16 + 4 + 2000 + 68)
        self.assertEqual(self.result(before), self.result(after))
        self.assertEqual(client.statistics().connections, 1)


class EnsurePathTests(ClientTestCase):
    """`ensure_path` creates what is missing."""

    def test_creates_all_ancestors(self) -> None:
        """All ancestors are created; doing it again changes nothing."""
        client = self.connected()
        self.result(client.ensure_path("/a/b/c"))
        before = self.result(client.exists("/a/b/c"))
        assert before is not None
        self.result(client.ensure_path("/a/b/c"))
        self.assertEqual(self.result(client.exists("/a/b/c")), before)

    def test_creates_the_chroot(self) -> None:
        """The chroot is an ancestor, too."""
        client, plain = self.connected("10.0.0.1:2181/x/y"), self.connected()
        self.result(client.ensure_path("/a"))
        self.assertIsNotNone(self.result(plain.exists("/x/y/a")))

    def test_ancestors_that_we_may_not_touch(self) -> None:
        """An existing ancestor is no error, even if this client may not create it."""
        owner, client = self.connected(), self.connected()
        self.result(owner.create("/a"))
        self.result(owner.create("/a/b"))
        self.result(owner.set_acl("/", READ_ACL_UNSAFE))
        self.result(client.ensure_path("/a/b/c"))
        self.assertIsNotNone(self.result(client.exists("/a/b/c")))

    def test_ensure_path_fails_where_nothing_can_be_created(self) -> None:
        """A node that cannot be created is an error."""
        client = self.connected()
        self.result(client.create("/e", ephemeral=True))
        self.failure(client.ensure_path("/e/a"), NoChildrenForEphemeralsError)


class ChrootTests(ClientTestCase):
    """A chroot is added to each path that is sent, and removed from each that is received."""

    def test_the_chroot_is_added_and_removed(self) -> None:
        """Requests, replies, transactions and events have the client's paths."""
        plain = self.connected()
        self.result(plain.ensure_path("/root"))
        client = self.connected("10.0.0.1:2181/root")
        self.assertEqual(self.result(client.create("/a", b"1")), "/a")
        self.assertEqual(self.result(plain.get("/root/a"))[0], b"1")
        self.assertEqual(self.result(client.create("/s-", sequence=True)), "/s-0000000001")
        names = self.result(client.get_children("/"))
        self.assertCountEqual(names, ["a", "s-0000000001"])
        change = client.transaction()
        change.create("/t-", sequence=True)
        self.assertEqual(self.result(change.commit()), ["/t-0000000002"])
        value, watch = client.get_and_watch("/a")
        self.result(value)
        self.result(plain.set("/root/a", b"2"))
        self.assertEqual(self.result(watch).path, "/a")


class TransactionTests(ClientTestCase):
    """Transactions: all operations are carried out, or none."""

    def test_each_operation_has_a_result(self) -> None:
        """Each operation has its result."""
        client = self.connected()
        self.result(client.create("/old"))
        change = client.transaction()
        change.create("/a", b"1")
        change.create("/a/n-", sequence=True, ephemeral=True)
        change.create("/c", container=True)
        change.create("/t", ttl=5)
        change.set("/a", b"2", 0)
        change.check("/a", 1)
        change.delete("/old")
        path, numbered, container, ttl, stat, checked, deleted = self.result(change.commit())
        self.assertEqual((path, numbered, container, ttl), ("/a", "/a/n-0000000000", "/c", "/t"))
        self.assertEqual(stat.version, 1)  # type: ignore[union-attr]
        self.assertEqual((checked, deleted), (None, None))
        self.assertIsNone(self.result(client.exists("/old")))

    def test_failed_operation_is_named(self) -> None:
        """The error names the operation that failed, and nothing was changed."""
        client = self.connected()
        change = client.transaction()
        change.create("/a")
        change.delete("/missing")
        change.check("/")
        error = self.failure(change.commit(), TransactionFailedError)
        self.assertEqual(error.failed, 1)
        self.assertIsInstance(error.__cause__, NoNodeError)
        self.assertEqual(error.__cause__.path, "/missing")
        self.assertIsNone(error.results[0])
        self.assertIsInstance(error.results[2], RuntimeInconsistencyError)
        self.assertIn("operation 1", str(error))
        self.assertIsNone(self.result(client.exists("/a")))

    def test_no_operations_have_no_results(self) -> None:
        """A transaction without operations has no results."""
        self.assertEqual(self.result(self.connected().transaction().commit()), [])

    def test_second_commit_is_refused(self) -> None:
        """A transaction is committed once, and has no operations after that."""
        client = self.connected()
        change = client.transaction()
        self.result(change.commit())
        self.assertRaises(RuntimeError, change.commit)
        self.assertRaises(RuntimeError, change.delete, "/a")

    def test_invalid_arguments_raise_at_once(self) -> None:
        """Invalid arguments raise an error in the call that has them."""
        change = self.connected().transaction()
        self.assertRaises(InvalidPathError, change.delete, "a")
        self.assertRaises(BadArgumentsError, change.create, "/a", ttl=0)
        self.assertRaises(TypeError, change.set, "/a", "text")


class WaitingTests(ClientTestCase):
    """Calls without a reply, and calls that were cancelled."""

    def test_all_of_a_turn_in_one_write(self) -> None:
        """Calls that are made in one turn are sent in one write."""
        client = self.connected()
        before = len(self.cable.client.writes)
        calls = [client.get("/") for _ in range(10)]
        self.result(gatherResults(calls))
        self.assertEqual(len(self.cable.client.writes), before + 1)

    def test_calls_made_by_replies_go_out_together(self) -> None:
        """Calls that callbacks make for the replies of one packet are sent in one write."""
        client = self.connected()
        before = len(self.cable.client.writes)
        more = gatherResults([client.get("/").addCallback(lambda _: client.get("/")) for _ in "ab"])
        self.result(more)
        self.assertEqual(len(self.cable.client.writes), before + 2)

    def test_call_times_out_and_keeps_its_place(self) -> None:
        """A call that times out does not disturb the replies to later calls."""
        client = self.connected()
        self.server.pause()
        late = client.create("/late", timeout=1.0)
        other = client.get("/")
        self.network.advance(1.1)
        error = self.failure(late, OperationTimeoutError)
        self.assertEqual((error.path, error.maybe_applied), ("/late", True))
        self.assertIn("may still be carried out", str(error))
        self.server.resume()
        self.assertEqual(self.result(other)[0], b"")
        self.assertIsNotNone(self.result(client.exists("/late")))

    def test_timeout_without_connection(self) -> None:
        """A call that could not be sent in time was certainly not carried out."""
        self.network.listening.clear()
        client = self.connecting()
        late = client.create("/late", timeout=1.0)
        self.network.advance(1.1)
        error = self.failure(late, OperationTimeoutError)
        self.assertFalse(error.maybe_applied)
        self.network.listen("10.0.0.1", 2181, self.server.factory)
        self.network.advance(5)
        self.assertIsNone(self.result(client.exists("/late")))

    def test_cancelled_before_sending(self) -> None:
        """A call that is cancelled in the turn in which it was made is never sent."""
        client = self.connected()
        cancelled, kept = client.create("/cancelled"), client.create("/kept")
        cancelled.cancel()
        self.failure(cancelled, CancelledError)
        self.result(kept)
        self.assertIsNone(self.result(client.exists("/cancelled")))

    def test_cancelled_after_sending(self) -> None:
        """The reply to a cancelled call is dropped; the next call gets its own reply."""
        client = self.connected()
        self.server.pause()
        cancelled, kept = client.get("/zookeeper"), client.get_children("/zookeeper")
        self.network.settle()
        cancelled.cancel()
        self.failure(cancelled, CancelledError)
        self.server.resume()
        names = self.result(kept)
        self.assertCountEqual(names, ["config", "quota"])

    def test_many_cancelled_calls_do_not_pile_up(self) -> None:
        """Calls that time out while there is no server cost no memory afterwards."""
        self.network.listening.clear()
        client = self.connecting()
        for _ in range(1000):
            late = client.get("/", timeout=0.01)
            self.network.advance(0.011)
            self.failure(late, OperationTimeoutError)
        self.assertLess(client.statistics().waiting, 130)

    def test_before_connect_and_after_close(self) -> None:
        """Calls of a client that is not connected fail with `ClientClosedError`."""
        client = self.client()
        self.failure(client.get("/"), ClientClosedError)
        self.result(client.connect())
        self.result(client.close())
        self.failure(client.get("/"), ClientClosedError)
        self.failure(client.add_auth("digest", "a:b"), ClientClosedError)
