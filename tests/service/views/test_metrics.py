"""Tests for `zkservice.service.views.metrics`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from itertools import accumulate, pairwise
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
from zkservice.service.config import FrontEnd
from zkservice.service.state.figures import (
    Figures,
    ListenQueue,
    ProcessSums,
    ServiceState,
    Sums,
    check_figures,
    totals_to_json,
)
from zkservice.service.views.built_in import (
    METRICS,
    LocalViews,
    ServiceViews,
    metrics_view,
    view_paths,
)
from zkservice.service.views.discover import DiscoverViews
from zkservice.service.views.metrics import Metrics
from zkservice.service.views.status_page import StatusPage
from zkservice.web import BOUNDS, Durations, FrontEndStatistics, ResponseTally, WorkersStatistics
from zkservice.web.tally import BATCH

STATE = ServiceState(
    registration="registered",
    registration_since=1000.0,
    session="connected",
    session_since=900.0,
    healthy=False,
    processes=ProcessSums(3, {"serving": 2}, 1 << 20, 1.5),
    listening=(ListenQueue("127.0.0.1:80", 2, 50),),
)


class MetricsTests(SynchronousTestCase):
    """The metrics, read with Prometheus's own parser."""

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

    def test_requests_are_counted_by_method_and_status(self) -> None:
        """Requests are counted by method and status, and their times by how long they were."""
        noted = self.tally.noted
        noted.extend(("GET", 200, 0, 100, 1.0, 1.002, 1.202, ""))
        noted.extend(("GET", 200, 0, 100, 2.0, 2.0, 2.02, ""))
        noted.extend(("POST", 503, 7, 100, 2.0, 2.0, 2.03, ""))
        self.tally.count_sending(3.0)
        samples = self.read()
        for name, value in {
            "responses_total method=GET status=200": 2,
            "responses_total method=POST status=503": 1,
            "request_bytes_total": 7,
            "response_bytes_total": 300,
            "application_seconds_bucket le=0.015625": 0,
            "application_seconds_bucket le=0.03125": 2,
            "application_seconds_bucket le=64.0": 3,
            "application_seconds_count": 3,
            "application_seconds_sum": 0.25,
            "wait_seconds_sum": 0.002,
            "duration_seconds_count": 3,
            "duration_seconds_sum": 0.252,
            "send_seconds_count": 1,
            "send_seconds_sum": 3,
        }.items():
            self.assertAlmostEqual(samples[f"zkserve_http_{name}"], value, msg=name)

    def test_refused_connections_have_no_duration(self) -> None:
        """Who was refused before there was a request is counted, but took no time."""
        self.tally.count_refusal(400)
        samples = self.read()
        self.assertEqual(samples["zkserve_http_refused_total reason=invalid"], 1)
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

    def test_an_application_cannot_make_series(self) -> None:
        """Statuses without a name are counted by their class."""
        for status in range(200, 600):
            self.tally.count("GET", status, 0, 0, None)
        samples = self.read()
        self.assertLess(sum("responses" in name for name in samples), 80)
        self.assertIn("zkserve_http_responses_total method=GET status=404", samples)
        total = sum(value for name, value in samples.items() if "responses_total" in name)
        self.assertEqual(total, 400)

    def test_it_works_before_there_is_a_session(self) -> None:
        """Before there is a front end or a session, it tells of what there is."""
        samples = self.read()
        self.assertEqual(samples["zkserve_workers_busy"], 2)
        self.assertEqual(samples["zkserve_registered"], 0)
        self.assertIn("process_resident_memory_bytes", samples)

    def test_registration_front_end_and_session_are_shown(self) -> None:
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
            client=counters.snapshot(4, 5, 6),
            state=STATE,
        )
        samples = self.read()
        for name, value in {
            "zkserve_registered": 1,
            "zkserve_zookeeper_connected": 1,
            "zkserve_http_connections": 7,
            "zkserve_http_in_service": 3,
            "zkserve_http_draining": 0,
            "zkserve_http_requests_total": 19,
            "zkserve_zookeeper_errors_total code=-101": 1,
            "zkserve_zookeeper_latency_seconds_bucket le=0.0001": 1,
            "zkserve_zookeeper_latency_seconds_bucket le=0.0004": 2,
            "zkserve_zookeeper_latency_seconds_bucket le=+Inf": 3,
            "zkserve_zookeeper_latency_seconds_count": 3,
            "zkserve_zookeeper_latency_seconds_sum": 100.00035,
            "zkserve_zookeeper_outstanding": 4,
            "zkserve_zookeeper_waiting": 5,
            "zkserve_zookeeper_watches": 6,
            "zkserve_registration_state state=registered": 1,
            "zkserve_registration_state state=out": 0,
            "zkserve_registration_state_since_timestamp_seconds": 1000,
            "zkserve_session_state state=connected": 1,
            "zkserve_healthy": 0,
            "zkserve_listen_backlog address=127.0.0.1:80": 2,
            "zkserve_listen_backlog_limit address=127.0.0.1:80": 50,
            "zkserve_processes state=serving": 2,
            "zkserve_processes_wanted": 3,
            "zkserve_processes_cpu_seconds_total": 1.5,
        }.items():
            self.assertEqual(samples[name], value, name)

    def test_openmetrics_is_served_on_request(self) -> None:
        """Who asks for OpenMetrics gets it, and can read it."""
        self.tally.count("GET", 200, 0, 100, None)
        kind, text = self.ask("application/openmetrics-text; version=1.0.0")
        self.assertTrue(kind.startswith("application/openmetrics-text"))
        names = {family.name for family in openmetrics.text_string_to_metric_families(text)}
        self.assertIn("zkserve_http_responses", names)


