"""Tests for `zkservice.recipes.lease`."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from typing_extensions import override

from tests.client.base import TIMEOUT
from tests.recipes.base import RecipeTestCase
from zkservice.errors import ClientClosedError, LeaseLostError, NoAuthError, SessionExpiredError
from zkservice.recipes import Lock
from zkservice.recipes.lease import hold
from zkservice.recipes.retrying import RetryingClient
from zkservice.wire.acl import ACL, ANYONE, Permission
from zkservice.wire.session import State

PATH = "/locks/one"


class LeaseTests(RecipeTestCase):
    """What the holder of a lease can see."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.one = self.connected()
        self.cable_of_one = self.cable
        self.lease = self.result(Lock(self.one, PATH, reactor=self.network).acquire())

    def test_lost_fires_when_the_session_ends(self) -> None:
        """All Deferreds of `lost` fire with the reason."""
        early, cancelled = self.lease.lost, self.lease.lost
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.expire(self.one)
        self.assertIsInstance(self.successResultOf(early), SessionExpiredError)
        self.assertIsInstance(self.successResultOf(self.lease.lost), SessionExpiredError)
        self.assertFalse(self.lease.held)

    def test_without_a_connection_it_is_not_certain(self) -> None:
        """Without a connection it is not certain; when the session expires it is lost."""
        lost = self.lease.lost
        self.server.refuse = True
        self.server.drop(self.session(self.one))
        self.network.settle()
        self.assertEqual((self.lease.held, self.lease.certain), (True, False))
        self.network.advance(TIMEOUT * 4 / 3 + 0.1)
        self.assertIsInstance(self.successResultOf(lost), SessionExpiredError)

    def test_suspended_process_is_not_certain(self) -> None:
        """After 2/3 of the time-out it is not certain from the first step on."""
        self.network.stall(TIMEOUT * 2 / 3 + 0.1)
        self.assertIs(self.one.state, State.CONNECTED)
        self.assertEqual((self.lease.held, self.lease.certain), (True, False))
        self.network.advance(0.1)
        self.assertTrue(self.lease.certain)

    def test_suspended_machine_is_not_certain(self) -> None:
        """Time in which the reactor's clock stood still counts, too."""
        suspended = 0.0
        client = self.connected(clock=lambda: self.network.seconds() + suspended)
        lease = self.result(Lock(client, "/locks/two", reactor=self.network).acquire())
        self.assertTrue(lease.certain)
        suspended = 60.0
        self.assertFalse(lease.certain)

    def test_idle_client_is_certain(self) -> None:
        """Pings are enough to be certain all the time."""
        for _ in range(50):
            self.network.advance(TIMEOUT / 10)
            self.assertTrue(self.lease.certain)

    def test_reconnect_loses_nothing(self) -> None:
        """The lease is held before and after it."""
        lost = self.lease.lost
        self.server.drop(self.session(self.one))
        self.network.advance(2)
        self.assertNoResult(lost)
        self.assertTrue(self.lease.certain)

    def test_lost_fires_when_the_node_is_deleted(self) -> None:
        """The reason is a lost lease."""
        lost = self.lease.lost
        self.deleting(self.lease.path)
        self.assertIsInstance(self.result(lost), LeaseLostError)

    def test_node_of_another_client_is_not_ours(self) -> None:
        """A node of the same name that another client creates in its place does not count."""
        lost = self.lease.lost
        change = self.bystander.transaction()
        change.delete(self.lease.path)
        change.create(self.lease.path)
        self.result(change.commit())
        self.assertIsInstance(self.result(lost), LeaseLostError)

    def test_node_of_another_session_cannot_be_held(self) -> None:
        """A node that another session owns gives no lease, and is not watched."""
        retrying = RetryingClient(self.bystander, self.network)
        holding = Deferred.fromCoroutine(hold(retrying, self.lease.path))
        self.assertIsNone(self.result(holding))
        self.assertEqual(self.bystander.statistics().watches, 0)

    def test_deletion_while_disconnected_is_a_loss(self) -> None:
        """A node that is deleted while the client is disconnected is reported, too."""
        lost = self.lease.lost
        self.server.drop(self.session(self.one))
        self.network.run_due()
        self.deleting(self.lease.path)
        self.network.advance(2)
        self.assertIsInstance(self.result(lost), LeaseLostError)

    def test_written_data_do_not_end_the_watch(self) -> None:
        """Data that another client writes into the node are no loss."""
        self.result(self.bystander.set(self.lease.path, b"x"))
        lost = self.lease.lost
        self.assertNoResult(lost)
        self.deleting(self.lease.path)
        self.assertIsInstance(self.result(lost), LeaseLostError)

    def test_closing_the_client_loses_it(self) -> None:
        """Releasing it afterwards is not an error."""
        lost = self.lease.lost
        self.result(self.one.close())
        self.assertIsInstance(self.successResultOf(lost), ClientClosedError)
        self.assertIsNone(self.successResultOf(self.lease.release()))

    def test_waiting_for_its_loss_can_be_cancelled(self) -> None:
        """A Deferred for its loss can be cancelled after the release, too."""
        early, late = self.lease.lost, self.lease.lost
        early.cancel()
        self.failure(early, CancelledError)
        self.result(self.lease.release())
        late.cancel()
        self.failure(late, CancelledError)

    def test_lost_never_fires_after_the_release(self) -> None:
        """After the release no watch is left, and releasing again has no effect."""
        lost = self.lease.lost
        releases = self.lease.release(), self.lease.release()
        self.network.settle()
        for release in releases:
            self.successResultOf(release)
        self.successResultOf(self.lease.release())
        self.assertNoResult(lost)
        self.assertEqual(self.one.statistics().watches, 0)
        self.assertIn("released", repr(self.lease))

    def test_release_waits_for_a_connection(self) -> None:
        """Without a connection it is released as soon as there is one."""
        self.server.refuse = True
        self.server.drop(self.session(self.one))
        self.network.settle()
        impatient, retrying = self.lease.release(), self.lease.release()
        impatient.cancel()
        self.failureResultOf(impatient, CancelledError)
        self.assertFalse(self.lease.held)
        self.server.refuse = False
        self.network.advance(2)
        self.successResultOf(retrying)
        self.assertEqual(self.children(PATH), [])

    def test_release_fails_without_permission(self) -> None:
        """Without permission to delete the node each release fails; it goes with the session."""
        no_deletion = ACL(int(Permission.ALL & ~Permission.DELETE), ANYONE)
        self.result(self.bystander.set_acl(PATH, [no_deletion]))
        self.failure(self.lease.release(), NoAuthError)
        self.failure(self.lease.release(), NoAuthError)
        self.assertFalse(self.lease.held)
        self.expire(self.one)
        self.assertEqual(self.children(PATH), [])

    def test_end_of_the_session_completes_the_release(self) -> None:
        """A release fires when the session ends, because the server deletes the node."""
        self.server.refuse = True
        self.drop(self.one)
        releasing = self.lease.release()
        self.network.advance(TIMEOUT * 2)
        self.assertIsNone(self.successResultOf(releasing))

    def test_block_releases_it(self) -> None:
        """The end of the block releases it."""

        async def work() -> int:
            async with self.lease as lease:
                return lease.token

        self.assertEqual(self.result(Deferred.fromCoroutine(work())), self.lease.token)
        self.assertEqual(self.children(PATH), [])

    def test_block_fails_if_the_lease_was_lost(self) -> None:
        """A block that ends well without the lease fails: its work was not protected."""
        step: Deferred[None] = Deferred()

        async def work() -> None:
            async with self.lease:
                await step

        working = Deferred.fromCoroutine(work())
        self.deleting(self.lease.path)
        step.callback(None)
        self.failure(working, LeaseLostError)

    def test_block_fails_if_the_session_ended_unnoticed(self) -> None:
        """A session that ended before the block did is a loss, even if no loss was reported."""
        step: Deferred[None] = Deferred()

        async def work() -> None:
            async with self.lease:
                await step

        working = Deferred.fromCoroutine(work())
        self.server.expire(self.session(self.one))
        step.callback(None)
        self.network.advance(1)
        self.failure(working, LeaseLostError)

    def test_block_fails_if_the_node_was_deleted(self) -> None:
        """A node that is gone when the block ends was not there to protect its end."""
        step: Deferred[None] = Deferred()

        async def work() -> None:
            async with self.lease:
                await step

        working = Deferred.fromCoroutine(work())
        self.cable_of_one.holding = True
        self.deleting(self.lease.path)
        step.callback(None)
        self.cable_of_one.holding = False
        self.failure(working, LeaseLostError)

    def test_error_in_the_block_is_its_outcome(self) -> None:
        """An error in the block is its outcome, lost or not."""

        async def work() -> None:
            async with self.lease:
                self.lease._lose(LeaseLostError(self.lease.path))
                raise KeyError("mine")

        self.failure(Deferred.fromCoroutine(work()), KeyError)
