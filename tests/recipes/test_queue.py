"""Tests for `zkservice.recipes.queue` and `reliable`."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.client.base import ignore_close
from tests.recipes.base import RecipeTestCase, nodes_left
from tests.recipes.world import World, at_every_step, outcome
from zkservice.errors import (
    ClientClosedError,
    ConnectionLossError,
    LeaseLostError,
    SessionExpiredError,
)
from zkservice.recipes import Queue, QueueItem, ReliableQueue, SerializedQueue
from zkservice.recipes.retrying import LEAVE_TIMEOUT
from zkservice.wire.acl import READ_ACL_UNSAFE

PATH = "/jobs/queue"


class QueueTestCase(RecipeTestCase):
    """Two clients and a queue."""

    kind: Any = Queue

    @override
    def setUp(self) -> None:
        super().setUp()
        self.one, self.two = self.connected(), self.connected()
        self.queue, self.other = self.of(self.one), self.of(self.two)

    def of(self, client: Any, **options: Any) -> Any:
        """A client's object for the queue."""
        return self.kind(client, PATH, reactor=self.network, **options)

    def put(self, *items: bytes) -> None:
        """Put items into the queue."""
        for item in items:
            self.result(self.queue.put(item))

    def getting(self, queue: Any) -> Deferred[Any]:
        """A call of `get`, in progress as far as possible without another event."""
        getting: Deferred[Any] = queue.get()
        self.addCleanup(ignore_close, getting)
        self.network.settle()
        return getting


class QueueTests(QueueTestCase):
    """A queue with two clients."""

    def test_items_come_out_in_order(self) -> None:
        """Items come in order, whichever consumer takes them."""
        self.put(b"1", b"2", b"3")
        self.assertEqual(self.children(PATH)[0], "entry-100-0000000000")
        self.assertEqual(self.result(self.queue.qsize()), 3)
        taken = [self.result(queue.get()) for queue in (self.queue, self.other, self.queue)]
        self.assertEqual(taken, [b"1", b"2", b"3"])
        self.assertEqual(self.result(self.other.qsize()), 0)

    def test_put_with_a_lost_reply(self) -> None:
        """An item that was taken before the producer reconnects is not put again."""
        self.put(b"0")
        self.assertEqual(self.result(self.other.get()), b"0")
        waiting = self.getting(self.other)
        self.lose_reply(self.one)
        putting = self.queue.put(b"1")
        self.network.settle()
        self.assertEqual(self.successResultOf(waiting), b"1")
        self.network.advance(3)
        self.assertEqual(self.successResultOf(putting), f"{PATH}/entry-100-")
        self.assertEqual((self.children(PATH), self.children(f"{PATH}-producers")), ([], []))

    def test_put_in_doubt_without_marks(self) -> None:
        """Without permission for marks, a put with a lost reply fails."""
        self.result(self.bystander.ensure_path(PATH))
        parent = PATH.rpartition("/")[0]
        self.result(self.bystander.set_acl(parent, READ_ACL_UNSAFE))
        self.put(b"1")
        self.lose_reply(self.one)
        putting = self.queue.put(b"2")
        self.network.settle()
        self.network.advance(3)
        self.failureResultOf(putting, ConnectionLossError)
        self.assertEqual(self.result(self.other.qsize()), 2)

    def test_lower_priority_comes_first(self) -> None:
        """A lower number is taken out earlier."""
        self.put(b"later")
        self.result(self.other.put(b"now", 5))
        self.assertEqual(self.result(self.queue.get()), b"now")

    def test_another_item_of_the_same_name(self) -> None:
        """A repeated deletion leaves a new item with the same name alone."""
        self.put(b"1")
        delete = self.one.delete

        def lose_reply(path: str) -> Deferred[None]:
            self.patch(self.one, "delete", delete)
            self.lose_reply(self.one)
            return delete(path)

        self.patch(self.one, "delete", lose_reply)
        getting = self.queue.get()
        self.network.settle()
        self.assertNoResult(getting)
        self.assertEqual(self.children(PATH), [])
        self.deleting(PATH)
        self.result(self.other.put(b"2"))
        self.network.advance(3)
        self.assertEqual(self.successResultOf(getting), b"1")
        self.assertEqual(self.result(self.other.get()), b"2")

    def test_invalid_items_and_priorities_are_refused(self) -> None:
        """Items are bytes, priorities are from 0 to 999."""
        self.failureResultOf(self.queue.put("text"), ValueError)
        self.failureResultOf(self.queue.put(b"", 1000), ValueError)

    def test_get_waits_for_an_item(self) -> None:
        """Several calls of one object are served in order."""
        first, second, third = [self.getting(q) for q in (self.queue, self.queue, self.other)]
        self.assertNoResult(first)
        self.put(b"1")
        got = [one for one in (first, third) if one.called]
        self.assertEqual(self.successResultOf(*got), b"1")
        self.assertNoResult(second)
        self.put(b"2", b"3")
        self.assertTrue(all(one.called for one in (first, second, third)))

    def test_empty_item_is_an_item(self) -> None:
        """An item may have no bytes."""
        self.put(b"")
        self.assertEqual(self.result(self.queue.get()), b"")

    def test_size_of_nothing(self) -> None:
        """A queue that was never used has no items."""
        self.assertEqual(self.result(self.queue.qsize()), 0)

    def test_a_cancelled_get_takes_nothing(self) -> None:
        """A cancelled get takes nothing, and leaves no watch."""
        getting = self.getting(self.queue)
        getting.cancel()
        self.failure(getting, CancelledError)
        self.put(b"1")
        self.assertEqual(self.one.statistics().watches, 0)
        self.assertEqual(self.result(self.other.get()), b"1")

    def test_cancelled_at_any_moment(self) -> None:
        """However far it has come, an item of a cancelled get is in the queue, or was returned."""
        for rounds in range(12):
            self.put(b"1")
            results = outcome(getting := self.queue.get())
            for _ in range(rounds):
                self.network.step()
            getting.cancel()
            self.network.settle()
            if results == [b"1"]:
                self.assertEqual(self.children(PATH), [], rounds)
            else:
                self.assertEqual(self.result(self.other.get()), b"1", rounds)

    def test_ephemeral_items_go_with_the_session(self) -> None:
        """An ephemeral item is deleted with the session of its producer."""
        self.result(self.of(self.one, ephemeral=True).put(b"1"))
        self.assertEqual(self.result(self.other.qsize()), 1)
        self.expire(self.one)
        self.assertEqual(self.result(self.other.qsize()), 0)

    def test_a_get_survives_an_expired_session(self) -> None:
        """A get waits through the end of a session."""
        getting = self.getting(self.other)
        self.expire(self.two)
        self.put(b"1")
        self.assertEqual(self.result(getting), b"1")

    def test_closing_the_client_ends_a_get(self) -> None:
        """It fails with the client's error."""
        getting = self.getting(self.queue)
        self.result(self.one.close())
        self.failure(getting, ClientClosedError)