class ExemplarTests(SynchronousTestCase):
    """Requests that OpenMetrics shows as examples of a bucket."""

    def shown(self, tally: ResponseTally) -> list[tuple[str, str, float, float]]:
        """The bound, the id, the value and the time of each."""
        metrics = Metrics(lambda: Figures(MetricsTests.WORKERS), lambda: tally.totals)
        accept = "application/openmetrics-text; version=1.0.0"
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "", "HTTP_ACCEPT": accept}
        text = b"".join(metrics.view(environ, lambda *_: None)).decode()
        return [
            (sample.labels["le"], each.labels["request_id"], each.value, float(each.timestamp))
            for family in openmetrics.text_string_to_metric_families(text)
            for sample in family.samples
            if (each := sample.exemplar) is not None
        ]

    def test_the_latest_request_of_each_bucket(self) -> None:
        """With its id and its time, also from a worker process."""
        now = iter([100.0, 200.0])
        tally = ResponseTally(lambda: next(now))
        for request_id, seconds in (("a", 0.1), ("b", 0.11), ("c", 3.0), ("d" * 128, 100.0)):
            tally.noted.extend(("GET", 200, 0, 0, 0.0, 0.0, seconds, request_id))
        tally.add_noted()
        tally.noted.extend(("GET", 200, 0, 0, 0.0, 0.0, 0.09, "e"))
        expected = [("0.125", "e", 0.09, 200.0), ("4.0", "c", 3.0, 100.0)]
        self.assertEqual(self.shown(tally), expected)
        told = {"totals": json.loads(json.dumps(totals_to_json(tally.totals)))}
        check_figures(told)
        sums = Mock(totals=Sums().totals([told, told]))
        self.assertEqual(self.shown(sums), expected)

    def test_without_ids_there_are_none(self) -> None:
        """Nobody could find the request."""
        tally = ResponseTally()
        WebFrontEnd(hello, tally=tally).get()
        self.assertEqual(self.shown(tally), [])
        WebFrontEnd(hello, tally=tally, request_ids=True).get()
        self.assertEqual(len(self.shown(tally)), 1)


