"""Tests for `zkservice.service.views.admin_site`, and for which views are shown at which port."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.web.support import Client, FrontEnd, hello, split
from zkservice.service.config import AdminViews
from zkservice.service.config import FrontEnd as Settings
from zkservice.service.views.admin_site import admin_factory
from zkservice.service.views.built_in import (
    show,
    view_paths,
    views_at_ports,
    views_from_parent,
)
from zkservice.web import DeferredView, TextView, View

VIEWS: Mapping[str, View] = {
    "/-/health": TextView(lambda _: "ok\n\nrequests: 7\n"),
    "/-/ready": TextView(lambda _: "ready\n"),
    "/-/threads": TextView(lambda _: "stacks"),
    "/-/metrics": TextView(lambda _: "figures"),
    "/-/": TextView(lambda _: "page"),
    "/-/events": TextView(lambda _: "events"),
}


class AdminPortTests(SynchronousTestCase):
    """A port that only the views have."""

    def seen(self, peer: str, **settings: Any) -> dict[str, str]:
        """What there is for an address."""
        clock = Clock()
        factory = admin_factory(AdminViews(**settings), VIEWS, clock)
        found = {}
        for path in (*VIEWS, "/other"):
            client = Client(factory)
            transport: Any = client.transport
            transport.peerAddr = IPv4Address("TCP", peer, 1)
            client.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            clock.advance(0)
            line, _, body = split(client.received())
            found[path] = f"{line.split()[1].decode()} {body.decode().splitlines()[0]}"
            client.leave()
        self.assertEqual(clock.getDelayedCalls(), [])
        return found

    def test_this_machine_sees_all(self) -> None:
        """And nothing else is served there: no application."""
        self.assertEqual(
            self.seen("127.0.0.1"),
            {
                "/-/health": "200 ok",
                "/-/ready": "200 ready",
                "/-/threads": "200 stacks",
                "/-/metrics": "200 figures",
                "/-/": "200 page",
                "/-/events": "200 events",
                "/other": "404 there is no such view; the views are",
            },
        )

    def test_nothing_is_kept_or_guessed(self) -> None:
        """By no cache and no browser: an old ``ready`` is wrong, and stacks are for operators."""
        clock = Clock()
        later: View = DeferredView(lambda environ: succeed(TextView(lambda _: "late")))
        views = {**VIEWS, "/-/threads": later}
        factory = admin_factory(AdminViews(), views, clock)
        for path in VIEWS:
            client = Client(factory)
            transport: Any = client.transport
            transport.peerAddr = IPv4Address("TCP", "127.0.0.1", 1)
            client.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            clock.advance(0)
            line, fields, _ = split(client.received())
            self.assertEqual(line.split()[1], b"200")
            self.assertEqual(fields["cache-control"], "no-store", path)
            self.assertEqual(fields["x-content-type-options"], "nosniff", path)
            client.leave()

    def test_others_see_the_probes(self) -> None:
        """Unless a network is allowed."""
        found = self.seen("192.0.2.9")
        self.assertEqual(found["/-/ready"], "200 ready")
        self.assertEqual(found["/-/threads"], "403 403 Forbidden")
        found = self.seen("192.0.2.9", allow=("192.0.2.0/24",))
        self.assertEqual(found["/-/threads"], "200 stacks")


class ApplicationPortTests(SynchronousTestCase):
    """What of the views is at the application's ports."""

    def seen(self, peer: str, **settings: Any) -> dict[str, str]:
        """The first line of each, or ``404`` of the application."""
        front_end = Settings(**settings)
        shown = views_at_ports(front_end, {path: VIEWS[path] for path in view_paths(front_end)})
        server = FrontEnd(hello, views=shown)
        found = {}
        for path in VIEWS:
            client = Client(server.factory)
            transport: Any = client.transport
            transport.peerAddr = IPv4Address("TCP", peer, 1)
            response = client.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            line, _, body = split(response)
            found[path] = f"{line.split()[1].decode()} {body.decode()!r}"
        return found

    def test_nothing_by_default(self) -> None:
        """The application gets every path."""
        for answer in self.seen("127.0.0.1").values():
            self.assertIn("hello", answer)

    def test_strangers_see_probes_without_figures(self) -> None:
        """A load balancer is not on this machine."""
        found = self.seen("192.0.2.9", status_views=True, metrics=True)
        self.assertEqual(found["/-/health"], r"200 'ok\n'")
        self.assertEqual(found["/-/ready"], r"200 'ready\n'")
        for path in ("/-/threads", "/-/metrics", "/-/", "/-/events"):
            self.assertTrue(found[path].startswith("403"), found[path])
        local = self.seen("127.0.0.1", status_views=True, metrics=True)
        self.assertEqual(local["/-/health"], r"200 'ok\n\nrequests: 7\n'")

    def test_with_a_port_of_their_own_only_probes_stay(self) -> None:
        """The application gets the other paths, even from this machine."""
        admin = AdminViews(listen=("tcp:1",))
        found = self.seen("127.0.0.1", status_views=True, metrics=True, admin=admin)
        self.assertTrue(found["/-/ready"].startswith("200 'ready"))
        for path in ("/-/threads", "/-/metrics", "/-/", "/-/events"):
            self.assertIn("hello", found[path])
        self.assertIn("hello", self.seen("127.0.0.1", admin=admin)["/-/ready"])

    def test_a_view_that_the_parent_makes(self) -> None:
        """A worker hides the figures of its parent from strangers, too."""

        def ask(path: str, environ: dict[str, str]) -> Deferred[Any]:
            return succeed(show(VIEWS[path], environ))

        views = views_from_parent(VIEWS, ask, Clock())
        server = FrontEnd(hello, views=views_at_ports(Settings(status_views=True), views))
        response = server.get(b"GET /-/health HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(split(response)[2], b"ok\n")
