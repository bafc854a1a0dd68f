"""Tests for `zkservice.service.metrics`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import accumulate
from shutil import which
from subprocess import run
from typing import Any, ClassVar
from unittest import skipIf
from unittest.mock import Mock, patch

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from tests.web.support import GET, StartResponse, hello
from tests.web.support import FrontEnd as WebFrontEnd
from zkservice.client.counters import ClientCounters
from zkservice.errors import ConfigurationError
from zkservice.service.built_in_views import LocalViews
from zkservice.service.figures import Figures
from zkservice.service.front_end import FrontEnd
from zkservice.service.metrics import Metrics
from zkservice.web import Durations, FrontEndStatistics, ResponseTally, WorkersStatistics


class MetricsTests(SynchronousTestCase):
    """What is told, read with Prometheus's own parser."""

    WORKERS: ClassVar = WorkersStatistics(threads=4, busy=2, queued=1, completed=9, stuck=0)

    def setUp(self) -> None:
        """The state of a service that has just begun."""
        self.figures = Figures(self.WORKERS)
        self.tally = ResponseTally()
        self.metrics = Metrics(lambda: self.figures, lambda: self.tally.totals)

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
        noted = self.tally.noted
        noted.append(("GET", 200, 0, 100, 1.0, 1.002, 1.202, 1.202))
        noted.append(("GET", 200, 0, 100, 2.0, 2.0, 2.02, 2.021))
        noted.append(("POST", 503, 7, 100, 2.0, 2.0, 2.025, 2.025))
        samples = self.read()
        self.assertEqual(samples["zkserve_http_responses_total method=GET status=200"], 2)
        self.assertEqual(samples["zkserve_http_responses_total method=POST status=503"], 1)
        self.assertEqual(samples["zkserve_http_response_bytes_total"], 300)
        self.assertEqual(samples["zkserve_http_application_seconds_bucket le=0.025"], 2)
        self.assertEqual(samples["zkserve_http_application_seconds_count"], 3)
        self.assertAlmostEqual(samples["zkserve_http_application_seconds_sum"], 0.245)
        self.assertAlmostEqual(samples["zkserve_http_wait_seconds_sum"], 0.002)

    def test_refusals(self) -> None:
        """Who was refused before there was a request is counted, but took no time."""
        self.tally.count_refusal(400)
        samples = self.read()
        self.assertEqual(samples["zkserve_http_responses_total method=other status=400"], 1)
        self.assertEqual(samples["zkserve_http_application_seconds_count"], 0)

    def test_methods_of_others(self) -> None:
        """The methods that few clients use are one series, with those of refused clients."""
        for method in ("LOCK", "MKCOL", "REPORT", "PURGE", "MERGE", "BIND"):
            self.tally.count(method, 200, 0, 0, None)
        self.tally.count_refusal(200)
        samples = self.read()
        self.assertEqual(samples["zkserve_http_responses_total method=other status=200"], 7)
        self.assertLess(sum("responses" in name for name in samples), 5)

    def test_beginning(self) -> None:
        """Before there is a front end or a session, it tells of what there is."""
        samples = self.read()
        self.assertEqual(samples["zkserve_workers_busy"], 2)
        self.assertEqual(samples["zkserve_registered"], 0)
        self.assertIn("process_resident_memory_bytes", samples)

    def test_service(self) -> None:
        """The registration, the front end and the session."""
        counters = ClientCounters()
        for seconds in (0.00005, 0.0003, 100.0):
            counters.replied(seconds)
        counters.refused(-101)
        self.figures = Figures(
            self.WORKERS,
            registered=True,
            connected=True,
            http=FrontEndStatistics(7, 3, False, 20, 19, 16, 0, 1, 0, 0, 2),
            client=counters.snapshot(0, 0, 0),
        )
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
            "zkserve_zookeeper_latency_seconds_count": 3,
            "zkserve_zookeeper_latency_seconds_sum": 100.00035,
        }.items():
            self.assertEqual(samples[name], value, name)

    def test_open_metrics(self) -> None:
        """Who asks for OpenMetrics gets it, and can read it."""
        self.tally.count("GET", 200, 0, 100, None)
        kind, text = self.ask("application/openmetrics-text; version=1.0.0")
        self.assertTrue(kind.startswith("application/openmetrics-text"))
        names = {family.name for family in openmetrics.text_string_to_metric_families(text)}
        self.assertIn("zkserve_http_responses", names)


