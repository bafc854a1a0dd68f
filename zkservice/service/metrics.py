"""Figures for Prometheus: what the front end, its threads and the registration are doing.

What happens to requests is counted as they end; all else is asked for when somebody looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
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
from zkservice.web import FrontEndStatistics, Visit, WorkersStatistics

__all__ = ["Metrics"]

#: Others are counted together: a client could make up any number of them.
_METHODS: Final = frozenset(
    ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "PROPFIND"]
)
_OTHER: Final = "other"
#: Seconds: of an application, from one that only computes to one that is about to be given up.
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """What is told, and the view that tells it.

    Args:
        status: answers the state of everything, as `ServeService.status` does.
    """

    def __init__(self, status: Callable[[], Mapping[str, Any]]) -> None:
        registry = CollectorRegistry()
        self._responses = Counter(
            "zkserve_http_responses",
            "Responses, those to clients that broke a rule or came too many among them.",
            ["method", "status"],
            registry=registry,
        )
        self._bytes = Counter(
            "zkserve_http_response_bytes", "Bytes of response bodies.", registry=registry
        )
        self._waiting = Histogram(
            "zkserve_http_wait_seconds",
            "How long requests waited for a thread.",
            registry=registry,
            buckets=_BUCKETS,
        )
        self._application = Histogram(
            "zkserve_http_application_seconds",
            "How long the application, or a view, took.",
            registry=registry,
            buckets=_BUCKETS,
        )
        registry.register(_Present(status))
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        #: A WSGI application that answers in the format that is asked for.
        self.view = make_wsgi_app(registry)

    def write(self, visit: Visit) -> None:
        """Count a request that has ended (reactor thread)."""
        method = visit.request.partition(" ")[0]
        method = method if method in _METHODS else _OTHER
        self._responses.labels(method, str(visit.status)).inc()
        self._bytes.inc(visit.body_bytes)
        if visit.request:
            self._waiting.observe(visit.waited)
            self._application.observe(visit.application)


class _Present(Collector):
    """What is so at the moment at which somebody looks."""

    def __init__(self, status: Callable[[], Mapping[str, Any]]) -> None:
        self._status = status

    @override
    def collect(self) -> Iterator[Metric]:
        status = self._status()
        yield _gauge(
            "zkserve_registered",
            "Whether the address is registered.",
            status.get("registration") == "registered",
        )
        yield _gauge(
            "zkserve_zookeeper_connected",
            "Whether there is a connection to ZooKeeper.",
            status.get("session") == "connected",
        )
        if "http" in status:
            yield from _http(status["http"])
        yield from _threads(status["workers"])
        if "client" in status:
            yield from _client(status["client"])


def _http(http: FrontEndStatistics) -> Iterator[Metric]:
    for name, words in {
        "connections": "Open connections.",
        "in_service": "Requests that wait for the application or run in it.",
        "draining": "Whether the process is about to end.",
    }.items():
        yield _gauge(f"zkserve_http_{name}", words, getattr(http, name))
    for name, words in {
        "accepted": "Connections that were accepted.",
        "requests": "Requests that were complete and valid.",
        "aborted": "Responses that were cut off: the client left, or the application failed.",
        "refused": "Clients that broke a rule or a limit.",
        "shed": "Requests and connections that got 503, as there were too many.",
        "overrun": "Requests that ran too long.",
        "viewed": "Requests that a view answered.",
    }.items():
        yield CounterMetricFamily(f"zkserve_http_{name}", words, value=getattr(http, name))


def _threads(workers: WorkersStatistics) -> Iterator[Metric]:
    for name, words in {
        "threads": "Threads that take requests.",
        "busy": "Threads that run the application.",
        "queued": "Requests that wait for a thread.",
        "stuck": "Threads that were replaced and are still in the application.",
    }.items():
        yield _gauge(f"zkserve_workers_{name}", words, getattr(workers, name))


def _client(client: Statistics) -> Iterator[Metric]:
    for name, words in {
        "requests": "Requests to ZooKeeper.",
        "events": "Events of watches.",
        "connections": "Connections that a ZooKeeper server has accepted.",
        "expiries": "Sessions that have ended without our will.",
    }.items():
        yield CounterMetricFamily(f"zkserve_zookeeper_{name}", words, value=getattr(client, name))
    errors = CounterMetricFamily(
        "zkserve_zookeeper_errors", "Errors that ZooKeeper answered.", labels=["code"]
    )
    for code, count in sorted(client.errors.items()):
        errors.add_metric([str(code)], count)
    yield errors
    latency = HistogramMetricFamily(
        "zkserve_zookeeper_latency_seconds", "How long ZooKeeper took to answer."
    )
    latency.add_metric([], list(_cumulated(client.latency)), sum_value=None)
    yield latency


def _cumulated(cells: Iterable[int]) -> Iterator[tuple[str, float]]:
    total = 0
    for bound, count in zip((*map(str, LATENCY_BOUNDS), "+Inf"), cells, strict=True):
        total += count
        yield bound, total


def _gauge(name: str, words: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, words, value=float(value))
