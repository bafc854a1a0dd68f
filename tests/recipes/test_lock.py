"""Tests for `zkservice.recipes.lock`, `read_write` and `election`."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.client.base import ignore_close
from tests.recipes.base import RecipeTestCase, nodes_left
from tests.recipes.world import World, at_every_step, outcome
from zkservice.client import ZooKeeperClient
from zkservice.errors import (
    ClientClosedError,
    InvalidPathError,
    LockTimeoutError,
    NoAuthError,
    SessionExpiredError,
)
from zkservice.recipes import Election, Lease, Lock, ReadWriteLock
from zkservice.recipes.queue_order import in_order
from zkservice.recipes.retrying import LEAVE_TIMEOUT
from zkservice.wire.acl import ACL, ANYONE, Permission
from zkservice.wire.session import State

PATH = "/locks/one"


class LockTests(RecipeTestCase):
    """A lock with two clients."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.one, self.two = self.connected(), self.connected()

    def lock(self, client: ZooKeeperClient, identifier: str = "", **options: Any) -> Lock:
        """A client's object for the lock."""
        return Lock(client, PATH, identifier, reactor=self.network, **options)

    def waiting(
        self, client: ZooKeeperClient, lock: Lock | None = None, **options: Any
    ) -> Deferred[Lease]:
        """A call of `acquire`, in progress as far as possible without another event."""
        acquiring = (lock or self.lock(client, **options)).acquire()
        self.addCleanup(ignore_close, acquiring)
        self.network.settle()
        return acquiring

    def test_invalid_arguments_leave_nothing_behind(self) -> None:
        """A time-out that is no number is refused, and the lock stays free."""
        lock = self.lock(self.one)
        with self.assertRaisesRegex(TypeError, "number of seconds, not '5'"):
            lock.acquire(timeout="5")  # type: ignore[arg-type]
        self.network.advance(LEAVE_TIMEOUT)
        self.assertIsNone(self.result(self.two.exists(PATH)))
        for wrong in (b"me", None):
            with self.assertRaisesRegex(TypeError, "identifier must be text, not"):
                self.lock(self.one, wrong)  # type: ignore[arg-type]

    def test_free_lock_is_acquired_at_once(self) -> None:
        """The node has kazoo's form of name, and is owned by the session."""
        lease = self.result(self.lock(self.one, "me").acquire())
        (name,) = self.children(PATH)
        self.assertRegex(name, r"^[0-9a-f]{32}__lock__0000000000$")
        data, stat = self.result(self.two.get(lease.path))
        self.assertEqual((data, lease.path), (b"me", f"{PATH}/{name}"))
        self.assertEqual(stat.ephemeral_owner, self.session(self.one))
        self.assertEqual(lease.token, stat.czxid)
        self.assertTrue(lease.held and lease.certain)

    def test_invalid_path_is_refused(self) -> None:
        """An invalid path is refused by the constructor."""
        self.assertRaises(InvalidPathError, Lock, self.one, "locks", reactor=self.network)

    def test_release_lets_the_next_contender_in(self) -> None:
        """A release lets the next one in, with a higher token."""
        first = self.result(self.lock(self.one).acquire())
        waiting = self.waiting(self.two)
        self.assertNoResult(waiting)
        self.result(first.release())
        second = self.result(waiting)
        self.assertGreater(second.token, first.token)
        self.assertFalse(first.held)
        self.assertEqual(len(self.children(PATH)), 1)

    def test_one_object_serves_many_contenders(self) -> None:
        """Acquisitions by one lock object take turns as those of different ones do."""
        lock = self.lock(self.one)
        first, second = self.result(lock.acquire()), lock.acquire()
        self.network.settle()
        self.assertNoResult(second)
        self.result(first.release())
        self.assertTrue(self.result(second).held)

    def test_release_wakes_only_the_next_contender(self) -> None:
        """A release causes traffic for the next one only."""
        first = self.result(self.lock(self.one).acquire())
        second, third = self.waiting(self.two), self.waiting(self.bystander)
        before = len(self.cable.client.received), len(self.cable.server.received)
        self.result(first.release())
        lease = self.successResultOf(second)
        self.assertEqual((len(self.cable.client.received), len(self.cable.server.received)), before)
        self.result(lease.release())
        self.assertTrue(self.result(third).held)

    def test_many_contenders_read_the_queue_together(self) -> None:
        """The contenders of one lock object read the queue together, not each by itself."""
        self.result(self.lock(self.two).acquire())
        lock, before = self.lock(self.one), self.one.statistics().requests
        waiting = [lock.acquire() for _ in range(50)]
        ignore_close(*waiting)
        self.network.settle()
        self.assertEqual(self.one.statistics().watches, 50)
        self.assertLess(self.one.statistics().requests - before, 50 * 2 + 10)

    def test_handover_costs_the_same_among_many(self) -> None:
        """The number of requests for a handover does not depend on the number of waiters."""
        lock, requests = self.lock(self.one), []
        lease = self.result(lock.acquire())
        waiting = [lock.acquire() for _ in range(30)]
        ignore_close(*waiting)
        self.network.settle()
        for following in waiting:
            before = self.one.statistics().requests
            self.result(lease.release())
            requests.append(self.one.statistics().requests - before)
            lease = self.successResultOf(following)
        self.assertEqual(set(requests), {2})  # delete the node, and read the next one

    def test_deleted_waiter_does_not_let_the_next_in(self) -> None:
        """If a waiter's node is deleted, the next waiter does not get the lock."""
        lock = self.lock(self.one)
        first = self.result(lock.acquire())
        waiting = [self.waiting(self.one, lock=lock) for _ in range(3)]
        second, third, _ = in_order(self.children(PATH), ("__lock__",))[1:]
        self.deleting(f"{PATH}/{third}")
        self.network.settle()
        self.deleting(f"{PATH}/{second}")
        self.network.settle()
        self.assertEqual([one.called for one in waiting], [False, False, False])
        for _ in range(3):
            self.result(first.release())
            (first,) = [self.successResultOf(one) for one in waiting if one.called]
            waiting = [one for one in waiting if not one.called]

    def test_contenders_are_listed_in_order(self) -> None:
        """The holder is first, then the waiters follow in order."""
        self.assertEqual(self.result(self.lock(self.one).contenders()), [])
        self.result(self.lock(self.two, "b").acquire())
        self.waiting(self.one, identifier="a")
        self.waiting(self.one)
        self.assertEqual(self.result(self.lock(self.one).contenders()), ["b", "a", ""])

    def test_contenders_are_read_in_the_next_session(self) -> None:
        """The read is sent in the next session if this one expires before."""
        self.result(self.lock(self.two, "b").acquire())
        self.server.refuse = True
        self.drop(self.one)
        contenders = self.lock(self.one).contenders()
        self.server.expire(self.session(self.one))
        self.server.refuse = False
        self.network.advance(1)
        self.assertEqual(self.one.statistics().expiries, 1)
        self.assertEqual(self.successResultOf(contenders), ["b"])

    def test_try_acquire_does_not_wait(self) -> None:
        """It fires with None if it would have to wait, and leaves no node."""
        lease = self.result(self.lock(self.one).try_acquire())
        assert lease is not None
        self.assertIsNone(self.result(self.lock(self.two).try_acquire()))
        self.network.settle()
        self.assertEqual(len(self.children(PATH)), 1)

    def test_node_is_gone_when_acquiring_fails(self) -> None:
        """After a failed try, a time-out or a cancellation the node is gone from the server."""
        self.result(self.lock(self.one).acquire())
        trying, late = self.lock(self.two).try_acquire(), self.lock(self.two).acquire(1.0)
        cancelled = self.waiting(self.two)
        left = [nodes_left(self, waiter, PATH) for waiter in (trying, late, cancelled)]
        self.network.settle()
        cancelled.cancel()
        self.network.advance(2)
        self.assertEqual(left, [[3], [1], [2]])

    def test_second_cancellation_does_not_wait(self) -> None:
        """It does not wait for the node's deletion, which happens all the same."""
        self.result(self.lock(self.one).acquire())
        waiting = self.waiting(self.two)
        waiting.cancel()
        self.assertNoResult(waiting)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.network.settle()
        self.assertEqual(len(self.children(PATH)), 1)

    def test_acquire_times_out(self) -> None:
        """It fails with the seconds that it waited, and has left the queue."""
        self.result(self.lock(self.one).acquire())
        waiting = self.lock(self.two).acquire(2.5)
        self.network.advance(2.4)
        self.assertNoResult(waiting)
        self.network.advance(0.2)
        self.assertIn("not acquired within 2.5 s", str(self.failure(waiting, LockTimeoutError)))
        self.assertEqual(len(self.children(PATH)), 1)

    def test_cancelled_contender_leaves_the_queue(self) -> None:
        """A cancelled waiter leaves no watch, and the next one moves up."""
        first = self.result(self.lock(self.one).acquire())
        second, third = self.waiting(self.two), self.waiting(self.bystander)
        second.cancel()
        self.failure(second, CancelledError)
        self.assertEqual(len(self.children(PATH)), 2)
        self.assertEqual(self.two.statistics().watches, 0)
        self.assertNoResult(third)
        self.result(first.release())
        self.assertTrue(self.result(third).held)

    def test_cancelled_while_disconnected(self) -> None:
        """Cancelled without a connection, it fails soon, and its node is deleted later."""
        self.result(self.lock(self.one).acquire())
        waiting = self.waiting(self.two)
        self.server.refuse = True
        self.server.drop(self.session(self.two))
        self.network.settle()
        waiting.cancel()
        self.network.advance(LEAVE_TIMEOUT + 0.1)
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(len(self.children(PATH)), 2)
        self.server.refuse = False
        self.network.advance(2)
        self.assertEqual(len(self.children(PATH)), 1)

    def test_cancelled_after_the_reply_was_lost(self) -> None:
        """A node that was created although the reply was lost is found and deleted."""
        self.result(self.lock(self.one).acquire())
        cable = self.network.cables[1]
        cable.server_may_send = len(cable.client.received) + 1
        waiting = self.waiting(self.two)
        self.assertEqual(len(self.children(PATH)), 2)
        waiting.cancel()
        self.network.advance(2)
        self.failureResultOf(waiting, CancelledError)
        self.assertFalse(cable.up)
        self.assertEqual(len(self.children(PATH)), 1)

    def test_waits_through_a_reconnect(self) -> None:
        """A release is noticed, although the waiter had no connection meanwhile."""
        first = self.result(self.lock(self.one).acquire())
        waiting = self.waiting(self.two)
        self.server.drop(self.session(self.two))
        self.network.run_due()
        releasing = first.release()
        self.network.advance(2)
        self.successResultOf(releasing)
        self.assertTrue(self.result(waiting).held)

    def test_waits_through_an_expiry(self) -> None:
        """A waiter rejoins the queue in the next session."""
        first = self.result(self.lock(self.one).acquire())
        waiting = self.waiting(self.two)
        self.expire(self.two)
        self.assertNoResult(waiting)
        self.assertEqual(len(self.children(PATH)), 2)
        self.result(first.release())
        self.assertTrue(self.result(waiting).certain)

    def test_no_other_session(self) -> None:
        """With a client that begins no other session, the wait ends with the session."""
        client = self.connected(new_session=False)
        self.result(self.lock(self.one).acquire())
        waiting = self.waiting(client)
        self.assertTrue(self.server.expire(self.session(client)))
        self.network.advance(1)
        self.failure(waiting, SessionExpiredError)

    def test_closing_the_client_ends_the_wait(self) -> None:
        """It fails with the client's error."""
        self.result(self.lock(self.one).acquire())
        waiting = self.waiting(self.two)
        self.result(self.two.close())
        self.failure(waiting, ClientClosedError)

    def test_path_deleted_by_others(self) -> None:
        """A path that another client has deleted is created again."""
        lock = self.lock(self.one)
        self.result(self.result(lock.acquire()).release())
        self.deleting(PATH)
        self.deleting("/locks")
        self.assertTrue(self.result(lock.acquire()).held)

    def test_own_node_deleted_while_waiting(self) -> None:
        """A waiter whose node is deleted rejoins the queue when it is its turn."""
        first = self.result(self.lock(self.one).acquire())
        waiting = self.waiting(self.two)
        self.deleting(f"{PATH}/{in_order(self.children(PATH), ('__lock__',))[1]}")
        self.result(first.release())
        lease = self.result(waiting)
        self.assertTrue(lease.held)
        self.assertEqual(self.children(PATH), [lease.path.rpartition("/")[2]])

    def test_names_of_others(self) -> None:
        """With ``names``, it waits for locks of Curator, go-zookeeper and txzookeeper."""
        self.result(self.bystander.ensure_path(PATH))
        other = self.result(
            self.bystander.create(f"{PATH}/_c_x-lock-", ephemeral=True, sequence=True)
        )
        waiting = self.waiting(self.one, names=("__lock__", "lock-"))
        self.assertNoResult(waiting)
        self.deleting(other)
        self.assertTrue(self.result(waiting).held)

    def test_read_only_server(self) -> None:
        """While the server is read-only, the creation is retried every second."""
        client = self.connected(read_only=True)
        self.server.read_only = True
        self.network.advance(2)
        acquiring = self.waiting(client)
        self.network.advance(1.5)
        self.assertNoResult(acquiring)
        self.assertIs(client.state, State.READ_ONLY)
        self.server.read_only = False
        self.network.advance(4)
        self.assertTrue(self.successResultOf(acquiring).certain)

    def test_acquire_fails_without_permission(self) -> None:
        """The call fails with the server's error."""
        acl = [ACL(int(Permission.READ), ANYONE)]
        self.result(self.bystander.create("/sealed", acl=acl))
        lock = Lock(self.one, "/sealed", reactor=self.network)
        self.failure(lock.acquire(), NoAuthError)


