"""zkfollow with real proxies and a real Prometheus: a provider goes, and no request is lost."""

from __future__ import annotations

import json
import shutil
from functools import partial
from unittest import skipUnless
from urllib.parse import quote

from twisted.trial.unittest import SynchronousTestCase

from tests.functional.processes import fetch, wait_for
from tests.functional.proxies import (
    PROXIES,
    envoy_binary,
    replace_providers,
    site_with,
    traefik_binary,
)

#: Milliseconds; a proxy on a busy machine needs some time to be reloaded.
DRAIN_WAIT = 6000


class ProxyTests(SynchronousTestCase):
    """A provider is replaced while clients send requests through a proxy."""

    def check(self, name: str) -> None:
        """No request is lost, and the provider gets none when its drain wait is over."""
        with site_with(self.mktemp(), 2, DRAIN_WAIT) as (site, providers):
            outcome = replace_providers(site, PROXIES[name](site), providers, 1)
        self.assertEqual(outcome.failures, ())
        self.assertGreater(outcome.requests, 10)
        self.assertLess(outcome.seconds[0], DRAIN_WAIT / 1000)

    @skipUnless(shutil.which("nginx"), "there is no nginx")
    def test_nginx_loses_no_request(self) -> None:
        """nginx is reloaded after each change of its file."""
        self.check("nginx")

    @skipUnless(shutil.which("haproxy"), "there is no HAProxy")
    def test_haproxy_loses_no_request_in_a_reload(self) -> None:
        """HAProxy is reloaded after each change of its file."""
        self.check("haproxy")

    @skipUnless(shutil.which("haproxy"), "there is no HAProxy")
    def test_haproxy_loses_no_request_without_reloads(self) -> None:
        """HAProxy gets updates through its socket."""
        self.check("haproxy-runtime")

    @skipUnless(envoy_binary(), "there is no Envoy")
    def test_envoy_loses_no_request(self) -> None:
        """Envoy sees the new file by itself."""
        self.check("envoy")

    @skipUnless(traefik_binary(), "there is no Traefik")
    def test_traefik_loses_no_request(self) -> None:
        """Traefik sees the new file by itself."""
        self.check("traefik")


class PrometheusTests(SynchronousTestCase):
    """Prometheus reads the file."""

    @skipUnless(shutil.which("prometheus"), "there is no Prometheus")
    def test_prometheus_scrapes_what_is_registered(self) -> None:
        """A provider is a target that is up; one that has ended is not a target."""
        with site_with(self.mktemp(), 0) as (site, _):
            first, second = site.provider("--metrics"), site.provider("--metrics")
            site.example("prometheus.yml")
            targets = site.folder / "web.json"
            site.follow("--to", f"prometheus:{targets}")
            wait_for(
                "the file", lambda: targets.exists() and len(json.loads(targets.read_text())) == 2
            )
            up = partial(targets_up, site.prometheus())

            wait_for("both are up", lambda: up() == 2, pause=0.2)
            first.end()
            wait_for("one is up", lambda: up() == 1, pause=0.2)
            second.end()

    @skipUnless(shutil.which("prometheus"), "there is no Prometheus")
    def test_prometheus_asks_a_zkserve_for_all_of_them(self) -> None:
        """``http_sd_configs`` works with the view of any zkserve, worker processes or not."""
        with site_with(self.mktemp(), 0) as (site, _):
            site.provider("--metrics")
            asked = site.provider("--metrics", "--discover", "--processes", "2")
            address = asked.wait_for_log(r"Serving on (\S+)").group(1)
            config = site.example("prometheus.yml")
            text = config.read_text().replace("file_sd_configs", "http_sd_configs")
            url = f"url: http://{address}/-/discover/prometheus"
            config.write_text(text.replace("files: [web.json]", url))
            up = partial(targets_up, site.prometheus())
            wait_for("both are up", lambda: up() == 2, pause=0.2)


def targets_up(address: str) -> int:
    """How many targets a Prometheus has that are up."""
    query = "/api/v1/query?query=" + quote('up{job="zkfollow",service="web"} == 1')
    try:
        return len(json.loads(fetch(address, query)[1])["data"]["result"])
    except (OSError, ValueError):
        return 0
