"""Tests for watches: what fires them, and what happens to them after faults."""

from __future__ import annotations

import gc
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from tests.client.base import ClientTestCase, ignore_close
from zkservice.client import ZooKeeperClient
from zkservice.errors import (
    ClientClosedError,
    NoNodeError,
    OperationTimeoutError,
    SessionExpiredError,
)
from zkservice.wire.frames import Framer
from zkservice.wire.session import State
from zkservice.wire.watches import (
    SET_WATCHES_MAX_LENGTH,
    EventType,
    KeeperState,
    WatchEvent,
)


class OneShotTests(ClientTestCase):
    """A one-shot watch fires once, with its event."""

    def event(self, watch: Deferred[WatchEvent], type: EventType, path: str) -> None:
        """Assert that a watch has fired with this event."""
        self.assertEqual(self.result(watch), (type, KeeperState.SYNC_CONNECTED, path))

    def test_a_data_watch_fires_on_a_change(self) -> None:
        """A data watch fires when the node changes."""
        client = self.connected()
        self.result(client.create("/a", b"1"))
        value, watch = client.get_and_watch("/a")
        self.assertEqual(self.result(value)[0], b"1")
        self.assertNoResult(watch)
        self.result(client.set("/a", b"2"))
        self.event(watch, EventType.DATA_CHANGED, "/a")
        self.assertEqual(client.statistics().watches, 0)

    def test_an_exists_watch_fires_on_creation_and_deletion(self) -> None:
        """A watch on a missing node fires when it is created, one on a node when it is deleted."""
        client = self.connected()
        missing, created = client.exists_and_watch("/a")
        self.assertIsNone(self.result(missing))
        self.result(client.create("/a"))
        self.event(created, EventType.CREATED, "/a")
        there, deleted = client.exists_and_watch("/a")
        self.assertIsNotNone(self.result(there))
        self.result(client.delete("/a"))
        self.event(deleted, EventType.DELETED, "/a")

    def test_a_child_watch_fires_on_children_and_deletion(self) -> None:
        """A child watch fires when a child is created, and when the node itself is deleted."""
        client = self.connected()
        self.result(client.create("/a"))
        names, first = client.get_children_and_watch("/a")
        self.assertEqual(self.result(names), [])
        self.result(client.create("/a/b", ephemeral=True))
        self.event(first, EventType.CHILDREN_CHANGED, "/a")
        self.result(client.delete("/a/b"))
        _, second = client.get_children_and_watch("/a")
        self.network.settle()
        self.result(client.delete("/a"))
        self.event(second, EventType.DELETED, "/a")

    def test_event_comes_before_the_reply(self) -> None:
        """A client that changes a node that it watches gets the event before the reply."""
        client = self.connected()
        self.result(client.create("/a"))
        _, watch = client.get_and_watch("/a")
        order: list[str] = []
        watch.addCallback(lambda _: order.append("event"))
        self.result(client.set("/a", b"").addCallback(lambda _: order.append("reply")))
        self.assertEqual(order, ["event", "reply"])

    def test_each_watcher_fires_once(self) -> None:
        """All watches on a node fire, each of them once."""
        client = self.connected()
        self.result(client.create("/a"))
        watches = [client.get_and_watch("/a")[1] for _ in range(3)]
        watches.append(client.exists_and_watch("/a")[1])
        self.network.settle()
        self.result(client.set("/a", b""))
        for watch in watches:
            self.event(watch, EventType.DATA_CHANGED, "/a")

    def test_no_watch_without_value(self) -> None:
        """If the read fails, there is no watch."""
        client = self.connected()
        value, watch = client.get_and_watch("/a")
        self.failure(value, NoNodeError)
        self.result(client.create("/a"))
        self.assertNoResult(watch)
        self.assertEqual(client.statistics().watches, 0)

    def test_a_cancelled_watch_is_forgotten(self) -> None:
        """A cancelled watch is removed, and its event is dropped."""
        client = self.connected()
        self.result(client.create("/a"))
        value, watch = client.get_and_watch("/a")
        self.result(value)
        watch.cancel()
        self.failure(watch, CancelledError)
        self.assertEqual(client.statistics().watches, 0)
        self.result(client.set("/a", b""))

    def test_cancelled_before_the_reply(self) -> None:
        """A watch that is cancelled before the reply is never kept; its value still arrives."""
        client = self.connected()
        self.result(client.create("/a", b"1"))
        value, watch = client.get_and_watch("/a")
        watch.cancel()
        self.failure(watch, CancelledError)
        self.assertEqual(self.result(value)[0], b"1")
        self.assertEqual(client.statistics().watches, 0)
        self.assertFalse(self.result(client.check_watches("/a")))

    def test_a_cancelled_read_leaves_no_watch(self) -> None:
        """Without the value there is no watch, neither here nor on the server."""
        client = self.connected()
        self.result(client.create("/a"))
        for path, ask in (
            ("/a", client.get_and_watch),
            ("/a", client.get_children_and_watch),
            ("/missing", client.exists_and_watch),
        ):
            pair: tuple[Deferred[Any], Deferred[WatchEvent]] = ask(path)
            value, watch = pair
            self.network.run_due()
            value.cancel()
            self.failure(value, CancelledError)
            self.assertFalse(self.result(client.check_watches(path)))
            self.assertEqual(client.statistics().watches, 0)
            self.assertNoResult(watch)

    def test_a_watch_without_a_value_never_fires_and_logs_nothing(self) -> None:
        """If the read times out, its watch never fires, and nothing is logged."""

        async def wait_for_a_change() -> None:
            value, watch = client.get_and_watch("/a", timeout=0.5)
            await value
            await watch

        client = self.connected()
        self.result(client.create("/a"))
        self.server.pause()
        waiting = Deferred.fromCoroutine(wait_for_a_change())
        self.network.advance(0.6)
        self.failure(waiting, OperationTimeoutError)
        self.server.resume()
        self.network.settle()
        self.result(client.close())
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_calls_from_a_watch(self) -> None:
        """A watch's callback may call any method, also watch again."""
        client = self.connected()
        self.result(client.create("/n", b"0"))
        seen: list[bytes] = []

        async def follow() -> None:
            while len(seen) < 4:
                value, watch = client.get_and_watch("/n")
                data, _ = await value
                seen.append(data)
                await watch

        following = Deferred.fromCoroutine(follow())
        for number in b"1234":
            self.result(client.set("/n", bytes([number])))
        self.result(following)
        self.assertEqual(seen, [b"0", b"1", b"2", b"3"])