class ReadWriteTests(RecipeTestCase):
    """Readers share the lock, writers do not."""

    def test_readers_share_and_writers_exclude(self) -> None:
        """A writer waits for all readers before it, and later readers wait for the writer."""
        one, two = self.connected(), self.connected()
        first = ReadWriteLock(one, PATH, "1", reactor=self.network)
        second = ReadWriteLock(two, PATH, "2", reactor=self.network)
        readers = [self.result(lock.read().acquire()) for lock in (first, second)]
        writing, late = outcome(first.write().acquire()), None
        self.network.settle()
        late = outcome(second.read().acquire())
        self.network.settle()
        self.assertEqual((writing, late), ([], []))
        self.assertEqual(self.result(first.read().contenders()), ["1", "2", "1", "2"])
        self.result(readers[0].release())
        self.assertEqual(writing, [])
        self.result(readers[1].release())
        self.assertEqual((len(writing), late), (1, []))
        self.result(writing[0].release())
        self.assertEqual(len(late), 1)
        self.assertTrue(late[0].held)


class ElectionTests(RecipeTestCase):
    """An election."""

    def test_next_candidate_leads_after_expiry(self) -> None:
        """When the leader's session expires, its lease is lost, and the next candidate leads."""
        one, two = self.connected(), self.connected()
        leading = self.result(Election(one, PATH, "one", reactor=self.network).lead())
        election = Election(two, PATH, "two", reactor=self.network)
        following = election.lead()
        self.network.settle()
        self.assertEqual(self.result(election.contenders()), ["one", "two"])
        lost = leading.lost
        self.expire(one)
        self.assertIsInstance(self.successResultOf(lost), SessionExpiredError)
        self.assertGreater(self.result(following).token, leading.token)
        self.assertEqual(self.result(election.contenders()), ["two"])


