"""Tests for `zkservice.recipes.double_barrier`."""

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
    BarrierTimeoutError,
    ClientClosedError,
    LeaseLostError,
    NoAuthError,
    SessionExpiredError,
)
from zkservice.recipes import DoubleBarrier, Participant
from zkservice.recipes.retrying import LEAVE_TIMEOUT
from zkservice.wire.acl import ACL, ANYONE, Permission

PATH = "/jobs/one"


class DoubleBarrierTestCase(RecipeTestCase):
    """Three clients."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.trio = [self.connected() for _ in range(3)]
        self.one, self.two, self.three = self.trio

    def barrier(self, client: ZooKeeperClient, members: int = 2, name: str = "") -> DoubleBarrier:
        """A client's object for the barrier."""
        return DoubleBarrier(client, PATH, members, name, reactor=self.network)

    def entering(self, client: ZooKeeperClient, **options: Any) -> Deferred[Participant]:
        """A call of `enter`, in progress as far as possible without another event."""
        entering = self.barrier(client, **options).enter()
        self.addCleanup(ignore_close, entering)
        self.network.settle()
        return entering

    def entered(self, *clients: ZooKeeperClient) -> list[Participant]:
        """Let these clients enter; returns their participants."""
        entering = [self.entering(client, members=len(clients)) for client in clients]
        return [self.result(one) for one in entering]

    def leaving(self, participant: Participant) -> Deferred[None]:
        """A call of `leave`, in progress as far as possible without another event."""
        leaving = participant.leave()
        self.addCleanup(ignore_close, leaving)
        self.network.settle()
        return leaving

    def by_name(self, participants: list[Participant]) -> list[Participant]:
        """The lowest node first."""
        return sorted(participants, key=lambda one: one.lease.path)