class RemovalTests(ClientTestCase):
    """Watches that are removed from the server."""

    def test_a_cancelled_removal_still_removes(self) -> None:
        """The watcher gets the removal event, although the removal was cancelled."""
        client = self.connected()
        events: list[WatchEvent] = []
        self.result(client.add_watch("/a", events.append))
        removing = client.remove_watches("/a")
        self.network.run_due()
        removing.cancel()
        self.failure(removing, CancelledError)
        self.assertEqual([one.type for one in events], [EventType.PERSISTENT_WATCH_REMOVED])
        self.assertEqual((client.statistics().watches, self.server.statistics().watches), (0, 0))

    def test_a_watcher_may_cancel_the_removal(self) -> None:
        """A watcher that gets the removal event may cancel the removal."""
        client = self.connected()
        removing: list[Deferred[None]] = []
        self.result(client.add_watch("/a", lambda event: removing[0].cancel()))
        removing.append(client.remove_watches("/a"))
        self.failure(removing[0], CancelledError)
        self.assertIsNone(self.result(client.exists("/a")))
        self.assertEqual(client.statistics().connections, 1)


class SurvivingTests(ClientTestCase):
    """Watches after the connection or the session was lost."""

    def watching(self) -> tuple[ZooKeeperClient, list[Deferred[WatchEvent]]]:
        """A client with a watch of each kind, on ``/data``, ``/missing`` and ``/parent``."""
        client = self.connected()
        for path in ("/data", "/parent"):
            self.result(client.create(path))
        watches = [
            client.get_and_watch("/data")[1],
            client.exists_and_watch("/missing")[1],
            client.get_children_and_watch("/parent")[1],
        ]
        self.network.settle()
        return client, watches

    def types(self, watches: list[Deferred[WatchEvent]]) -> list[EventType]:
        """The types of their events."""
        return [self.result(watch).type for watch in watches]

    def test_watches_are_set_again_after_a_reconnect(self) -> None:
        """After a reconnect the watches are set again."""
        client, watches = self.watching()
        self.cable.cut()
        self.network.advance(1)
        for watch in watches:
            self.assertNoResult(watch)
        self.result(client.set("/data", b""))
        self.result(client.create("/missing"))
        self.result(client.create("/parent/child"))
        self.assertEqual(
            self.types(watches),
            [EventType.DATA_CHANGED, EventType.CREATED, EventType.CHILDREN_CHANGED],
        )

    def test_what_happened_meanwhile(self) -> None:
        """A change that happened while there was no connection is not missed."""
        client, watches = self.watching()
        other = self.connected()
        self.network.cables[0].cut()
        self.result(other.set("/data", b""))
        self.result(other.create("/missing"))
        self.result(other.create("/parent/child"))
        self.network.advance(1)
        self.assertEqual(
            self.types(watches),
            [EventType.DATA_CHANGED, EventType.CREATED, EventType.CHILDREN_CHANGED],
        )
        self.assertEqual(client.statistics().watches, 0)

    def test_events_come_after_the_state(self) -> None:
        """Subscribers get CONNECTED before the watches fire."""
        client, watches = self.watching()
        other = self.connected()
        order: list[object] = []
        client.subscribe(order.append)
        watches[0].addCallback(lambda event: order.append(event.type))
        self.network.cables[0].cut()
        self.result(other.set("/data", b""))
        self.network.advance(1)
        self.assertEqual(order, [State.SUSPENDED, State.CONNECTED, EventType.DATA_CHANGED])
        ignore_close(*watches)

    def test_lost_again_while_they_are_set(self) -> None:
        """A change is not missed if the connection breaks just after its event."""
        client, watches = self.watching()
        other = self.connected()
        self.network.cables[0].cut()
        self.result(other.set("/data", b""))
        # The new connection breaks after the handshake's reply and the event, just before the reply
        # to SetWatches.
        event_and_handshake = 41 + 4 + 16 + 8 + 4 + len("/data")
        cables = len(self.network.cables)

        def break_the_first(cable: object) -> None:
            if len(self.network.cables) == cables + 1:
                cable.server_may_send = event_and_handshake  # type: ignore[attr-defined]

        self.network.on_connect = break_the_first
        self.network.advance(2)
        self.assertGreater(len(self.network.cables), cables + 1)
        self.assertEqual(self.result(watches[0]).type, EventType.DATA_CHANGED)
        self.assertIs(client.state, State.CONNECTED)
        ignore_close(*watches)

    def test_many_in_portions(self) -> None:
        """More paths than fit into one request are set again in several requests."""
        client = self.connected()
        count = 3000
        name = "n" * 100
        watches = [client.exists_and_watch(f"/{name}{number}")[1] for number in range(count)]
        self.network.settle()
        self.cable.cut()
        self.network.advance(1)
        again = [frame for frame in self.requests() if frame[4:8] == b"\0\0\0\x65"]
        self.assertEqual(len(again), 3)
        self.assertLess(max(map(len, again)), SET_WATCHES_MAX_LENGTH + 100)
        self.assertEqual(client.statistics().watches, count)
        self.result(client.create(f"/{name}{count - 1}"))
        self.assertEqual(self.result(watches[-1]).type, EventType.CREATED)
        ignore_close(*watches[:-1])

    def requests(self) -> list[bytes]:
        """The requests on the newest connection."""
        return list(Framer(0xFFFFF).feed(bytes(self.cable.server.received)))

    def test_watches_fail_when_the_session_expires(self) -> None:
        """An expired session's watches fail, and the new session has none of them."""
        client, watches = self.watching()
        assert client.client_id is not None
        self.server.expire(client.client_id[0])
        self.network.advance(1)
        for watch, path in zip(watches, ("/data", "/missing", "/parent"), strict=True):
            self.assertEqual(self.failure(watch, SessionExpiredError).path, path)
        self.assertIs(client.state, State.CONNECTED)
        self.assertEqual(client.statistics().watches, 0)

    def test_watches_of_a_closed_client_fail(self) -> None:
        """A closed client's watches fail."""
        client, watches = self.watching()
        self.result(client.close())
        for watch in watches:
            self.failure(watch, ClientClosedError)