class ServedTests(SynchronousTestCase):
    """What the front end counts of its responses."""

    def test_counted(self) -> None:
        """Responses, refusals and clients that left are counted, with no access log."""
        tally = ResponseTally()
        end = WebFrontEnd(hello, tally=tally)
        end.get()
        end.get(b"GET / HTTP/3.0\r\n\r\n")
        end.workers.holding = True
        client = end.connect()
        client.send(GET)
        end.clock.advance(2)
        client.leave()
        totals = tally.totals
        self.assertEqual(totals.responses, {("GET", 200): 1, ("", 505): 1, ("GET", 499): 1})
        self.assertEqual((totals.body_bytes, totals.waiting.total), (7, 2.0))
        self.assertEqual([sum(each.cells) for each in totals.durations()], [2, 1, 1, 2, 0])

    def test_views_do_not_hide_the_application(self) -> None:
        """They are counted as responses; their times are not the application's."""
        tally = ResponseTally()
        end = WebFrontEnd(hello, tally=tally, views={"/view": hello})
        end.get(b"GET /view HTTP/1.1\r\nHost: a\r\n\r\n")
        totals = tally.totals
        self.assertEqual(totals.responses, {("GET", 200): 1})
        self.assertEqual([sum(each.cells) for each in totals.durations()], [0] * 5)

    def test_exceptions(self) -> None:
        """They are counted by their types, of which there may be many."""
        tally = ResponseTally()
        kinds = [type(f"Kind{number}Error", (Exception,), {}) for number in range(50)]

        def application(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
            raise kinds[min(49, int(environ["CONTENT_LENGTH"]))]

        end = WebFrontEnd(application, tally=tally)
        for length in [*range(50), 3]:
            end.get(
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length + b"x" * length
            )
        self.assertEqual(len(self.flushLoggedErrors()), 51)
        totals = tally.totals
        self.assertEqual(totals.exceptions["Kind3Error"], 2)
        self.assertEqual((totals.exceptions["other"], len(totals.exceptions)), (18, 33))
        self.assertEqual(totals.request_bytes, sum(range(50)) + 3)
        self.assertEqual(totals.errors, 51)

    def test_many(self) -> None:
        """However many there are, none is missing and none is kept."""
        tally = ResponseTally()
        end = WebFrontEnd(hello, tally=tally)
        for number in range(3000):
            end.get()
            self.assertLess(len(tally.noted), 1024, number)
        totals = tally.totals
        self.assertEqual(totals.responses, {("GET", 200): 3000})
        self.assertEqual(totals.body_bytes, 3000 * 7)
        self.assertEqual(sum(totals.duration.cells), 3000)
        self.assertIs(tally.totals, totals)

    def test_no_request_id(self) -> None:
        """Without an access log the metrics need no id for each request."""
        seen: list[bool] = []

        def application(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
            seen.append("HTTP_X_REQUEST_ID" in environ)
            return hello(environ, start)

        WebFrontEnd(application, tally=ResponseTally([1.0])).get()
        self.assertEqual(seen, [False])

    @given(st.lists(st.floats(0, 100)))
    def test_durations(self, times: list[float]) -> None:
        """A time is in the first cell whose bound it does not exceed, as Prometheus has it."""
        bounds = (0.001, 0.5, 10)
        durations = Durations(bounds)
        for at in range(0, len(times), 3):
            durations.add(times[at : at + 3])
        cumulated = list(accumulate(durations.cells))
        self.assertEqual(
            cumulated, [sum(each <= bound for each in times) for bound in (*bounds, 101)]
        )


@skipIf(which("promtool") is None, "needs promtool (Prometheus)")
class PromtoolTests(SynchronousTestCase):
    """Prometheus's own check of the text."""

    def test_clean(self) -> None:
        """It has nothing to say against any metric that is ours."""
        counters = ClientCounters()
        counters.replied(0.01)
        counters.refused(-101)
        figures = Figures(
            MetricsTests.WORKERS,
            http=FrontEndStatistics(7, 3, False, 20, 19, 16, 0, 1, 0, 0, 2),
            client=counters.snapshot(0, 0, 0),
        )
        tally = ResponseTally()
        metrics = Metrics(lambda: figures, lambda: tally.totals)
        tally.noted.append(("GET", 200, 0, 100, 0.0, 0.0, 0.1, 0.1))
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "", "HTTP_ACCEPT": "text/plain"}
        text = b"".join(metrics.view(environ, lambda *_: None))
        found = run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
        self.assertEqual((found.returncode, found.stdout, found.stderr), (0, b"", b""))


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
            LocalViews(front_end, Mock(), str)
        self.assertIn("pip install 'zkservice[metrics]'", str(caught.exception))