class BrokenConnectionTests(SynchronousTestCase):
    """A contender whose connection breaks at every step."""

    def lives(self, world: World) -> None:
        """Wait behind another contender, hold it, release it."""
        other, client = world.clients
        before = world.result(Lock(other, PATH, reactor=world.network).acquire())
        holding = outcome(Lock(client, PATH, reactor=world.network).acquire())
        world.wait()
        self.assertEqual(holding, [])
        self.assertEqual(len(world.children(PATH)), 2)
        world.result(before.release())
        (lease,) = holding
        self.assertEqual(world.children(PATH), [lease.path.rpartition("/")[2]])
        self.assertTrue(lease.certain)
        world.result(lease.release())
        self.assertEqual(world.children(PATH), [])

    def gives_up(self, world: World) -> None:
        """Wait behind another contender, and be cancelled."""
        other, client = world.clients
        before = world.result(Lock(other, PATH, reactor=world.network).acquire())
        waiting = Lock(client, PATH, reactor=world.network).acquire()
        world.network.settle()
        waiting.cancel()
        world.wait()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(world.children(PATH), [before.path.rpartition("/")[2]])
        world.result(before.release())

    def test_survives_cuts_at_every_step(self) -> None:
        """Cut before, in and after each frame, in both directions: all of it happens."""
        at_every_step(self, 2, self.lives)

    def test_cancelled_contender_leaves_nothing_at_any_step(self) -> None:
        """The same for one that is cancelled, connected or not."""
        at_every_step(self, 2, self.gives_up)
