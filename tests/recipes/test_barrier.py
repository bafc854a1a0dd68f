"""Tests for `zkservice.recipes.barrier`."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.client.base import ignore_close
from tests.recipes.base import RecipeTestCase
from tests.recipes.world import World, at_every_step, outcome
from zkservice.client import ZooKeeperClient
from zkservice.errors import (
    BarrierTimeoutError,
    ClientClosedError,
    InvalidPathError,
    NotEmptyError,
    SessionExpiredError,
)
from zkservice.recipes import Barrier

PATH = "/gates/one"


class BarrierTests(RecipeTestCase):
    """A barrier with two clients."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.one, self.two = self.connected(), self.connected()

    def barrier(self, client: ZooKeeperClient) -> Barrier:
        """The barrier, for a client."""
        return Barrier(client, PATH, reactor=self.network)

    def waiting(self, client: ZooKeeperClient) -> Deferred[None]:
        """A call of `wait`, in progress as far as possible without another event."""
        waiting = self.barrier(client).wait()
        self.addCleanup(ignore_close, waiting)
        self.network.settle()
        return waiting

    def test_repeated_removal_leaves_the_next_barrier(self) -> None:
        """A removal that is repeated leaves the next barrier in place."""
        for second in (False, True):  # whichever of the requests it is that deletes
            one, two = self.connected(), self.connected()
            self.result(self.barrier(two).create())
            self.lose_reply(one, second=second)
            removing = self.barrier(one).remove()
            self.network.settle()
            lifted = self.children("/gates") == []
            self.result(self.barrier(two).create())
            self.network.advance(3)
            self.assertTrue(self.successResultOf(removing))
            self.assertEqual(self.children("/gates"), ["one"] if lifted else [])

    def test_wait_ends_at_once_without_a_barrier(self) -> None:
        """A missing barrier blocks nothing, and leaves no watch."""
        self.assertTrue(self.waiting(self.one).called)
        self.assertEqual(self.one.statistics().watches, 0)

    def test_blocks_until_it_is_removed(self) -> None:
        """All waiters are blocked until it is removed; it can be created twice."""
        barrier = self.barrier(self.one)
        for _ in range(2):
            self.assertIsNone(self.result(barrier.create()))
        waiting = [self.waiting(client) for client in (self.one, self.two)]
        self.assertEqual([one.called for one in waiting], [False, False])
        self.assertTrue(self.result(self.barrier(self.two).remove()))
        self.assertEqual([self.successResultOf(one) for one in waiting], [None, None])
        self.assertFalse(self.result(barrier.remove()))

    def test_outlives_the_session_that_created_it(self) -> None:
        """It is a persistent node."""
        self.result(self.barrier(self.one).create())
        self.expire(self.one)
        self.assertNoResult(self.waiting(self.two))

    def test_writing_data_does_not_remove_it(self) -> None:
        """Writing into the node does not remove the barrier."""
        self.result(self.barrier(self.one).create())
        waiting = self.waiting(self.two)
        self.result(self.one.set(PATH, b"why"))
        self.assertNoResult(waiting)
        self.deleting(PATH)
        self.assertIsNone(self.result(waiting))

    def test_removal_and_creation_while_disconnected_end_the_wait(self) -> None:
        """After a lost connection only the barrier that was waited for counts, not the next one."""
        self.result(self.barrier(self.one).create())
        waiting = self.waiting(self.two)
        self.server.refuse = True
        self.drop(self.two)
        self.result(self.barrier(self.one).remove())
        self.result(self.barrier(self.one).create())
        self.assertNoResult(waiting)
        self.server.refuse = False
        self.network.advance(3)
        self.successResultOf(waiting)
        self.assertNoResult(self.waiting(self.two))

    def test_waits_through_an_expiry(self) -> None:
        """The wait continues in the next session."""
        self.result(self.barrier(self.one).create())
        waiting = self.waiting(self.two)
        self.expire(self.two)
        self.assertNoResult(waiting)
        self.deleting(PATH)
        self.assertIsNone(self.result(waiting))

    def test_wait_times_out(self) -> None:
        """It fails with the seconds that it waited, and leaves no watch."""
        self.result(self.barrier(self.one).create())
        waiting = self.barrier(self.two).wait(2.5)
        self.network.advance(2.4)
        self.assertNoResult(waiting)
        self.network.advance(0.2)
        error = self.failure(waiting, BarrierTimeoutError)
        self.assertEqual(str(error), f"{PATH}: not removed within 2.5 s")
        self.assertEqual(self.two.statistics().watches, 0)

    def test_cancelled_wait_leaves_no_watch(self) -> None:
        """Cancelling stops the waiting."""
        self.result(self.barrier(self.one).create())
        waiting = self.waiting(self.two)
        waiting.cancel()
        self.failure(waiting, CancelledError)
        self.assertEqual(self.two.statistics().watches, 0)

    def test_wait_fails_without_another_session(self) -> None:
        """The wait ends with the last session, and with the client."""
        client = self.connected(new_session=False)
        self.result(self.barrier(self.one).create())
        waiting, closed = self.waiting(client), self.barrier(self.two).wait()
        self.assertTrue(self.server.expire(self.session(client)))
        self.network.advance(1)
        self.failure(waiting, SessionExpiredError)
        self.result(self.two.close())
        self.failure(closed, ClientClosedError)

    def test_barrier_with_children_is_not_removed(self) -> None:
        """A node with children is not deleted."""
        self.result(self.bystander.ensure_path(PATH + "/below"))
        self.failure(self.barrier(self.one).remove(), NotEmptyError)

    def test_invalid_path_is_refused(self) -> None:
        """It is refused by the constructor."""
        self.assertRaises(InvalidPathError, Barrier, self.one, "gates", reactor=self.network)


class BrokenConnectionTests(SynchronousTestCase):
    """A connection, cut at every step."""

    def lives(self, world: World) -> None:
        """Create a barrier and wait until it is removed; create and remove another one."""
        other, client = world.clients
        ours = Barrier(client, PATH, reactor=world.network)
        world.result(ours.create())
        waiting = outcome(ours.wait())
        world.wait()
        self.assertEqual(waiting, [])
        self.assertTrue(world.result(Barrier(other, PATH, reactor=world.network).remove()))
        world.wait()
        self.assertEqual(waiting, [None])
        world.result(ours.create())
        self.assertTrue(world.result(ours.remove()))
        self.assertEqual(world.children("/gates"), [])

    def test_survives_cuts_at_every_step(self) -> None:
        """Cut before, in and after each frame, in both directions: all of it happens."""
        at_every_step(self, 2, self.lives)