class PersistentTests(ClientTestCase):
    """Persistent watches, beyond the contract tests."""

    def test_what_cannot_be_called_is_refused(self) -> None:
        """A callback that is not callable is refused, and no watch is set."""
        client = self.connected()
        for callback in (None, "text"):
            with self.assertRaises(TypeError) as caught:
                client.add_watch("/a", callback)  # type: ignore[arg-type]
            self.assertIn(f"must be callable, not {callback!r}", str(caught.exception))
        self.assertEqual(client.statistics().watches, 0)

    def test_cancelled_before_it_is_set(self) -> None:
        """A watch whose handle was never returned is removed from the server."""
        client = self.connected()
        events: list[WatchEvent] = []
        adding = client.add_watch("/a", events.append)
        self.network.run_due()
        adding.cancel()
        self.failure(adding, CancelledError)
        self.result(client.create("/a"))
        self.assertEqual(events, [])
        self.assertEqual((client.statistics().watches, self.server.statistics().watches), (0, 0))

    def test_a_broken_callback_receives_the_next_event(self) -> None:
        """An exception in a callback is logged; the next event calls it again."""
        client = self.connected()
        events: list[WatchEvent] = []

        def broken(event: WatchEvent) -> None:
            events.append(event)
            raise ZeroDivisionError

        self.result(client.add_watch("/a", broken))
        self.result(client.create("/a"))
        self.result(client.delete("/a"))
        self.assertEqual([event.type for event in events], [EventType.CREATED, EventType.DELETED])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.result(client.close())
        self.assertEqual(events[-1], (EventType.NONE, KeeperState.CLOSED, "/a"))
        self.flushLoggedErrors(ZeroDivisionError)

    def test_the_last_handle_removes_the_watch(self) -> None:
        """The server keeps the watch until the last handle is cancelled."""
        client = self.connected()
        events: list[str] = []
        first = self.result(client.add_watch("/a", lambda event: events.append("first")))
        second = self.result(client.add_watch("/a", lambda event: events.append("second")))
        self.result(client.create("/a"))
        self.result(first.cancel())
        self.result(client.set("/a", b""))
        self.result(second.cancel())
        self.result(client.delete("/a"))
        self.assertEqual(events, ["first", "second", "second"])
        self.assertEqual(self.server.statistics().watches, 0)

    def test_cancelled_while_suspended(self) -> None:
        """A watch that is cancelled without a connection is not set again."""
        client = self.connected()
        handle = self.result(client.add_watch("/a", lambda event: None, recursive=True))
        self.cable.cut()
        self.result(handle.cancel())
        self.network.advance(1)
        self.assertIs(client.state, State.CONNECTED)
        self.assertEqual(self.server.statistics().watches, 0)

    def test_one_of_two_kinds(self) -> None:
        """Cancelling one watch of a node leaves the others on the server."""
        client = self.connected()
        events: list[WatchEvent] = []
        handle = self.result(client.add_watch("/a", events.append))
        value, watch = client.exists_and_watch("/a")
        self.result(value)
        self.result(handle.cancel())
        self.result(client.create("/a"))
        self.assertEqual(self.result(watch).type, EventType.CREATED)
        self.assertEqual(events, [])
