"""Tests of re-entrant calls and clock changes, on a network without sockets."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from tests.client.base import ClientTestCase, ignore_close
from zkservice.client import State, ZooKeeperClient
from zkservice.errors import AddressError, TreeValueError, UnregisteredError
from zkservice.registry import Registration, RegistrationState, register
from zkservice.registry.live_views import Children, live_children
from zkservice.wire.acl import ACL, ANYONE, Permission, digest_acl

NODE = "/svc/h:1"


def cancelled(deferred: Deferred[Any]) -> None:
    """Ignore a cancellation."""
    deferred.addErrback(lambda failure: failure.trap(CancelledError))


class RegistrationTests(ClientTestCase):
    """A registration that is interrupted, by its owner or by the clock."""

    def register(self, client: ZooKeeperClient, **options: Any) -> Registration:
        """A registration without jitter."""
        return register(
            client,
            "/svc",
            "h:1",
            {"color": "blue"},
            clock=self.network,
            random=lambda: 0.5,
            notify=lambda event: None,
            **options,
        )

    def registered(self, client: ZooKeeperClient, **options: Any) -> Registration:
        """A registration that is registered."""
        return self.result(self.register(client, **options).when_registered())

    def check_one_cancels_another(
        self, wait: Callable[[], Deferred[Any]], happens: Callable[[], object]
    ) -> None:
        """The first waiter cancels the second; the third fires nevertheless."""
        first, second, third = wait(), wait(), wait()
        first.addBoth(lambda _: second.cancel())
        cancelled(second)
        outcome: list[object] = []
        third.addBoth(outcome.append)
        happens()
        self.network.advance(1)
        self.assertEqual(len(outcome), 1)

    def test_a_waiter_may_cancel_others_when_registered(self) -> None:
        """A callback of `when_registered` may cancel other waiters."""
        client = self.client()
        registration = self.register(client)
        self.check_one_cancels_another(
            registration.when_registered, lambda: ignore_close(client.connect())
        )

    def test_a_waiter_may_cancel_others_when_unregistered(self) -> None:
        """A callback of `unregister` may cancel other waiters."""
        registration = self.registered(self.connected())
        self.check_one_cancels_another(registration.unregister, self.network.settle)

    def test_a_waiter_may_cancel_others_on_failure(self) -> None:
        """An errback may cancel other waiters."""
        registration = self.register(self.client())
        self.check_one_cancels_another(registration.when_registered, registration.unregister)

    def test_waiting_after_unregister_fails_at_once(self) -> None:
        """A registration that is being removed cannot be waited for."""
        registration = self.registered(self.connected())
        self.cable.cut()
        leaving = registration.unregister()
        self.failure(registration.when_registered(), UnregisteredError)
        self.failure(registration.update(color="red"), UnregisteredError)
        self.network.advance(1)
        self.assertTrue(self.result(leaving))

    def test_a_clock_set_back_delays_nothing(self) -> None:
        """A node that is deleted after the clock was set back is created again at once."""
        client = self.connected()
        registration = self.registered(client)
        self.network.rightNow -= 3600
        self.result(client.delete(NODE))
        self.network.advance(1)
        self.assertIsNotNone(self.result(client.exists(NODE)))
        self.network.rightNow += 3600
        self.result(registration.unregister())

    def test_an_acl_for_other_writers_replaces_the_node(self) -> None:
        """A change is stored although the ACL lets others write, but not this client."""
        client = self.connected()
        acl = (ACL(Permission.READ, ANYONE), digest_acl("admin", "secret"))
        registration = self.registered(client, acl=acl)
        for color in ("red", "green"):
            self.result(registration.update(color=color))
            data, stat = self.result(client.get(NODE))
            self.assertEqual(json.loads(data)["color"], color)
            self.assertEqual(stat.ephemeral_owner, (client.client_id or (0,))[0])
        self.assertIs(registration.state, RegistrationState.REGISTERED)

    def test_properties_are_replaced(self) -> None:
        """`replace_properties` removes other properties; invalid ones change nothing."""
        client = self.connected()
        registration = self.registered(client)
        self.result(registration.update(color="red", size=1))
        self.result(registration.replace_properties({"color": "green"}))
        self.assertEqual(registration.properties, {"color": "green"})
        stored = json.loads(self.result(client.get(NODE))[0])
        self.assertEqual((stored["color"], "size" in stored), ("green", False))
        self.failure(registration.replace_properties({"bad": object()}), TreeValueError)
        self.assertEqual(registration.properties, {"color": "green"})

    def test_no_address_is_refused(self) -> None:
        """An empty list of addresses is an error."""
        with self.assertRaises(AddressError):
            register(self.client(), "/svc", [], clock=self.network)


class FollowerTests(ClientTestCase):
    """A view with faults."""

    def view(self, client: ZooKeeperClient) -> Children:
        """A view of children."""
        self.result(client.ensure_path("/a"))
        view = self.result(live_children(client, "/a", reactor=self.network))
        self.addCleanup(view.stop)
        return view

    def test_views_read_from_a_read_only_server(self) -> None:
        """A read-only server is enough to follow a node."""
        client = self.connected(read_only=True)
        view = self.view(client)
        current = view.when_current()
        self.network.run_due()  # its question is on the way
        self.server.read_only = True
        self.cable.cut()
        self.network.advance(3)
        self.assertIs(client.state, State.READ_ONLY)
        self.result(current)