class ReliableQueueTests(QueueTestCase):
    """An item stays in the queue until the work on it is done."""

    kind = ReliableQueue

    def item(self, queue: Any) -> QueueItem:
        """The next item."""
        item: QueueItem = self.result(queue.get())
        return item

    def test_two_consumers_get_different_items(self) -> None:
        """Deleted items are gone with their reservations."""
        self.put(b"1", b"2")
        first, second = self.item(self.queue), self.item(self.other)
        self.assertEqual((first.data, second.data), (b"1", b"2"))
        self.assertEqual(first.path, f"{PATH}/entry-100-0000000000")
        self.assertIn("entry-100-0000000000-processing", self.children(PATH))
        self.assertEqual(self.result(self.queue.qsize()), 2)
        self.result(first.delete())
        self.result(second.delete())
        self.assertEqual(self.children(PATH), [])
        self.assertEqual(self.one.statistics().watches, 0)

    def test_at_the_same_time(self) -> None:
        """Consumers that ask at the same time get different items."""
        self.put(b"1", b"2", b"3")
        queues = (self.queue, self.of(self.one), self.other)
        getting = [outcome(queue.get()) for queue in queues]
        self.network.settle()
        self.assertEqual(sorted(item.data for (item,) in getting), [b"1", b"2", b"3"])
        self.assertTrue(all(item.lease.held for (item,) in getting))

    def test_item_of_an_expired_session_comes_back(self) -> None:
        """A waiting consumer gets the item of a consumer whose session has expired."""
        self.put(b"1")
        item = self.item(self.queue)
        waiting = self.getting(self.other)
        self.assertNoResult(waiting)
        lost = item.lease.lost
        self.expire(self.one)
        self.assertIsInstance(self.successResultOf(lost), SessionExpiredError)
        self.assertEqual(self.result(waiting).data, b"1")
        self.failure(item.delete(), LeaseLostError)
        self.assertEqual(self.result(self.queue.qsize()), 1)

    def test_released_item_is_first_again(self) -> None:
        """It keeps its place in the queue."""
        self.put(b"1", b"2")
        self.result(self.item(self.queue).release())
        self.assertEqual(self.item(self.other).data, b"1")

    def test_release_with_a_lost_reply(self) -> None:
        """The reservation of the next consumer stays when a release is repeated."""
        self.put(b"1")
        item = self.item(self.queue)
        waiting = self.getting(self.other)
        self.lose_reply(self.one)
        releasing = item.release()
        self.network.settle()
        taken = self.successResultOf(waiting)
        self.assertNoResult(releasing)
        self.network.advance(3)
        self.assertIsNone(self.successResultOf(releasing))
        self.assertTrue(taken.lease.held)
        self.assertIn(taken.lease.path.rpartition("/")[2], self.children(PATH))
        self.result(taken.delete())

    def test_cancelled_with_a_lost_reply(self) -> None:
        """The same if the connection breaks while a cancelled get releases its item."""
        self.put(b"1")
        for position in range(1, 240, 8):
            one = self.connected()
            getting = self.of(one).get()
            while not any(name.endswith("-processing") for name in self.children(PATH)):
                self.network.run_due()
                self.cable.deliver()
            self.assertFalse(getting.called)
            self.cable.server_may_send = len(self.cable.client.received) + position
            getting.cancel()
            self.network.settle()
            waiting = self.getting(self.other)
            self.network.advance(3)
            self.failureResultOf(getting, CancelledError)
            taken = self.successResultOf(waiting)
            self.assertTrue(taken.lease.held, position)
            self.assertIn(taken.lease.path.rpartition("/")[2], self.children(PATH), position)
            self.result(taken.release())

    def delete_in_doubt(self, item: Any) -> Deferred[None]:
        """Delete an item; the request is lost, and then the item's reservation is."""
        cable = self.network.cables[0]
        cable.client_may_send = len(cable.server.received) + 10
        deleting: Deferred[None] = item.delete()
        self.network.settle()
        self.deleting(item.lease.path)
        return deleting

    def test_deletion_in_doubt(self) -> None:
        """A deletion fails if the reservation was deleted before, and the item is left."""
        self.put(b"1")
        item = self.item(self.queue)
        deleting = self.delete_in_doubt(item)
        self.network.advance(3)
        self.failureResultOf(deleting, LeaseLostError)
        self.assertEqual(self.result(self.queue.qsize()), 1)

    def test_repeated_deletion_leaves_the_next_consumers_item(self) -> None:
        """A transaction is not repeated if another consumer has reserved the item meanwhile."""
        self.put(b"1")
        item = self.item(self.queue)
        deleting = self.delete_in_doubt(item)
        taken = self.item(self.other)
        self.assertEqual(taken.lease.path, item.lease.path)
        self.network.advance(3)
        self.failureResultOf(deleting, LeaseLostError)
        self.assertTrue(taken.lease.held)
        self.assertIsNone(self.result(taken.delete()))
        self.assertEqual(self.children(PATH), [])

    def test_cancelled_get_fails_when_its_reservation_is_gone(self) -> None:
        """With a connection, the item is free when the call fails."""
        self.put(b"1")
        getting = self.queue.get()
        for _ in range(20):
            if len(self.children(PATH)) == 2:  # the item and its reservation
                break
            self.network.run_due()
            self.network.cables[0].deliver()
        self.assertFalse(getting.called)
        left = nodes_left(self, getting, PATH)
        getting.cancel()
        self.network.settle()
        self.assertEqual(left, [1])

    def test_deleted_under_us(self) -> None:
        """A reservation that another client deletes is lost, even before the event arrives."""
        self.put(b"1")
        item = self.item(self.queue)
        self.server.drop(self.session(self.one))
        self.network.run_due()
        self.deleting(item.path + "-processing")
        deleting = item.delete()
        self.network.advance(2)
        self.failureResultOf(deleting, LeaseLostError)
        self.assertEqual(self.children(PATH), ["entry-100-0000000000"])

    def test_deleted_by_others(self) -> None:
        """Deleting an item that another client has deleted fails."""
        self.put(b"1")
        item = self.item(self.queue)
        self.deleting(item.path)
        self.failure(item.delete(), LeaseLostError)

    def test_cancelled_at_any_moment(self) -> None:
        """However far it has come, the item of a cancelled get is free, or was returned."""
        for rounds in range(12):
            self.put(b"1")
            results = outcome(getting := self.queue.get())
            for _ in range(rounds):
                self.network.step()
            getting.cancel()
            self.network.settle()
            item = results[0]
            if not isinstance(item, QueueItem):
                item = self.item(self.other)
            self.result(item.delete())
            self.assertEqual(self.children(PATH), [], rounds)


