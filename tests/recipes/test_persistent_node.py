"""Tests for `zkservice.recipes.persistent_node`."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogLevel, capturedLogs, eventAsText
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.client.base import TIMEOUT, ignore_close
from tests.recipes.base import RecipeTestCase, nodes_left
from tests.recipes.world import World, at_every_step
from zkservice.client import ZooKeeperClient
from zkservice.errors import (
    ClientClosedError,
    NoAuthError,
    NodeExistsError,
    SessionExpiredError,
)
from zkservice.recipes import PersistentEphemeralNode
from zkservice.recipes.retrying import LEAVE_TIMEOUT
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE

PATH = "/agents/one"


class PersistentEphemeralNodeTests(RecipeTestCase):
    """A node that is created again."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.one, self.two = self.connected(), self.connected()

    def node(self, client: ZooKeeperClient, data: bytes = b"", **options: Any) -> Any:
        """A client's object for the node."""
        return PersistentEphemeralNode(client, PATH, data, reactor=self.network, **options)

    def created(self, client: ZooKeeperClient, data: bytes = b"", **options: Any) -> Any:
        """A node that was created."""
        node = self.node(client, data, **options)
        self.assertIs(self.result(node.create()), node)
        return node

    def creating(self, node: PersistentEphemeralNode) -> Deferred[Any]:
        """A call of `create`, in progress as far as possible without another event."""
        creating = node.create()
        self.addCleanup(ignore_close, creating)
        self.network.settle()
        return creating

    def stored(self) -> tuple[bytes, int] | None:
        """The node's data and its owner; None if it is not there."""
        node = self.server.node(PATH)
        return None if node is None else (node.data or b"", node.stat.ephemeral_owner)

    def test_node_is_created_changed_and_deleted(self) -> None:
        """It is created with its parents, and can be created again after a deletion."""
        node = self.created(self.one, b"1")
        self.assertEqual((self.stored(), node.present), ((b"1", self.session(self.one)), True))
        self.assertIsNone(self.result(node.set(b"2")))
        self.assertEqual(self.stored(), (b"2", self.session(self.one)))
        for _ in range(2):
            self.assertIsNone(self.result(node.delete()))
        self.assertEqual((self.stored(), node.present), (None, False))
        self.assertEqual(self.one.statistics().watches, 0)
        self.result(node.create())
        self.assertEqual(self.stored(), (b"2", self.session(self.one)))

    def test_second_creation_is_refused(self) -> None:
        """An object creates its node only once."""
        node = self.created(self.one)
        self.failure(node.create(), NodeExistsError)

    def test_node_is_created_again_in_each_session(self) -> None:
        """It is created with its latest data."""
        node = self.created(self.one, b"1")
        self.result(node.set(b"2"))
        for _ in range(3):
            self.expire(self.one)
            self.assertEqual((self.stored(), node.present), ((b"2", self.session(self.one)), True))

    def test_acl_changes_for_the_next_sessions_too(self) -> None:
        """The ACL of the node changes, that of its parents does not."""
        node = self.created(self.one, b"1")
        self.assertIsNone(self.result(node.set_acl(READ_ACL_UNSAFE)))
        self.assertEqual(self.acl(), tuple(READ_ACL_UNSAFE))
        self.expire(self.one)
        self.assertEqual(self.acl(), tuple(READ_ACL_UNSAFE))
        self.deleting(PATH)
        self.deleting("/agents")
        self.network.advance(1.1)
        self.assertTrue(node.present)
        self.assertEqual(self.acl(), tuple(READ_ACL_UNSAFE))
        self.assertEqual(self.acl("/agents"), tuple(OPEN_ACL_UNSAFE))
        self.failure(node.set_acl(OPEN_ACL_UNSAFE), NoAuthError)
        self.expire(self.one)
        self.assertEqual(self.acl(), tuple(OPEN_ACL_UNSAFE))

    def acl(self, path: str = PATH) -> tuple[ACL, ...]:
        """A node's ACL."""
        return tuple(self.result(self.bystander.get_acl(path))[0])

    def test_set_acl_while_it_is_made(self) -> None:
        """An ACL that is set during the creation replaces the old one."""
        node = self.node(self.one, b"1")
        creating = node.create()
        for _ in range(3):
            self.network.step()
        self.assertFalse(creating.called)
        node.set_acl(READ_ACL_UNSAFE)
        self.result(creating)
        self.assertEqual(self.acl(), tuple(READ_ACL_UNSAFE))

    def test_set_while_it_is_away(self) -> None:
        """Data that are set between two sessions are used in the next one."""
        node = self.created(self.one, b"1")
        self.server.refuse = True
        self.assertTrue(self.server.expire(self.session(self.one)))
        self.network.advance(TIMEOUT * 2)
        self.assertFalse(node.present)
        self.assertIsNone(self.result(node.set(b"2")))
        self.server.refuse = False
        self.network.advance(2)
        self.assertEqual(self.stored(), (b"2", self.session(self.one)))

    def test_set_while_it_is_made(self) -> None:
        """Data that are set during the creation replace the old ones."""
        node = self.node(self.one, b"1")
        creating = node.create()
        for _ in range(3):
            self.network.step()
        self.assertFalse(creating.called)
        node.set(b"2")
        self.result(creating)
        self.assertEqual(self.stored(), (b"2", self.session(self.one)))

    def test_left_by_our_own_session(self) -> None:
        """The node of a session that only the client has expired is replaced."""
        node = self.created(self.one, b"1")
        before = self.session(self.one)
        self.give_up(self.one)
        self.accept_again()
        for _ in range(100):
            if node.present:
                break
            self.network.advance(0.05)
        self.assertNotEqual(self.session(self.one), before)
        self.assertEqual(self.stored(), (b"1", self.session(self.one)))
        self.network.advance(TIMEOUT)
        self.assertEqual(self.stored(), (b"1", self.session(self.one)))

    def test_node_of_another_client_is_waited_for(self) -> None:
        """Another client's node is left alone until it is deleted."""
        first, second = self.created(self.one, b"1"), self.node(self.two, b"2")
        waiting = self.creating(second)
        self.assertNoResult(waiting)
        self.assertEqual(self.stored(), (b"1", self.session(self.one)))
        self.result(first.set(b"3"))
        self.assertNoResult(waiting)
        self.result(first.delete())
        self.assertIs(self.successResultOf(waiting), second)
        self.assertEqual(self.stored(), (b"2", self.session(self.two)))

    def test_deleted_with_a_lost_reply(self) -> None:
        """A repeated deletion leaves the next client's node alone."""
        first = self.created(self.one, b"1")
        waiting = self.creating(self.node(self.two, b"2"))
        self.lose_reply(self.one)
        deleting = first.delete()
        self.network.settle()
        second = self.successResultOf(waiting)
        found = self.server.node(PATH)
        self.network.advance(3)
        self.assertIsNone(self.successResultOf(deleting))
        self.assertIsNotNone(found)
        self.assertEqual(self.server.node(PATH), found)
        self.assertTrue(second.present)

    def test_deleted_node_is_back_after_a_second(self) -> None:
        """It is created again after a second, not sooner."""
        node = self.created(self.one, b"1")
        self.deleting(PATH)
        self.deleting("/agents")
        self.network.advance(0.9)
        self.assertEqual((self.stored(), node.present), (None, False))
        self.network.advance(0.2)
        self.assertEqual(self.stored(), (b"1", self.session(self.one)))

    def test_deleted_for_good(self) -> None:
        """A node that is deleted while it is missing or being created is not created again."""
        node = self.created(self.one)
        self.deleting(PATH)
        self.assertIsNone(self.result(node.delete()))
        creating = node.create()
        self.network.run_due()
        self.assertIsNone(self.result(node.delete()))
        self.failure(creating, CancelledError)
        self.network.advance(3)
        self.assertIsNone(self.stored())

    def test_made_anew_at_once(self) -> None:
        """The clean-up of a cancelled creation does not delete the next creation's node."""
        node = self.node(self.one, b"1")
        self.result(self.bystander.ensure_path("/agents"))
        with capturedLogs() as events:
            cancelled = node.create()
            self.until_stored()
            self.assertFalse(cancelled.called)
            cancelled.cancel()
            self.assertIs(self.result(node.create()), node)
            self.failureResultOf(cancelled, CancelledError)
        self.assertEqual((self.stored(), node.present), ((b"1", self.session(self.one)), True))
        self.assertEqual([one for one in events if "lost the lease" in str(one["log_format"])], [])

    def test_cancelled_creation_fails_when_the_node_is_gone(self) -> None:
        """With a connection, the node is gone when the call fails."""
        self.result(self.bystander.ensure_path("/agents"))
        creating = self.node(self.one).create()
        self.until_stored()
        self.assertFalse(creating.called)
        left = nodes_left(self, creating, "/agents")
        creating.cancel()
        self.network.settle()
        self.assertEqual(left, [0])

    def test_cancelled_creation_without_a_connection_fails_in_time(self) -> None:
        """It waits for the deletion, but not until there is a connection again."""
        self.result(self.bystander.ensure_path("/agents"))
        creating = self.node(self.one).create()
        self.until_stored()
        self.server.refuse = True
        self.drop(self.one)
        creating.cancel()
        self.assertNoResult(creating)
        self.network.advance(LEAVE_TIMEOUT)
        self.failureResultOf(creating, CancelledError)
        self.server.refuse = False
        self.network.advance(5)
        self.assertIsNone(self.stored())

    def test_deletion_waits_for_a_cancelled_creation(self) -> None:
        """A deletion fires when the node of the creation that it cancels is gone."""
        self.result(self.bystander.ensure_path("/agents"))
        node = self.node(self.one)
        creating = node.create()
        self.until_stored()
        deleting = node.delete()
        left = nodes_left(self, deleting, "/agents")
        self.network.settle()
        self.assertEqual(left, [0])
        self.failureResultOf(creating, CancelledError)

    def until_stored(self) -> None:
        """Let time pass until the node exists; its client does not know yet."""
        for _ in range(20):
            if self.stored() is not None:
                break
            self.network.run_due()
            self.network.cables[0].deliver()

    def test_second_object_of_a_client_is_refused(self) -> None:
        """Two objects of a client cannot keep the same node; it is free after a deletion."""
        first, second = self.created(self.one, b"1"), self.node(self.one, b"2")
        error = self.failure(second.create(), NodeExistsError)
        self.assertIn("another object of this client", str(error))
        self.assertIsNone(self.result(second.delete()))
        self.failure(second.create(), NodeExistsError)
        self.assertEqual(self.stored(), (b"1", self.session(self.one)))
        deleting = first.delete()
        self.failure(second.create(), NodeExistsError)
        self.assertIsNone(self.result(deleting))
        self.assertIs(self.result(second.create()), second)
        self.assertEqual(self.stored(), (b"2", self.session(self.one)))

    def test_node_is_free_after_a_failed_creation(self) -> None:
        """A creation that was refused or cancelled does not keep others from the node."""
        waiting = self.created(self.two) and self.creating(self.node(self.one))
        waiting.cancel()
        self.failure(waiting, CancelledError)
        first = self.node(self.one)
        creating = self.creating(first)
        first.delete()
        self.failure(creating, CancelledError)
        self.assertNoResult(self.creating(self.node(self.one)))

    def test_node_is_free_after_a_deletion_that_nothing_waited_for(self) -> None:
        """A deletion continues after its Deferred is cancelled, and then the node is free."""
        first = self.created(self.one, b"1")
        deleting = first.delete()
        deleting.cancel()
        self.failure(deleting, CancelledError)
        second = self.node(self.one, b"2")
        self.assertIs(self.result(second.create()), second)

    def test_not_ours_any_more(self) -> None:
        """Data are not written into a node that another client owns now."""
        first, second = self.created(self.one, b"1"), self.node(self.two, b"2")
        waiting = self.creating(second)
        change = self.bystander.transaction()
        change.delete(PATH)
        change.create(PATH, b"theirs")
        committing = change.commit()
        for _ in range(20):
            self.network.run_due()
            self.network.cables[-1].deliver()  # to the bystander only
        self.successResultOf(committing)
        self.assertTrue(first.present)
        self.assertIsNone(self.result(first.set(b"3")))
        self.assertEqual(self.stored(), (b"theirs", 0))
        self.assertNoResult(waiting)

    def test_cancelled_behind_another_one(self) -> None:
        """A cancelled creation leaves the other client's node alone, and no watch."""
        self.created(self.one, b"1")
        waiting = self.creating(self.node(self.two))
        waiting.cancel()
        self.failure(waiting, CancelledError)
        self.assertEqual(self.stored(), (b"1", self.session(self.one)))
        self.assertEqual(self.two.statistics().watches, 0)

    def test_may_not_be_written(self) -> None:
        """Data that the ACL refuses are an error, and are stored in the next session."""
        self.result(self.bystander.ensure_path("/agents"))
        node = self.created(self.one, b"1", acl=READ_ACL_UNSAFE)
        self.failure(node.set(b"2"), NoAuthError)
        self.assertEqual(self.stored(), (b"1", self.session(self.one)))
        self.expire(self.one)
        self.assertEqual(self.stored(), (b"2", self.session(self.one)))

    def test_it_ends_with_its_client(self) -> None:
        """The end with the client is logged at level info."""
        node = self.created(self.one)
        with capturedLogs() as events:
            self.result(self.one.close())
        self.assertFalse(node.present)
        levels = {one["log_level"] for one in events if one.get("where") == PATH}
        self.assertEqual(levels, {LogLevel.info})
        (text,) = [eventAsText(one) for one in events if one.get("where") == PATH]
        self.assertEqual(text.count(PATH), 1)
        self.assertIsNone(self.result(node.delete()))
        self.failure(self.node(self.one).create(), ClientClosedError)
        last = self.connected(new_session=False)
        creating = self.creating(self.node(last))
        self.result(creating)
        waiting = self.creating(self.node(self.two))
        self.assertTrue(self.server.expire(self.session(last)))
        self.network.advance(1)
        self.assertTrue(waiting.called)
        self.failure(self.node(last).create(), SessionExpiredError)


