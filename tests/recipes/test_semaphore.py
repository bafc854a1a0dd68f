"""Tests for `zkservice.recipes.semaphore`."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.client.base import ignore_close
from tests.recipes.base import RecipeTestCase, nodes_left
from tests.recipes.world import World, at_every_step, outcome
from zkservice.client import ZooKeeperClient
from zkservice.errors import InconsistentLeasesError, LockTimeoutError, SessionExpiredError
from zkservice.recipes import Lease, Semaphore
from zkservice.recipes.queue_order import in_order

PATH = "/pool"


class SemaphoreTests(RecipeTestCase):
    """A semaphore with two clients."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.one, self.two = self.connected(), self.connected()

    def semaphore(self, client: ZooKeeperClient, leases: int = 2, name: str = "") -> Semaphore:
        """A client's object for the semaphore."""
        return Semaphore(client, PATH, leases, name, reactor=self.network)

    def waiting(self, client: ZooKeeperClient, **options: Any) -> Deferred[Lease]:
        """A call of `acquire`, in progress as far as possible without another event."""
        acquiring = self.semaphore(client, **options).acquire()
        self.addCleanup(ignore_close, acquiring)
        self.network.settle()
        return acquiring

    def test_room_for_two(self) -> None:
        """The third waits until a lease is released; the path stores the number of leases."""
        first = self.successResultOf(self.waiting(self.one))
        self.assertTrue(self.successResultOf(self.waiting(self.two)).held)
        third = self.waiting(self.one)
        self.assertNoResult(third)
        self.assertEqual(self.result(self.bystander.get(PATH))[0], b"2")
        self.result(first.release())
        self.assertTrue(self.result(third).certain)
        self.assertEqual(len(self.children(PATH)), 2)

    def test_waiters_are_served_in_order(self) -> None:
        """Waiters get leases in the order of their calls."""
        first = self.successResultOf(self.waiting(self.one, leases=1))
        second, third = self.waiting(self.two, leases=1), self.waiting(self.one, leases=1)
        self.result(first.release())
        lease = self.successResultOf(second)
        self.assertNoResult(third)
        self.result(lease.release())
        self.assertTrue(self.result(third).held)

    def test_holders_are_listed_without_waiters(self) -> None:
        """The list is empty if it was never used."""
        semaphore = self.semaphore(self.one)
        self.assertEqual(self.result(semaphore.holders()), [])
        for name in ("a", "b", "c"):
            self.waiting(self.two, name=name)
        holders = self.result(semaphore.holders())
        self.assertEqual(sorted(holders), ["a", "b"])

    def test_holders_across_sessions(self) -> None:
        """The read is sent in the next session if this one expires before."""
        self.waiting(self.two, name="a")
        self.server.refuse = True
        self.drop(self.one)
        holders = self.semaphore(self.one).holders()
        self.server.expire(self.session(self.one))
        self.server.refuse = False
        self.network.advance(1)
        self.assertEqual(self.one.statistics().expiries, 1)
        self.assertEqual(self.successResultOf(holders), ["a"])

    def test_other_number_of_leases_is_refused(self) -> None:
        """All users of a path must agree."""
        self.successResultOf(self.waiting(self.one))
        error = self.failure(self.semaphore(self.two, 3).acquire(), InconsistentLeasesError)
        self.assertEqual((error.wanted, error.found), (3, 2))
        self.assertEqual(str(error), "/pool: the semaphore has 2 leases, expected 3")

    def test_data_for_another_purpose(self) -> None:
        """Data at the path that are no number are left alone."""
        self.result(self.bystander.create(PATH, b"mine"))
        self.assertTrue(self.successResultOf(self.waiting(self.one)).held)
        self.assertEqual(self.result(self.bystander.get(PATH))[0], b"mine")

    def test_number_of_leases_must_be_positive(self) -> None:
        """The constructor refuses other numbers."""
        self.assertRaises(ValueError, self.semaphore, self.one, 0)

    def test_timeout_and_cancellation(self) -> None:
        """A waiter that is cancelled or times out leaves no node, and does not block others."""
        lease = self.successResultOf(self.waiting(self.one, leases=1))
        cancelled = self.waiting(self.two, leases=1)
        late = self.semaphore(self.two, 1).acquire(1.0)
        self.network.settle()
        cancelled.cancel()
        self.failure(cancelled, CancelledError)
        self.network.advance(1.1)
        self.failure(late, LockTimeoutError)
        self.assertEqual(len(self.children(PATH)), 1)
        self.assertEqual(self.children(PATH + "-__lock__"), [])
        self.result(lease.release())

    def test_nodes_are_gone_when_the_call_fails(self) -> None:
        """After a time-out or a cancellation nothing is left on the server."""
        self.successResultOf(self.waiting(self.one, leases=1))
        queue = PATH + "-__lock__"
        first, second = self.waiting(self.two, leases=1), self.semaphore(self.two, 1).acquire(2.0)
        left = [nodes_left(self, waiter, PATH, queue) for waiter in (first, second)]
        self.network.advance(1)
        first.cancel()
        self.network.advance(2)
        self.assertEqual(left, [[1, 1], [1, 0]])

    def test_expired_holder_makes_room(self) -> None:
        """A waiter whose session expires rejoins the queue."""
        lease = self.successResultOf(self.waiting(self.one, leases=1))
        second, third = self.waiting(self.two, leases=1), self.waiting(self.one, leases=1)
        self.expire(self.two)
        self.assertNoResult(second)
        lost = lease.lost
        self.expire(self.one)
        self.assertIsInstance(self.successResultOf(lost), SessionExpiredError)
        self.assertTrue(self.result(second).held)
        self.assertNoResult(third)

    def test_turn_lost_while_waiting(self) -> None:
        """Two contenders that both see themselves first do not both get a lease."""
        lease = self.successResultOf(self.waiting(self.one, leases=1))
        waiting = [self.waiting(client, leases=1) for client in (self.one, self.two)]
        queue = PATH + "-__lock__"
        self.deleting(f"{queue}/{in_order(self.children(queue), ('__lock__',))[0]}")
        self.result(lease.release())
        self.assertEqual([one.called for one in waiting].count(True), 1)
        self.assertEqual(len(self.children(PATH)), 1)

    def test_path_deleted_while_waiting(self) -> None:
        """A path that another client deletes is created again."""
        self.successResultOf(self.waiting(self.one, leases=1))
        second = self.waiting(self.two, leases=1)
        self.deleting(f"{PATH}/{self.children(PATH)[0]}")
        self.assertTrue(self.result(second).held)


class BrokenConnectionTests(SynchronousTestCase):
    """A holder's connection, cut at every step."""

    def lives(self, world: World) -> None:
        """Wait for room, hold it, release it."""
        other, client = world.clients
        before = world.result(Semaphore(other, PATH, 1, reactor=world.network).acquire())
        holding = outcome(Semaphore(client, PATH, 1, reactor=world.network).acquire())
        world.wait()
        self.assertEqual((holding, len(world.children(PATH))), ([], 1))
        world.result(before.release())
        (lease,) = holding
        world.wait()
        self.assertEqual(world.children(PATH), [lease.path.rpartition("/")[2]])
        self.assertEqual(world.children(PATH + "-__lock__"), [])
        world.result(lease.release())
        self.assertEqual(world.children(PATH), [])

    def test_survives_cuts_at_every_step(self) -> None:
        """Cut before, in and after each frame, in both directions: all of it happens."""
        at_every_step(self, 2, self.lives)