class HerdTests(RecipeTestCase):
    """Many consumers of one queue."""

    def test_one_is_woken(self) -> None:
        """An item that is put in wakes one of 30 consumers, in the order in which they came."""
        for kind in (Queue, ReliableQueue):
            path = f"/jobs/{kind.__name__}"
            clients = [self.connected() for _ in range(30)]
            getting: list[Deferred[Any]] = []
            for client in clients:
                getting.append(kind(client, path, reactor=self.network).get())
                self.addCleanup(ignore_close, getting[-1])
                self.network.settle()
            before = [client.statistics() for client in clients]
            self.result(kind(self.bystander, path, reactor=self.network).put(b"1"))
            after = [client.statistics() for client in clients]
            self.assertEqual([one.called for one in getting], [True] + [False] * 29)
            events = sum(one.events for one in after) - sum(one.events for one in before)
            requests = sum(one.requests for one in after) - sum(one.requests for one in before)
            self.assertLessEqual(events, 5)  # the item, its reservation and the next one's turn
            self.assertLessEqual(requests, 20)
            self.result(self.bystander.create(f"{path}/entry-100-", b"2", sequence=True))
            self.network.settle()
            self.assertEqual([one.called for one in getting], [True] * 2 + [False] * 28)

    def test_no_consumer_queue_allowed(self) -> None:
        """Without permission for a queue of consumers, a consumer waits for items directly."""
        self.result(self.bystander.ensure_path(PATH))
        parent = PATH.rpartition("/")[0]
        self.result(self.bystander.set_acl(parent, READ_ACL_UNSAFE))
        one = self.connected()
        for kind in (Queue, ReliableQueue):
            getting: Deferred[Any] = kind(one, PATH, reactor=self.network).get()
            self.network.settle()
            self.assertNoResult(getting)
            self.result(kind(self.bystander, PATH, reactor=self.network).put(b"1"))
            self.network.settle()
            self.successResultOf(getting)

    def test_cancelled_get_fails_when_its_place_is_free(self) -> None:
        """A cancelled get has left the queue of consumers when the call fails."""
        queue = Queue(self.bystander, PATH, reactor=self.network)
        getting = queue.get()
        self.network.settle()
        left = nodes_left(self, getting, f"{PATH}-consumers")
        getting.cancel()
        self.network.settle()
        self.assertEqual(left, [0])

    def test_cancelled_get_without_a_connection_fails_in_time(self) -> None:
        """A cancelled get waits for its node, but not until there is a connection again."""
        getting = Queue(self.bystander, PATH, reactor=self.network).get()
        self.network.settle()
        self.server.refuse = True
        self.drop(self.bystander)
        getting.cancel()
        self.assertNoResult(getting)
        self.network.advance(LEAVE_TIMEOUT)
        self.failureResultOf(getting, CancelledError)
        self.server.refuse = False
        self.network.advance(5)
        self.assertEqual(self.children(f"{PATH}-consumers"), [])

    def test_cancelled_in_the_consumer_queue(self) -> None:
        """Cancelled consumers, and those with an expired session, do not block the others."""
        clients = [self.connected() for _ in range(4)]
        getting = []
        for client in clients:
            getting.append(Queue(client, PATH, reactor=self.network).get())
            self.network.settle()
        getting[0].cancel()
        self.failure(getting[0], CancelledError)
        self.expire(clients[1])
        self.result(Queue(self.bystander, PATH, reactor=self.network).put(b"1"))
        self.assertEqual(self.successResultOf(getting[2]), b"1")
        for one in (getting[1], getting[3]):
            self.assertNoResult(one)
            one.cancel()
            self.failure(one, CancelledError)
        self.assertEqual(self.children(f"{PATH}-consumers"), [])