class BrokenConnectionTests(SynchronousTestCase):
    """A connection, cut at every step."""

    def lives(self, world: World) -> None:
        """Wait for another client's node, create, change and delete the node."""
        other, client = world.clients
        first = PersistentEphemeralNode(other, PATH, b"1", reactor=world.network)
        node = PersistentEphemeralNode(client, PATH, b"2", reactor=world.network)
        world.result(first.create())
        creating = node.create()
        world.wait()
        self.assertFalse(creating.called)
        world.result(first.delete())
        self.assertIs(world.result(creating), node)
        world.result(node.set(b"3"))
        found = world.server.node(PATH)
        assert found is not None
        self.assertEqual((found.data, found.stat.ephemeral_owner), (b"3", world.session(1)))
        world.result(node.delete())
        self.assertEqual(world.children("/agents"), [])

    def test_survives_cuts_at_every_step(self) -> None:
        """Cut before, in and after each frame, in both directions: all of it happens."""
        at_every_step(self, 2, self.lives)

    def anew(self, world: World) -> None:
        """Create and cancel three times, then create."""
        client = world.clients[0]
        node = PersistentEphemeralNode(client, PATH, b"1", reactor=world.network)
        with capturedLogs() as events:
            for _ in range(3):
                cancelled = node.create()
                world.network.settle()
                if cancelled.called:
                    self.successResultOf(cancelled)
                    node.delete()
                else:
                    cancelled.cancel()
                    cancelled.addErrback(lambda failure: failure.trap(CancelledError))
            creating = node.create()
            world.wait()
            self.assertIs(self.successResultOf(creating), node)
            self.assertTrue(node.present)
        self.assertEqual([one for one in events if "lost the lease" in str(one["log_format"])], [])
        world.result(node.delete())

    def test_cancelled_creations_do_not_disturb_the_next(self) -> None:
        """A cancelled creation does not disturb the next one, at any step."""
        at_every_step(self, 1, self.anew)