class EnterTests(DoubleBarrierTestCase):
    """Members begin together."""

    def test_all_enter_when_the_last_one_comes(self) -> None:
        """All enter with the last member; the nodes are kazoo's, and store the identifiers."""
        first = self.entering(self.one, members=3, name="a")
        second = self.entering(self.two, members=3, name="b")
        self.assertFalse(first.called or second.called)
        third = self.entering(self.three, members=3, name="c")
        participants = [self.successResultOf(one) for one in (first, second, third)]
        for name in self.children(PATH):
            self.assertRegex(name, "^([0-9a-f]{32}|ready)$")
        self.assertEqual(len(self.children(PATH)), 4)
        data = [self.result(self.bystander.get(one.lease.path))[0] for one in participants]
        self.assertEqual(data, [b"a", b"b", b"c"])
        self.assertTrue(all(one.lease.certain for one in participants))
        self.assertEqual(self.one.statistics().watches, 1)  # on its own node

    def test_ready_wakes_once(self) -> None:
        """Waiters receive no event for members that come before the last one."""
        self.entering(self.one, members=3)
        cable = self.network.cables[0]
        before = len(cable.client.received)
        self.entering(self.two, members=3)
        self.assertEqual(len(cable.client.received), before)

    def test_number_of_members_must_be_positive(self) -> None:
        """The number of members must be positive."""
        self.assertRaises(ValueError, self.barrier, self.one, 0)

    def test_entering_times_out(self) -> None:
        """It fails with the seconds that it waited, and is not counted any more."""
        late = self.barrier(self.one).enter(2.5)
        self.network.advance(2.6)
        error = self.failure(late, BarrierTimeoutError)
        self.assertEqual(str(error), f"{PATH}: not all 2 have entered within 2.5 s")
        self.assertEqual((self.children(PATH), self.one.statistics().watches), ([], 0))
        self.assertNoResult(self.entering(self.two))

    def test_node_is_gone_when_entering_fails(self) -> None:
        """After a time-out or a cancellation the node is gone from the server."""
        late, cancelled = self.barrier(self.one, 3).enter(1.0), self.entering(self.two, members=3)
        left = [nodes_left(self, waiter, PATH) for waiter in (late, cancelled)]
        cancelled.cancel()
        self.network.advance(2)
        self.assertEqual(left, [[0], [1]])

    def test_cancelled_while_disconnected(self) -> None:
        """Cancelled without a connection, the node is deleted as soon as there is one."""
        entering = self.entering(self.one)
        self.server.refuse = True
        self.drop(self.one)
        entering.cancel()
        self.network.advance(LEAVE_TIMEOUT + 0.1)
        self.failureResultOf(entering, CancelledError)
        self.assertEqual(len(self.children(PATH)), 1)
        self.server.refuse = False
        self.network.advance(2)
        self.assertEqual(self.children(PATH), [])

    def test_waits_through_an_expiry(self) -> None:
        """A member that waits enters again in the next session."""
        entering = self.entering(self.one)
        self.expire(self.one)
        self.assertNoResult(entering)
        self.assertEqual(len(self.children(PATH)), 1)
        self.successResultOf(self.entering(self.two))
        self.assertTrue(self.result(entering).lease.certain)

    def test_node_of_an_ended_session_is_not_counted(self) -> None:
        """The node of a session that only the client has expired is not counted twice."""
        entering = self.entering(self.one, members=3)
        self.give_up(self.one)
        self.accept_again()
        self.network.advance(2)
        self.assertEqual(len(self.children(PATH)), 1)
        self.assertNoResult(entering)

    def test_member_whose_node_is_deleted_enters_again(self) -> None:
        """A member whose node is deleted while it waits enters again."""
        entering = self.entering(self.one)
        self.deleting(f"{PATH}/{self.children(PATH)[0]}")
        self.assertEqual(len(self.children(PATH)), 1)
        self.successResultOf(self.entering(self.two))
        self.assertTrue(self.result(entering).lease.held)

    def test_disconnected_member_is_let_in_later(self) -> None:
        """A member without a connection enters later, even if the last one leaves meanwhile."""
        entering = self.entering(self.one)
        self.server.refuse = True
        self.drop(self.one)
        leaving = self.leaving(self.successResultOf(self.entering(self.two)))
        self.server.refuse = False
        self.network.advance(2)
        self.assertNoResult(leaving)
        self.result(self.successResultOf(entering).leave())
        self.successResultOf(leaving)

    def test_round_of_dead_members_does_not_count(self) -> None:
        """The node ``ready`` of a round whose members have all expired is deleted."""
        self.entered(self.one, self.two)
        self.expire(self.one)
        self.expire(self.two)
        self.assertEqual(self.children(PATH), ["ready"])
        entering = self.entering(self.three)
        self.assertNoResult(entering)
        self.assertTrue(self.entering(self.one).called and entering.called)

    def test_member_that_rejoins_waits_for_the_next_round(self) -> None:
        """A member that was lost does not rejoin its round, and does not delay its end."""
        first, second, _ = self.entered(*self.trio)
        self.expire(self.three)
        again = self.entering(self.three, members=3)
        self.assertNoResult(again)
        leaving = [self.leaving(one) for one in (first, second)]
        self.assertEqual([self.successResultOf(one) for one in leaving], [None, None])
        self.assertNoResult(again)
        self.assertEqual(len(self.children(PATH)), 1)
        others = [self.entering(client, members=3) for client in (self.one, self.two)]
        self.assertTrue(all(self.successResultOf(one) for one in (again, *others)))

    def test_member_that_rejoins_continues_when_the_others_expire(self) -> None:
        """The round that it waits for also ends with the sessions of its members."""
        self.entered(*self.trio)
        self.expire(self.three)
        again = self.entering(self.three, members=3)
        self.expire(self.one)
        self.expire(self.two)
        self.assertNoResult(again)
        others = [self.entering(client, members=3) for client in (self.one, self.two)]
        self.assertTrue(all(self.successResultOf(one) for one in (again, *others)))

    def test_member_that_waits_for_the_next_round_can_be_lost(self) -> None:
        """A member that waits for the next round and is lost enters again, and still waits."""
        self.entered(*self.trio)
        self.expire(self.three)
        again = self.entering(self.three, members=3)
        self.expire(self.three)
        self.assertNoResult(again)
        self.assertEqual(len(self.children(PATH)), 4)

    def test_entering_fails_without_access_or_session(self) -> None:
        """It fails without permission, without another session, and when the client is closed."""
        acl = [ACL(int(Permission.READ), ANYONE)]
        self.result(self.bystander.create("/sealed", acl=acl))
        sealed = DoubleBarrier(self.one, "/sealed", 2, reactor=self.network)
        self.failure(sealed.enter(), NoAuthError)
        last = self.connected(new_session=False)
        expired, closed = self.entering(last, members=9), self.entering(self.two, members=9)
        self.assertTrue(self.server.expire(self.session(last)))
        self.network.advance(1)
        self.failure(expired, SessionExpiredError)
        self.result(self.two.close())
        self.failure(closed, ClientClosedError)