class SerializedQueueTests(QueueTestCase):
    """One at a time, strictly in order."""

    kind = SerializedQueue

    def test_one_at_a_time(self) -> None:
        """No consumer gets the second item before the first is done."""
        self.put(b"1", b"2", b"3")
        first = self.successResultOf(self.getting(self.queue))
        second, third = self.getting(self.other), self.getting(self.queue)
        self.assertEqual(first.data, b"1")
        self.assertNoResult(second)
        self.result(first.delete())
        item = self.successResultOf(second)
        self.assertEqual(item.data, b"2")
        self.assertNoResult(third)
        self.result(item.release())
        again = self.result(third)
        self.assertEqual(again.data, b"2")
        self.result(again.delete())
        self.assertEqual(self.children(PATH), ["_lock", "entry-100-0000000002"])
        self.assertEqual(self.children(f"{PATH}/_lock"), [])

    def test_an_item_outlives_its_consumers_session(self) -> None:
        """When the session of the consumer ends, the next one gets the same item."""
        self.put(b"1")
        first = self.successResultOf(self.getting(self.queue))
        second = self.getting(self.other)
        self.expire(self.one)
        self.assertEqual(self.result(second).data, b"1")
        self.failure(first.delete(), LeaseLostError)

    def test_lock_deleted_while_waiting(self) -> None:
        """A consumer that loses the lock while it waits for an item queues again."""
        waiting = self.getting(self.queue)
        (name,) = self.children(f"{PATH}/_lock")
        self.deleting(f"{PATH}/_lock/{name}")
        self.result(self.other.put(b"1"))
        self.assertTrue(self.result(waiting).lease.held)

    def test_cancelled_get_fails_when_its_lock_is_free(self) -> None:
        """A cancelled get has released the lock when the call fails."""
        waiting = self.getting(self.queue)
        left = nodes_left(self, waiting, f"{PATH}/_lock")
        waiting.cancel()
        self.network.settle()
        self.assertEqual(left, [0])
        self.put(b"1")
        self.assertEqual(self.result(self.other.get()).data, b"1")


