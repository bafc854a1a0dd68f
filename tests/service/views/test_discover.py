"""Tests for `zkservice.service.views.discover`: services as other programs read them, over HTTP."""

from __future__ import annotations

import json
from typing import Any

from typing_extensions import override

from tests.discovery.test_resolver import ResolverTestCase
from zkservice.service.config import DiscoverSettings
from zkservice.service.views import discover as module
from zkservice.service.views.discover import DiscoverViews, discover_paths
from zkservice.web import DeferredView


class DiscoverViewTests(ResolverTestCase):
    """The views of discovered services, which clients may see them, and their bounds."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.result(self.admin.ensure_path("/svc/web"))
        self.result(self.admin.ensure_path("/other/deep/db"))
        self.views = self.make()
        self.views.follow(self.finder)

    def make(self, *below: str) -> DiscoverViews:
        """The views of a service at /svc/web."""
        views = DiscoverViews("/svc/web", DiscoverSettings(True, below), self.network)
        self.addCleanup(self.stop, views)
        return views

    def stop(self, views: DiscoverViews) -> None:
        """The process ends, and its client with it."""
        for source, _ in views._sources.values():
            source.stop()

    def ask(
        self,
        query: str = "",
        name: str = "json",
        views: DiscoverViews | None = None,
        wait: float = 0,
    ) -> tuple[str, str, str]:
        """The status, the content type and the body."""
        view: Any = (views or self.views).views()[f"/-/discover/{name}"]
        assert isinstance(view, DeferredView)
        asked = view.ask({"QUERY_STRING": query})
        if wait:
            self.network.advance(wait)
        shown: list[Any] = []
        body = b"".join(self.result(asked)({}, lambda *words: shown.extend(words)))
        status, headers = shown
        return status, dict(headers)["Content-Type"], body.decode()

    def test_own_service_is_the_default(self) -> None:
        """The first request waits until the service was read; later ones show changes."""
        self.put("a:80", under="/svc/web")
        self.assertEqual(self.ask(name="nginx")[::2], ("200 OK", "server a:80;\n"))
        self.put("b:80", under="/svc/web")
        self.assertIn("server b:80;", self.ask("path=/svc/web", "nginx")[2])

    def test_prometheus_needs_json_and_200(self) -> None:
        """An empty service is an empty list, as http_sd_configs have it."""
        self.assertEqual(self.ask(name="prometheus"), ("200 OK", "application/json", "[]\n"))

    def test_every_format_has_a_view(self) -> None:
        """Each view shows the service; without --discover there are no views."""
        self.put("10.0.0.1:80", under="/svc/web")
        self.assertEqual(sorted(self.views.views()), sorted(discover_paths()))
        for path in discover_paths():
            self.assertIn("10.0.0.1", self.ask(name=path.rpartition("/")[2])[2])
        off = DiscoverViews("/svc/web", DiscoverSettings(), self.network)
        self.assertEqual(off.views(), {})

    def test_only_what_may_be_seen_is_shown(self) -> None:
        """That is the services beside the own one, and what an option names."""
        self.assertEqual(self.ask("path=/svc/db")[0], "404 Not Found")
        for path in ("/svc", "/", "/svc/web/x", "/other/deep/db"):
            self.assertEqual(self.ask(f"path={path}")[0], "403 Forbidden", path)
        views = self.make("/other")
        views.follow(self.finder)
        self.assertEqual(
            json.loads(self.ask("path=/other/deep/db", views=views)[2])[0]["service"], "db"
        )
        self.assertEqual(self.ask("path=/otherwise", views=views)[0], "403 Forbidden")

    def test_invalid_paths(self) -> None:
        """An invalid path is refused with the reason."""
        for query in ("path=svc", "path=/svc/../x", "path=/a%00", "&".join(["a=1"] * 20)):
            self.assertEqual(self.ask(query)[0], "400 Bad Request", query)

    def test_nothing_is_known_yet(self) -> None:
        """Before ZooKeeper has answered it is 503, with the reason, after a short wait."""
        self.assertEqual(
            self.ask(views=self.make())[::2], ("503 Service Unavailable", "starting\n")
        )
        views = self.make()
        views.follow(self.connecting("10.0.0.9:2181"))
        status, _, body = self.ask(views=views, wait=module.FIRST_READ_TIMEOUT)
        self.assertEqual(status, "503 Service Unavailable")
        self.assertIn("was not read yet", body)

    def test_number_of_services_is_bounded(self) -> None:
        """The least recently requested service makes room for a new one."""
        self.patch(module, "MAX_FOLLOWED", 2)
        for number in range(2):
            self.ask(f"path=/svc/s{number}")
        self.assertEqual(self.ask("path=/svc/more")[0], "503 Service Unavailable")
        self.network.advance(module.IDLE / 2)
        self.ask("path=/svc/s1")
        self.network.advance(module.IDLE / 2 + 1)
        self.assertEqual(self.ask("path=/svc/more")[0], "404 Not Found")
        self.assertEqual(self.ask("path=/svc/s0")[0], "503 Service Unavailable")
