"""Tests for `zkservice.service.metrics`."""

from __future__ import annotations

import sys
from typing import Any, ClassVar
from unittest.mock import patch

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from zkservice.client.counters import Counters
from zkservice.errors import ConfigurationError
from zkservice.service.front_end import FrontEnd, Logs, make_factory
from zkservice.service.metrics import Metrics
from zkservice.web import FrontEndStatistics, Visit, Workers, WorkersStatistics


def visit(request: str = "GET / HTTP/1.1", status: int = 200, **more: Any) -> Visit:
    """A request that has ended."""
    figures = {"waited": 0.0, "application": 0.0, "sending": 0.0, **more}
    return Visit("192.0.2.1", request, status, 100, "", "", "", **figures)


class MetricsTests(SynchronousTestCase):
    """What is told, read with Prometheus's own parser."""

    WORKERS: ClassVar = WorkersStatistics(threads=4, busy=2, queued=1, completed=9, stuck=0)

    def setUp(self) -> None:
        """The state of a service that has just begun."""
        self.status: dict[str, Any] = {"workers": self.WORKERS}
        self.metrics = Metrics(lambda: self.status)

    def ask(self, accept: str = "text/plain") -> tuple[str, str]:
        """The content type and the text of an answer."""
        told: list[Any] = []
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "", "HTTP_ACCEPT": accept}
        body = self.metrics.view(environ, lambda *words: told.extend(words))
        self.assertEqual(told[0], "200 OK")
        return dict(told[1])["Content-Type"], b"".join(body).decode()

    def read(self) -> dict[str, float]:
        """All samples, by their names and labels."""
        return {
            sample.name + "".join(f" {key}={value}" for key, value in sample.labels.items()): (
                sample.value
            )
            for family in text_string_to_metric_families(self.ask()[1])
            for sample in family.samples
        }

    def test_requests(self) -> None:
        """Requests are counted by method and status, and their times by how long they were."""
        self.metrics.write(visit(waited=0.002, application=0.2))
        self.metrics.write(visit(application=0.02))
        self.metrics.write(visit("POST /x HTTP/1.1", 503, application=0.02))
        samples = self.read()
        self.assertEqual(samples["zkserve_http_responses_total method=GET status=200"], 2)
        self.assertEqual(samples["zkserve_http_responses_total method=POST status=503"], 1)
        self.assertEqual(samples["zkserve_http_response_bytes_total"], 300)
        self.assertEqual(samples["zkserve_http_application_seconds_bucket le=0.025"], 2)
        self.assertEqual(samples["zkserve_http_application_seconds_count"], 3)
        self.assertAlmostEqual(samples["zkserve_http_application_seconds_sum"], 0.24)
        self.assertAlmostEqual(samples["zkserve_http_wait_seconds_sum"], 0.002)

    def test_refusals(self) -> None:
        """Who was refused before there was a request is counted, but took no time."""
        self.metrics.write(visit("", 400))
        samples = self.read()
        self.assertEqual(samples["zkserve_http_responses_total method=other status=400"], 1)
        self.assertEqual(samples["zkserve_http_application_seconds_count"], 0)

    def test_methods_of_others(self) -> None:
        """Methods that clients make up do not fill the memory."""
        for number in range(1000):
            self.metrics.write(visit(f"M{number} / HTTP/1.1"))
        samples = self.read()
        self.assertEqual(samples["zkserve_http_responses_total method=other status=200"], 1000)
        self.assertLess(sum("responses" in name for name in samples), 5)

    def test_beginning(self) -> None:
        """Before there is a front end or a session, it tells of what there is."""
        samples = self.read()
        self.assertEqual(samples["zkserve_workers_busy"], 2)
        self.assertEqual(samples["zkserve_registered"], 0)
        self.assertIn("process_resident_memory_bytes", samples)

    def test_service(self) -> None:
        """The registration, the front end and the session."""
        counters = Counters()
        for seconds in (0.00005, 0.0003, 100.0):
            counters.replied(seconds)
        counters.refused(-101)
        self.status |= {
            "registration": "registered",
            "session": "connected",
            "http": FrontEndStatistics(7, 3, False, 20, 19, 16, 0, 1, 0, 0, 2),
            "client": counters.snapshot(0, 0, 0),
        }
        samples = self.read()
        for name, value in {
            "zkserve_registered": 1,
            "zkserve_zookeeper_connected": 1,
            "zkserve_http_connections": 7,
            "zkserve_http_in_service": 3,
            "zkserve_http_draining": 0,
            "zkserve_http_requests_total": 19,
            "zkserve_http_refused_total": 1,
            "zkserve_zookeeper_errors_total code=-101": 1,
            "zkserve_zookeeper_latency_seconds_bucket le=0.0001": 1,
            "zkserve_zookeeper_latency_seconds_bucket le=0.0004": 2,
            "zkserve_zookeeper_latency_seconds_bucket le=+Inf": 3,
        }.items():
            self.assertEqual(samples[name], value, name)

    def test_open_metrics(self) -> None:
        """Who asks for OpenMetrics gets it, and can read it."""
        self.metrics.write(visit())
        kind, text = self.ask("application/openmetrics-text; version=1.0.0")
        self.assertTrue(kind.startswith("application/openmetrics-text"))
        names = {family.name for family in openmetrics.text_string_to_metric_families(text)}
        self.assertIn("zkserve_http_responses", names)


class MissingLibraryTests(SynchronousTestCase):
    """The library is an extra."""

    def test_missing(self) -> None:
        """Without it one line says what to install."""
        front_end = FrontEnd(metrics=True)
        with (
            patch.dict(sys.modules, {"prometheus_client": None}),
            self.assertRaises(ConfigurationError) as caught,
        ):
            del sys.modules["zkservice.service.metrics"]
            make_factory(front_end, lambda *_: [], Workers(None), Logs(front_end), None, dict, str)
        self.assertIn("pip install 'zkservice[metrics]'", str(caught.exception))