class BrokenConnectionTests(SynchronousTestCase):
    """A consumer's connection, cut at every step."""

    def consumes(self, world: World) -> None:
        """A waiting consumer gets two items: none is lost, none comes twice."""
        other, client = world.clients
        queue = Queue(client, PATH, reactor=world.network)
        taken = outcome(queue.get())
        taken_later = outcome(queue.get())
        world.wait()
        producer = Queue(other, PATH, reactor=world.network)
        for item in (b"1", b"2"):
            world.result(producer.put(item))
        self.assertEqual((taken, taken_later), ([b"1"], [b"2"]))
        self.assertEqual(world.children(PATH), [])

    def works(self, kind: Any, world: World) -> None:
        """A waiting consumer gets two items and deletes each."""
        other, client = world.clients
        queue = kind(client, PATH, reactor=world.network)
        taken = outcome(queue.get())
        world.wait()
        producer = kind(other, PATH, reactor=world.network)
        for item in (b"1", b"2"):
            world.result(producer.put(item))
        self.assertEqual(taken[0].data, b"1")
        world.result(taken[0].delete())
        item = world.result(queue.get())
        self.assertEqual(item.data, b"2")
        world.result(item.delete())
        self.assertEqual([name for name in world.children(PATH) if name != "_lock"], [])

    def produces(self, world: World) -> None:
        """Put two in: both are there once, and nothing else."""
        (client,) = world.clients
        queue = Queue(client, PATH, reactor=world.network)
        putting = [queue.put(item) for item in (b"1", b"2")]
        world.wait()
        paths = [self.successResultOf(one) for one in putting]
        names = world.children(PATH)
        self.assertEqual([f"{PATH}/{name}" for name in names], sorted(paths))
        self.assertEqual(world.children(f"{PATH}-producers"), [])
        for path, item in zip(paths, (b"1", b"2"), strict=True):
            self.assertEqual(world.server.tree()[path], item)

    def test_queue_survives_cuts_at_every_step(self) -> None:
        """A queue with a single consumer returns each item once."""
        at_every_step(self, 2, self.consumes)

    def test_reliable_queue_survives_cuts_at_every_step(self) -> None:
        """It returns each item until it is deleted."""
        at_every_step(self, 2, lambda world: self.works(ReliableQueue, world))

    def test_works_in_order(self) -> None:
        """A serialized queue does so, too."""
        at_every_step(self, 2, lambda world: self.works(SerializedQueue, world))

    def test_put_survives_cuts_at_every_step(self) -> None:
        """A put adds an item once, and returns its path."""
        at_every_step(self, 1, self.produces)