class LeaveTests(DoubleBarrierTestCase):
    """Members end together."""

    def test_no_member_continues_before_all_have_left(self) -> None:
        """No member continues before all have left, in any order; no node remains."""
        for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
            participants = self.by_name(self.entered(*self.trio))
            first, second = (self.leaving(participants[number]) for number in order[:2])
            self.assertFalse(first.called or second.called, order)
            self.result(participants[order[2]].leave())
            self.assertTrue(first.called and second.called, order)
            self.assertEqual(self.children(PATH), [], order)
        self.assertEqual([client.statistics().watches for client in self.trio], [0, 0, 0])

    def test_last_member_ends_the_round_at_once(self) -> None:
        """Its node and ``ready`` go in one transaction: no member of the next round counts it."""
        lowest, highest = self.by_name(self.entered(self.one, self.two))
        self.leaving(lowest)
        before = self.server.state.zxid
        self.result(highest.leave())
        self.assertEqual(self.server.state.zxid - before, 2)  # a deletion, and this
        self.assertEqual(self.children(PATH), [])

    def test_late_member_does_not_wait_for_the_next_round(self) -> None:
        """A member that learns late that all have left does not wait for the next round."""
        lowest, highest = self.by_name(self.entered(self.one, self.two))
        leaving = self.leaving(highest)
        slow = self.one if lowest.lease.path in self.ephemerals(self.two) else self.two
        fast = self.two if slow is self.one else self.one
        self.server.refuse = True
        self.drop(slow)
        self.result(lowest.leave())
        next_round = self.entering(fast)
        self.server.refuse = False
        self.network.advance(2)
        self.assertIsNone(self.successResultOf(leaving))
        self.assertNoResult(next_round)
        self.successResultOf(self.entering(slow))
        self.successResultOf(next_round)

    def ephemerals(self, client: ZooKeeperClient) -> list[str]:
        """A client's ephemeral nodes."""
        found: list[str] = self.result(client.get_ephemerals())
        return found

    def test_members_that_die_are_not_waited_for(self) -> None:
        """The end of a session counts as leaving."""
        participants = self.entered(*self.trio)
        leaving = [self.leaving(one) for one in participants[:2]]
        self.expire(self.three)
        self.assertEqual([self.successResultOf(one) for one in leaving], [None, None])
        self.assertEqual(self.children(PATH), [])

    def test_leaving_continues_after_an_expiry(self) -> None:
        """If the session expires during the wait, the member still waits for the others."""
        for number in (0, 1):  # the lowest member keeps its node while it waits, the other does not
            participants = self.by_name(self.entered(self.one, self.two))
            leaving = self.leaving(participants[number])
            owner = (
                self.one if participants[number].lease.path in self.ephemerals(self.one) else None
            )
            client = owner or (self.two if number == 0 else self.client_without_node(participants))
            self.expire(client)
            self.assertNoResult(leaving)
            self.result(participants[1 - number].leave())
            self.network.advance(2)
            self.successResultOf(leaving)
            self.assertEqual(self.children(PATH), [])

    def client_without_node(self, participants: list[Participant]) -> ZooKeeperClient:
        """The client whose node is deleted already."""
        return self.two if participants[0].lease.path in self.ephemerals(self.one) else self.one

    def test_leaving_fails_if_the_lease_was_lost(self) -> None:
        """It fails at once, whatever the reason."""
        participants = self.entered(self.one, self.two)
        self.expire(self.one)
        self.failure(participants[0].leave(), LeaseLostError)
        self.deleting(participants[1].lease.path)
        self.failure(participants[1].leave(), LeaseLostError)

    def test_leaving_can_be_cancelled_and_repeated(self) -> None:
        """A member whose wait is cancelled has left, and may wait again."""
        for number in (0, 1):
            participants = self.by_name(self.entered(self.one, self.two))
            late = participants[number].leave(2.5)
            self.network.advance(2.6)
            error = self.failure(late, BarrierTimeoutError)
            self.assertEqual(str(error), f"{PATH}: not all have left within 2.5 s")
            self.network.settle()
            self.assertNotIn(participants[number].lease.path[-32:], self.children(PATH))
            again = self.leaving(participants[number])
            self.assertNoResult(again)
            self.result(participants[1 - number].leave())
            self.assertIsNone(self.successResultOf(again))

    def test_block_waits_for_the_others_unless_it_fails(self) -> None:
        """A block that ends waits for the others; one that fails does not."""
        first, second = self.entered(self.one, self.two)

        async def work(participant: Participant, error: Exception | None) -> None:
            async with participant:
                if error is not None:
                    raise error

        working = Deferred.fromCoroutine(work(first, None))
        self.network.settle()
        self.assertNoResult(working)
        self.failure(Deferred.fromCoroutine(work(second, ZeroDivisionError())), ZeroDivisionError)
        self.assertIsNone(self.result(working))


class BrokenConnectionTests(SynchronousTestCase):
    """A member's connection, cut at every step."""

    def lives(self, world: World) -> None:
        """Enter first, leave first; then enter last and leave last."""
        other, client = (
            DoubleBarrier(one, PATH, 2, reactor=world.network) for one in world.clients
        )
        for barriers in ((client, other), (other, client)):
            entering = outcome(barriers[0].enter())
            world.wait()
            self.assertEqual(entering, [])
            late = world.result(barriers[1].enter())
            world.wait()
            (early,) = entering
            leaving = outcome(early.leave())
            world.wait()
            self.assertEqual(leaving, [])
            world.result(late.leave())
            world.wait()
            self.assertEqual((leaving, world.children(PATH)), ([None], []))

    def test_survives_cuts_at_every_step(self) -> None:
        """Cut before, in and after each frame, in both directions: all of it happens."""
        at_every_step(self, 2, self.lives)
