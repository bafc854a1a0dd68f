"""Figures for Prometheus: what the front end, its threads and the registration are doing.

Responses are counted as they end, in plain numbers (see ``ResponseTally``), which become metrics
only at a scrape.  Every label has a bounded number of values.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import accumulate
from math import inf
from typing import Any, Final

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
from prometheus_client.samples import Exemplar
from typing_extensions import override

from zkservice.client import LATENCY_BOUNDS, Statistics
from zkservice.registry import RegistrationState
from zkservice.service.process.gil import gil_enabled
from zkservice.service.state.figures import (
    Figures,
    ProcessSums,
    ServiceState,
    responses_by_label,
)
from zkservice.web import (
    BOUNDS,
    Durations,
    FrontEndStatistics,
    RequestExample,
    ResponseTotals,
    WorkersStatistics,
)
from zkservice.wire.session import State

__all__ = ["Metrics"]

#: Bounds of the histograms' buckets, in seconds: fewer than are counted, as each bucket is a time
#: series in Prometheus.
_SHOWN_BOUNDS: Final = frozenset(2.0**power for power in range(-13, 7))
#: Characters of the labels of an exemplar (OpenMetrics 1.0), and the label.
_MAX_EXEMPLAR: Final = 128
_REQUEST_ID: Final = "request_id"
#: Why clients are refused, by the status that they get.
_REASONS: Final = {
    400: "invalid",
    408: "slow",
    411: "no_length",
    413: "body_too_large",
    414: "target_too_long",
    417: "expectation",
    431: "head_too_large",
    501: "not_implemented",
    503: "overload",
    505: "version",
    507: "no_storage",
}


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
        #: A WSGI application that responds in the format that the request accepts.
        self.view = make_wsgi_app(registry)


class _ResponseCollector(Collector):
    """What was counted since the start."""

    def __init__(self, totals: Callable[[], ResponseTotals]) -> None:
        self._totals = totals

    @override
    def collect(self) -> Iterator[Metric]:
        totals = self._totals()
        yield _responses(totals)
        for name, words, value in (
            ("request", "Bytes of the bodies of requests.", totals.request_bytes),
            ("response", "Bytes of the bodies of responses.", totals.body_bytes),
        ):
            yield CounterMetricFamily(f"zkserve_http_{name}_bytes", words, value=value)
        for name, words, durations in (
            ("http_wait", "How long requests waited for a thread.", totals.waiting),
            ("http_application", "How long the application took.", totals.application),
            (
                "http_send",
                "How long slow clients took to receive a response.",
                totals.sending,
            ),
            (
                "http_duration",
                "How long requests took, including the wait for a thread.",
                totals.duration,
            ),
            ("reactor_lag", "How late the reactor made its calls.", totals.lag),
        ):
            examples = totals.examples if durations is totals.duration else None
            yield _durations(f"zkserve_{name}_seconds", words, durations, examples)
        refused: Counter[str] = Counter()
        for status, count in totals.refusals.items():
            refused[_REASONS.get(status, "other")] += count
        yield _counters(
            "zkserve_http_refused",
            "Clients that were refused before their request was complete.",
            "reason",
            sorted(refused.items()),
        )
        yield _counters(
            "zkserve_http_exceptions",
            "Exceptions that the application has raised.",
            "type",
            sorted(totals.exceptions.items()),
        )


class _StateCollector(Collector):
    """The state at the moment of the scrape."""

    def __init__(self, figures: Callable[[], Figures]) -> None:
        self._figures = figures

    @override
    def collect(self) -> Iterator[Metric]:
        figures = self._figures()
        yield _build_info()
        yield _gauge("zkserve_python_gil_enabled", "Whether Python has a GIL.", gil_enabled())
        yield _gauge("zkserve_registered", "Whether the address is registered.", figures.registered)
        yield _gauge(
            "zkserve_zookeeper_connected",
            "Whether there is a connection to ZooKeeper.",
            figures.connected,
        )
        yield from _states(figures.state)
        if figures.http is not None:
            yield from _http(figures.http)
        yield from _threads(figures.workers)
        if figures.state.processes is not None:
            yield from _processes(figures.state.processes)
        if figures.client is not None:
            yield from _client(figures.client)


def _responses(totals: ResponseTotals) -> Metric:
    family = CounterMetricFamily(
        "zkserve_http_responses",
        "Responses, including those to invalid requests and to clients over a limit.",
        labels=["method", "status"],
    )
    for (method, status), count in sorted(responses_by_label(totals).items()):
        family.add_metric([method, str(status)], count)
    return family


def _build_info() -> Metric:
    family = GaugeMetricFamily(
        "zkserve_build_info",
        "The versions that are running; the value is always 1.",
        labels=["version", "twisted", "python"],
    )
    family.add_metric([version("zkservice"), version("twisted"), platform.python_version()], 1)
    return family


def _states(state: ServiceState) -> Iterator[Metric]:
    for name, now, since, known in (
        ("registration", state.registration, state.registration_since, RegistrationState),
        ("session", state.session, state.session_since, State),
    ):
        family = GaugeMetricFamily(
            f"zkserve_{name}_state",
            f"The state of the {name}: 1 for the current state, 0 for others.",
            labels=["state"],
        )
        for each in known:
            family.add_metric([each.name.lower()], float(each.name.lower() == now))
        yield family
        if since is not None:
            words = f"Since when the {name} has been in its state."
            yield _gauge(f"zkserve_{name}_state_since_timestamp_seconds", words, since)
    if state.healthy is not None:
        yield _gauge("zkserve_healthy", "Whether the health checks succeed.", state.healthy)
    for name, words, values in (
        ("backlog", "Connections that wait in the kernel.", [q.waiting for q in state.listening]),
        ("backlog_limit", "How many may wait.", [q.limit for q in state.listening]),
    ):
        family = GaugeMetricFamily(f"zkserve_listen_{name}", words, labels=["address"])
        for queue, value in zip(state.listening, values, strict=True):
            family.add_metric([queue.address], value)
        yield family


def _processes(processes: ProcessSums) -> Iterator[Metric]:
    yield _gauge("zkserve_processes_wanted", "How many workers there should be.", processes.wanted)
    family = GaugeMetricFamily(
        "zkserve_processes", "Worker processes, by their states.", labels=["state"]
    )
    for name, count in sorted(processes.states.items()):
        family.add_metric([name], count)
    yield family
    yield _gauge("zkserve_processes_resident_memory_bytes", "Memory of all workers.", processes.rss)
    yield CounterMetricFamily(
        "zkserve_processes_cpu_seconds",
        "Processor time of all workers, including those that have ended.",
        value=processes.cpu,
    )


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
        ("shed", "Requests and connections that there was no room for (503, 507).", http.shed),
        ("overrun", "Requests that ran too long.", http.overrun),
        ("viewed", "Requests that a view has served.", http.viewed),
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
        ("replies", "Replies of ZooKeeper.", client.replies),
        ("pings", "Pings to ZooKeeper.", client.pings),
        ("events", "Events of watches.", client.events),
        ("connections", "Connections that a ZooKeeper server has accepted.", client.connections),
        ("expiries", "Sessions that ended without close().", client.expiries),
    ):
        yield CounterMetricFamily(f"zkserve_zookeeper_{name}", words, value=value)
    for name, words, value in (
        ("outstanding", "Requests to which ZooKeeper has not replied yet.", client.outstanding),
        ("waiting", "Requests that wait for a connection.", client.waiting),
        ("watches", "Watches that are set.", client.watches),
    ):
        yield _gauge(f"zkserve_zookeeper_{name}", words, value)
    yield _counters(
        "zkserve_zookeeper_errors",
        "Error replies of ZooKeeper.",
        "code",
        [(str(code), count) for code, count in sorted(client.errors.items())],
    )
    yield _histogram(
        "zkserve_zookeeper_latency_seconds",
        "How long ZooKeeper took to reply.",
        LATENCY_BOUNDS,
        client.latency,
        client.latency_sum,
    )


def _durations(
    name: str,
    words: str,
    durations: Durations,
    examples: Mapping[int, RequestExample] | None = None,
) -> Metric:
    """A histogram with those of the bounds that are shown."""
    counts = list(accumulate(durations.cells))  # requests that took at most each bound
    shown = [cell for cell, bound in enumerate(BOUNDS) if bound in _SHOWN_BOUNDS]
    limits = [*(BOUNDS[cell] for cell in shown), inf]
    latest: dict[int, RequestExample] = {}  # by the bucket
    for cell, example in (examples or {}).items():
        bucket = bisect_left(shown, cell)
        if bucket not in latest or latest[bucket].at <= example.at:
            latest[bucket] = example
    buckets: list[Any] = []
    for bucket, (limit, count) in enumerate(
        zip(limits, [*(counts[cell] for cell in shown), counts[-1]], strict=True)
    ):
        exemplar = _exemplar(latest.get(bucket), limit)
        text = "+Inf" if limit == inf else str(limit)
        buckets.append((text, count) if exemplar is None else (text, count, exemplar))
    family = HistogramMetricFamily(name, words)
    family.add_metric([], buckets, sum_value=durations.total)
    return family


def _exemplar(example: RequestExample | None, limit: float) -> Exemplar | None:
    """What OpenMetrics shows of a request; an id that is too long for it is left out."""
    if example is None or len(example.request_id) > _MAX_EXEMPLAR - len(_REQUEST_ID):
        return None
    seconds = min(example.seconds, limit)  # rounded: it may be above its bucket's limit
    return Exemplar({_REQUEST_ID: example.request_id}, seconds, example.at)


def _histogram(
    name: str, words: str, bounds: Sequence[float], cells: Sequence[int], total: float
) -> Metric:
    family = HistogramMetricFamily(name, words)
    limits = [*map(str, map(float, bounds)), "+Inf"]
    family.add_metric([], list(zip(limits, accumulate(cells), strict=True)), sum_value=total)
    return family


def _counters(name: str, words: str, label: str, counts: Iterable[tuple[str, int]]) -> Metric:
    family = CounterMetricFamily(name, words, labels=[label])
    for value, count in counts:
        family.add_metric([value], count)
    return family


def _gauge(name: str, words: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, words, value=float(value))
