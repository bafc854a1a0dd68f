"""The dashboard and the alert rules of ``examples``, in the programs that read them."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from unittest import skipUnless
from urllib.parse import quote

from twisted.trial.unittest import SynchronousTestCase

from tests.functional.processes import TIMEOUT, TimedOutError, fetch, wait_for
from tests.functional.proxies import site_with

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
RULES: Final = "prometheus-alerts.yml"
DASHBOARD: Final = "grafana-dashboard.json"
PROMETHEUS: Final = """\
global: {scrape_interval: 500ms, evaluation_interval: 500ms}
rule_files: [prometheus-alerts.yml]
scrape_configs:
- job_name: zkserve
  metrics_path: /-/metrics
  static_configs: [{targets: ["%s"]}]
"""
APPLICATION: Final = """\
def application(environ, start_response):
    if environ["PATH_INFO"] == "/broken":
        raise ValueError("on purpose")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""
#: What Grafana puts in place of a dashboard's variables.
VARIABLES: Final = {"$job": "zkserve", "$instance": ".*", "$__rate_interval": "5s"}
#: Keys that only older releases of Grafana read.
OLDER: Final = {"definition"}


def dashboard() -> dict[str, Any]:
    """The dashboard as it is imported."""
    loaded: dict[str, Any] = json.loads((EXAMPLES / DASHBOARD).read_text(encoding="utf-8"))
    return loaded


def expressions() -> Iterator[str]:
    """The queries of all panels, as Grafana sends them."""
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            text = target["expr"]
            for name, value in VARIABLES.items():
                text = text.replace(name, value)
            yield text


def lost(given: Any, read: Any, path: str = "") -> Iterator[str]:
    """What a reader has left out, or changed."""
    if isinstance(given, dict):
        for key in given.keys() - OLDER:
            if key not in read:
                yield f"{path}/{key}"
            else:
                yield from lost(given[key], read[key], f"{path}/{key}")
    elif isinstance(given, list) and len(given) == len(read):
        for number, (one, other) in enumerate(zip(given, read)):  # noqa: B905 - as long
            yield from lost(one, other, f"{path}/{number}")
    elif given != read:
        yield path


class GrafanaTests(SynchronousTestCase):
    """Grafana's own model of a dashboard."""

    @skipUnless(find_spec("grafana_foundation_sdk"), "there is no grafana-foundation-sdk")
    def test_grafana_understands_each_field(self) -> None:
        """Nothing is lost when its model reads the dashboard and writes it again."""
        from grafana_foundation_sdk.cog.encoder import JSONEncoder
        from grafana_foundation_sdk.cog.plugins import register_default_plugins
        from grafana_foundation_sdk.models.dashboard import Dashboard

        register_default_plugins()
        given = dashboard()
        read = json.loads(JSONEncoder().encode(Dashboard.from_json(given)))
        self.assertEqual(list(lost(given, read)), [])
        self.assertEqual(list(lost({"panels": [{"typo": 1}]}, read)), ["/panels"])

    def test_panels_have_places_of_their_own(self) -> None:
        """No panel hides another one, and no id is used twice."""
        panels = dashboard()["panels"]
        fields = [
            (x, y)
            for at in (panel["gridPos"] for panel in panels)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        ]
        self.assertEqual(len(set(fields)), len(fields))
        self.assertLess(max(x for x, _ in fields), 24)
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))


@skipUnless(shutil.which("prometheus"), "there is no Prometheus")
@skipUnless(find_spec("prometheus_client"), "there is no prometheus-client")
class PrometheusTests(SynchronousTestCase):
    """A real Prometheus that scrapes a real service."""

    def test_alerts_fire_when_they_should(self) -> None:
        """The rules' own tests, run by promtool."""
        done = subprocess.run(
            ["promtool", "test", "rules", "prometheus-alerts-test.yml"],
            cwd=EXAMPLES,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_each_panel_and_rule_has_figures(self) -> None:
        """Of a service that has answered, failed and refused requests."""
        with site_with(self.mktemp(), 0) as (site, _):
            (site.folder / "app.wsgi").write_text(APPLICATION)
            service = site.provider("--metrics", "--processes", "2", "--limit", "target-bytes=100")
            address = service.wait_for_log(r"Serving on (\S+)").group(1)
            (site.folder / "prometheus.yml").write_text(PROMETHEUS % address)
            shutil.copy(EXAMPLES / RULES, site.folder)
            prometheus = site.prometheus()

            missing = list(expressions())

            def complete() -> bool:
                for path in ("/", "/broken", "/" + "x" * 200):
                    fetch(address, path)
                missing[:] = [text for text in missing if not result(prometheus, text)]
                return not missing

            wait_for("Prometheus answers", lambda: ask(prometheus, "query?query=up"), pause=0.2)
            with contextlib.suppress(TimedOutError):
                wait_for("each panel has figures", complete, pause=0.5)
            self.assertEqual(missing, [])
            groups = wait_for("the rules are evaluated", lambda: evaluated(prometheus), pause=0.2)
            self.assertEqual({rule["health"] for rule in groups}, {"ok"})


def ask(prometheus: str, path: str) -> Any:
    """The data of a reply; None if there is none."""
    try:
        status, body = fetch(prometheus, f"/api/v1/{path}")
    except OSError:
        return None
    reply = json.loads(body) if status in (200, 400) else {}
    if reply.get("status") == "error":
        raise AssertionError(f"{path}: {reply['error']}")
    return reply.get("data")


def result(prometheus: str, text: str) -> Any:
    """The samples of a query; a quantile of nothing is a sample, too: NaN."""
    data = ask(prometheus, f"query?query={quote(text)}")
    return data["result"] if data else []


def evaluated(prometheus: str) -> list[dict[str, Any]]:
    """All rules, when each has been evaluated."""
    data = ask(prometheus, "rules")
    rules = [rule for group in data["groups"] for rule in group["rules"]] if data else []
    return [] if any(rule["health"] == "unknown" for rule in rules) else rules
