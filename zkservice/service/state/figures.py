"""Snapshots of a service's counters and states, and their sums over worker processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from http import HTTPStatus
from typing import Any, Final

from zkservice.client import Statistics
from zkservice.errors import MessageError
from zkservice.web import (
    BOUNDS,
    DURATIONS,
    FrontEndStatistics,
    RequestExample,
    ResponseTotals,
    WorkersStatistics,
)
from zkservice.web.request_context import REQUEST_ID

__all__ = [
    "Figures",
    "ListenQueue",
    "ProcessSums",
    "ServiceState",
    "Sums",
    "check_figures",
    "responses_by_label",
    "totals_to_json",
]


@dataclass(frozen=True)
class ListenQueue:
    """The number of connections that wait in the kernel for one port, and its limit."""

    address: str
    waiting: int
    limit: int


@dataclass(frozen=True)
class ProcessSums:
    """The states of all worker processes, and the resources that they use.

    Attributes:
        states: the number of workers in each state.
        rss: bytes of memory of the running workers.
        cpu: seconds of processor time, including workers that have ended.
    """

    wanted: int
    states: Mapping[str, int]
    rss: int
    cpu: float


@dataclass(frozen=True)
class ServiceState:
    """The states of the parts of a service; times are seconds since the epoch.

    Attributes:
        registration, session: names of the states.
        healthy: the result of the health checks; None without checks, or before the first result.
        processes: None without worker processes.
        listening: the accept queues of those ports for which the kernel reports them.
    """

    registration: str = "waiting"
    registration_since: float | None = None
    session: str = "connecting"
    session_since: float | None = None
    healthy: bool | None = None
    processes: ProcessSums | None = None
    listening: tuple[ListenQueue, ...] = ()


@dataclass(frozen=True)
class Figures:
    """The state of a service and of its parts.

    Attributes:
        http: the front end's counters; None before it has started.
        client: the ZooKeeper client's counters; None before there is a client.
    """

    workers: WorkersStatistics
    registered: bool = False
    connected: bool = False
    http: FrontEndStatistics | None = None
    client: Statistics | None = None
    state: ServiceState = field(default_factory=ServiceState)


#: Methods with a label of their own.  Others share one: clients can invent any number of methods.
_METHODS: Final = frozenset(
    ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "PROPFIND"]
)
_OTHER: Final = "other"
_STATUSES: Final = frozenset([*map(int, HTTPStatus), 499])


def responses_by_label(totals: ResponseTotals) -> dict[tuple[str, int], int]:
    """Responses by method and status, with a bounded number of different labels.

    A status without a standard name counts as the first one of its class, such as 400.
    """
    counts: Counter[tuple[str, int]] = Counter()
    for (method, status), count in totals.responses.items():
        status = status if status in _STATUSES else status // 100 * 100
        counts[method if method in _METHODS else _OTHER, status] += count
    return counts


def totals_to_json(totals: ResponseTotals) -> dict[str, Any]:
    """The counters of responses as values that JSON can express."""
    found: dict[str, Any] = {
        "responses": [[*labels, count] for labels, count in responses_by_label(totals).items()],
        "refusals": [[status, count] for status, count in totals.refusals.items()],
        "exceptions": dict(totals.exceptions),
        "body_bytes": totals.body_bytes,
        "request_bytes": totals.request_bytes,
        "examples": [[cell, *example] for cell, example in totals.examples.items()],
    }
    for name, durations in zip(DURATIONS, totals.durations(), strict=True):
        found[name] = [durations.cells, durations.total]
    return found


#: Bounds for the figures of a worker: the number of counters, and of methods with statuses.
_MAX_COUNTERS: Final = 100
_MAX_RESPONSES: Final = 1000
#: Characters of a counter's or a method's name.
_MAX_NAME: Final = 32
_MAX_COUNT: Final = 1 << 63


def check_figures(figures: Mapping[str, Any]) -> None:
    """Check the figures of a worker process: the application could have changed them.

    Raises:
        MessageError: the figures cannot be added to those of other workers.
    """
    try:
        _check_counts(figures.get("http", {}))
        _check_counts(figures.get("workers", {}))
        _check_time(figures.get("cpu", 0))
        _check_totals(figures.get("totals"))
    except (AttributeError, LookupError, TypeError, ValueError):
        raise MessageError("invalid figures") from None


def _check_counts(counts: Mapping[str, Any]) -> None:
    """Check counters; unknown names are allowed, because workers may be of another release."""
    if len(counts) > _MAX_COUNTERS or max(map(len, counts), default=0) > _MAX_NAME:
        raise ValueError("too many counters")
    for value in counts.values():
        _check_count(value)


def _check_totals(totals: Mapping[str, Any] | None) -> None:
    if totals is None:
        return
    if len(totals["responses"]) > _MAX_RESPONSES:
        raise ValueError("too many methods and statuses")
    for method, status, count in totals["responses"]:
        if len(method.encode()) > _MAX_NAME:
            raise ValueError("a method is too long")
        _check_count(status)
        _check_count(count)
    _check_more_totals(totals)
    for name in DURATIONS:
        cells, total = totals[name]
        if len(cells) != len(BOUNDS) + 1:
            raise ValueError("a histogram with other cells")
        for cell in cells:
            _check_count(cell)
        _check_time(total)


def _check_more_totals(totals: Mapping[str, Any]) -> None:
    if max(len(totals["refusals"]), len(totals["exceptions"])) > _MAX_COUNTERS:
        raise ValueError("too many kinds of failures")
    for status, count in totals["refusals"]:
        _check_count(status)
        _check_count(count)
    for kind, count in totals["exceptions"].items():
        kind.encode()
        _check_count(count)
    if len(totals["examples"]) > len(BOUNDS) + 1:
        raise ValueError("too many examples")
    for cell, request_id, seconds, at in totals["examples"]:
        _check_count(cell)
        _check_time(seconds)
        _check_time(at)
        if not REQUEST_ID.fullmatch(request_id) or cell > len(BOUNDS):
            raise ValueError("an invalid example")
    _check_count(totals["body_bytes"])
    _check_count(totals["request_bytes"])


def _check_time(value: Any) -> None:
    if not 0 <= value < _MAX_COUNT:  # also false for NaN
        raise ValueError("an invalid time")


def _check_count(value: Any) -> None:
    if not isinstance(value, int) or not 0 <= value < _MAX_COUNT:
        raise ValueError("an invalid count")


class Sums:
    """Adds up the figures of worker processes, including those that have ended.

    The figures of a worker are a dict with ``http``, ``workers`` and ``totals``; it is empty until
    the worker has sent some.
    """

    def __init__(self) -> None:
        self._ended: dict[str, int] = {}  # counters of the front ends of workers that have ended
        self._completed = 0  # requests that the threads of those workers have completed
        self._cpu = 0.0  # seconds of processor time of those workers
        self._ended_totals = ResponseTotals()

    def keep(self, figures: Mapping[str, Any]) -> None:
        """Keep the counters of a worker that has ended, so that sums never decrease."""
        for name, value in figures.get("http", {}).items():
            if name not in _GAUGES:
                self._ended[name] = self._ended.get(name, 0) + value
        self._completed += figures.get("workers", {}).get("completed", 0)
        self._cpu += figures.get("cpu", 0)
        _add_totals(self._ended_totals, figures)

    def http(self, workers: Iterable[Mapping[str, Any]]) -> FrontEndStatistics:
        """The sums of all front ends."""
        reported = [one["http"] for one in workers if one.get("http")]
        values: dict[str, Any] = {}
        for each in fields(FrontEndStatistics):
            values[each.name] = sum(
                (one.get(each.name, 0) for one in reported), self._ended.get(each.name, 0)
            )
        values["draining"] = bool(reported) and all(one.get("draining") for one in reported)
        return FrontEndStatistics(**values)

    def workers(self, workers: Iterable[Mapping[str, Any]]) -> WorkersStatistics:
        """The sums of all thread pools."""
        reported = [one["workers"] for one in workers if one.get("workers")]
        values = {
            each.name: sum(one.get(each.name, 0) for one in reported)
            for each in fields(WorkersStatistics)
        }
        values["completed"] += self._completed
        return WorkersStatistics(**values)

    def cpu_seconds(self, workers: Iterable[Mapping[str, Any]]) -> float:
        """The processor time of all workers, in seconds."""
        return float(sum((one.get("cpu", 0) for one in workers), self._cpu))

    def totals(self, workers: Iterable[Mapping[str, Any]]) -> ResponseTotals:
        """The responses of all workers."""
        sums = ResponseTotals()
        _add_totals(sums, {"totals": totals_to_json(self._ended_totals)})
        for one in workers:
            _add_totals(sums, one)
        return sums


#: Figures of a front end that are no counters: those of a worker that has ended do not count.
_GAUGES: Final = ("connections", "in_service", "draining")


def _add_totals(sums: ResponseTotals, figures: Mapping[str, Any]) -> None:
    totals = figures.get("totals")
    if not totals:
        return
    for method, status, count in totals["responses"]:
        sums.responses[method, status] += count
    for status, count in totals["refusals"]:
        sums.refusals[status] += count
    for kind, count in totals["exceptions"].items():
        sums.count_exception(kind, count)
    for cell, *values in totals["examples"]:
        example, before = RequestExample(*values), sums.examples.get(cell)
        if before is None or before.at <= example.at:
            sums.examples[cell] = example
    sums.body_bytes += totals["body_bytes"]
    sums.request_bytes += totals["request_bytes"]
    for name, durations in zip(DURATIONS, sums.durations(), strict=True):
        durations.merge(*totals[name])