class ServedTests(SynchronousTestCase):
    """What the front end counts of its responses."""

    def test_responses_are_counted_without_an_access_log(self) -> None:
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
        self.assertEqual([sum(each.cells) for each in totals.durations()], [2, 1, 0, 2, 0])

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

    def test_counting_keeps_nothing(self) -> None:
        """However many there are, none is missing and none is kept."""
        tally = ResponseTally()
        end = WebFrontEnd(hello, tally=tally)
        for number in range(3000):
            end.get()
            self.assertLess(len(tally.noted), BATCH, number)
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

        WebFrontEnd(application, tally=ResponseTally()).get()
        self.assertEqual(seen, [False])

    @given(st.lists(st.floats(0, 1e6)))
    def test_a_duration_is_in_the_first_cell_that_holds_it(self, times: list[float]) -> None:
        """A time is in the first cell whose bound it does not exceed, but for 0.05 %."""
        durations = Durations()
        for at in range(0, len(times), 3):
            durations.add(times[at : at + 3])
        self.assertEqual(sum(durations.cells), len(times))
        for bound, below in zip(BOUNDS, accumulate(durations.cells), strict=False):
            self.assertLessEqual(sum(each <= bound * 0.9995 for each in times), below)
            self.assertGreaterEqual(sum(each <= bound * 1.0005 for each in times), below)

    def test_bounds(self) -> None:
        """They are four to an octave, and powers of two are among them."""
        self.assertEqual(BOUNDS[-5:], (32, 40, 48, 56, 64))
        for before, after in pairwise(BOUNDS[7:]):
            self.assertLessEqual(after / before, 1.25)


@skipIf(which("promtool") is None, "needs promtool (Prometheus)")
class PromtoolTests(SynchronousTestCase):
    """Prometheus's own check of the text."""

    def test_promtool_finds_no_fault(self) -> None:
        """It has nothing to say against any metric that is ours."""
        counters = ClientCounters()
        counters.replied(0.01)
        counters.refused(-101)
        figures = Figures(
            MetricsTests.WORKERS,
            http=FrontEndStatistics(7, 3, False, 20, 19, 16, 0, 1, 0, 0, 2),
            client=counters.snapshot(0, 0, 0),
            state=STATE,
        )
        tally = ResponseTally()
        metrics = Metrics(lambda: figures, lambda: tally.totals)
        tally.noted.extend(("GET", 200, 0, 100, 0.0, 0.0, 0.1, "r"))
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "", "HTTP_ACCEPT": "text/plain"}
        text = b"".join(metrics.view(environ, lambda *_: None))
        found = run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
        self.assertEqual((found.returncode, found.stdout, found.stderr), (0, b"", b""))


class NoMetricsTests(SynchronousTestCase):
    """Without ``--metrics``."""

    def test_the_page_names_the_option(self) -> None:
        """Who finds the other views learns how to have this one."""
        view = metrics_view(FrontEnd(status_views=True), Mock(), Mock())
        told: list[Any] = []
        body = b"".join(view({"REQUEST_METHOD": "GET"}, lambda *words: told.extend(words)))
        self.assertEqual(told[0], "404 Not Found")
        self.assertIn(b"--metrics", body)
        self.assertIn(METRICS, view_paths(FrontEnd(status_views=True)))
        self.assertEqual(view_paths(FrontEnd()), [])


class MissingLibraryTests(SynchronousTestCase):
    """The library is an extra."""

    def test_a_missing_library_is_one_line(self) -> None:
        """Without it one line says what to install."""
        front_end = FrontEnd(metrics=True)
        with (
            patch.dict(sys.modules, {"prometheus_client": None}),
            self.assertRaises(ConfigurationError) as caught,
        ):
            del sys.modules["zkservice.service.views.metrics"]
            discover = DiscoverViews("/svc", front_end.discover, Mock())
            shown = ServiceViews(Mock(), str, StatusPage(Mock(), Mock()), discover)
            LocalViews(front_end, shown, Mock())
        self.assertIn("pip install 'zkservice[metrics]'", str(caught.exception))
