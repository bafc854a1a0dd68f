"""Figures for Prometheus: what the front end, its threads and the registration are doing.

Responses are counted as they end, in plain numbers (see ``ResponseTally``); everything becomes
metrics only when it is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    make_wsgi_app,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from typing_extensions import override

from zkservice.client import LATENCY_BOUNDS, Statistics
from zkservice.service.figures import Figures
from zkservice.web import (
    Durations,
    FrontEndStatistics,
    ResponseTotals,
    WorkersStatistics,
)

__all__ = ["Metrics"]

#: Others are counted together: there are too many that a client could choose from.
_METHODS: Final = frozenset(
    ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "PROPFIND"]
)
_OTHER: Final = "other"
#: Bounds of the histograms' buckets, in seconds: fewer than are counted, as each is a series.
_SHOWN: Final = frozenset(
    (
        *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
        *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
    )
)


class Metrics:
    """The view that shows what is counted.

    Args:
        figures: returns the state of everything.
        totals: returns what was counted of all responses.
    """

    def __init__(
        self, figures: Callable[[], Figures], totals: Callable[[], ResponseTotals]
    ) -> None:
        registry = CollectorRegistry()
        registry.register(_ResponseCollector(totals))
        registry.register(_StateCollector(figures))
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        #: A WSGI application that answers in the format that is asked for.
        self.view = make_wsgi_app(registry)


class _ResponseCollector(Collector):
    """What was counted since the start."""

    def __init__(self, totals: Callable[[], ResponseTotals]) -> None:
        self._totals = totals

    @override
    def collect(self) -> Iterator[Metric]:
        totals = self._totals()
        yield _responses(totals)
        yield CounterMetricFamily(
            "zkserve_http_response_bytes", "Bytes of response bodies.", value=totals.body_bytes
        )
        yield _durations(
            "zkserve_http_wait_seconds", "How long requests waited for a thread.", totals.waiting
        )
        yield _durations(
            "zkserve_http_application_seconds",
            "How long the application, or a view, took.",
            totals.application,
        )


class _StateCollector(Collector):
    """The state at the moment of the scrape."""

    def __init__(self, figures: Callable[[], Figures]) -> None:
        self._figures = figures

    @override
    def collect(self) -> Iterator[Metric]:
        figures = self._figures()
        yield _gauge("zkserve_registered", "Whether the address is registered.", figures.registered)
        yield _gauge(
            "zkserve_zookeeper_connected",
            "Whether there is a connection to ZooKeeper.",
            figures.connected,
        )
        if figures.http is not None:
            yield from _http(figures.http)
        yield from _threads(figures.workers)
        if figures.client is not None:
            yield from _client(figures.client)


def _responses(totals: ResponseTotals) -> Metric:
    counts: Counter[tuple[str, str]] = Counter()
    for (method, status), count in totals.responses.items():
        counts[method if method in _METHODS else _OTHER, str(status)] += count
    family = CounterMetricFamily(
        "zkserve_http_responses",
        "Responses, those to clients that broke a rule or came too many among them.",
        labels=["method", "status"],
    )
    for labels, count in sorted(counts.items()):
        family.add_metric(labels, count)
    return family


def _http(http: FrontEndStatistics) -> Iterator[Metric]:
    for name, words, value in (
        ("connections", "Open connections.", http.connections),
        ("in_service", "Requests that wait for the application or run in it.", http.in_service),
        ("draining", "Whether the process is about to end.", http.draining),
    ):
        yield _gauge(f"zkserve_http_{name}", words, value)
    for name, words, value in (
        ("accepted", "Connections that were accepted.", http.accepted),
        ("requests", "Requests that were complete and valid.", http.requests),
        (
            "aborted",
            "Responses that were cut off: the client left, or the application failed.",
            http.aborted,
        ),
        ("refused", "Clients that broke a rule or a limit.", http.refused),
        ("shed", "Requests and connections that there was no room for (503, 507).", http.shed),
        ("overrun", "Requests that ran too long.", http.overrun),
        ("viewed", "Requests that a view answered.", http.viewed),
    ):
        yield CounterMetricFamily(f"zkserve_http_{name}", words, value=value)


def _threads(workers: WorkersStatistics) -> Iterator[Metric]:
    for name, words, value in (
        ("threads", "Threads that take requests.", workers.threads),
        ("busy", "Threads that run the application.", workers.busy),
        ("queued", "Requests that wait for a thread.", workers.queued),
        ("stuck", "Threads that were replaced and are still in the application.", workers.stuck),
    ):
        yield _gauge(f"zkserve_workers_{name}", words, value)


def _client(client: Statistics) -> Iterator[Metric]:
    for name, words, value in (
        ("requests", "Requests to ZooKeeper.", client.requests),
        ("events", "Events of watches.", client.events),
        ("connections", "Connections that a ZooKeeper server has accepted.", client.connections),
        ("expiries", "Sessions that have ended without our will.", client.expiries),
    ):
        yield CounterMetricFamily(f"zkserve_zookeeper_{name}", words, value=value)
    errors = CounterMetricFamily(
        "zkserve_zookeeper_errors", "Errors that ZooKeeper answered.", labels=["code"]
    )
    for code, count in sorted(client.errors.items()):
        errors.add_metric([str(code)], count)
    yield errors
    yield _histogram(
        "zkserve_zookeeper_latency_seconds",
        "How long ZooKeeper took to answer.",
        LATENCY_BOUNDS,
        client.latency,
        client.latency_sum,
    )


def _durations(name: str, words: str, durations: Durations) -> Metric:
    """A histogram with those of the bounds that are shown."""
    below = dict(zip(durations.bounds, accumulate(durations.cells), strict=False))
    shown = [bound for bound in durations.bounds if bound in _SHOWN]
    limits = [(str(bound), below[bound]) for bound in shown]
    limits.append(("+Inf", sum(durations.cells)))
    family = HistogramMetricFamily(name, words)
    family.add_metric([], limits, sum_value=durations.total)
    return family


def _histogram(
    name: str, words: str, bounds: Sequence[float], cells: Sequence[int], total: float
) -> Metric:
    family = HistogramMetricFamily(name, words)
    limits = [*map(str, map(float, bounds)), "+Inf"]
    family.add_metric([], list(zip(limits, accumulate(cells), strict=True)), sum_value=total)
    return family


def _gauge(name: str, words: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, words, value=float(value))
