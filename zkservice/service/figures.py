"""What a service is doing at one moment, as values for those who watch it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from zkservice.client import Statistics
from zkservice.errors import MessageError
from zkservice.web import FrontEndStatistics, ResponseTotals, WorkersStatistics

__all__ = ["BUCKETS", "Figures", "Sums", "check_figures", "totals_to_json"]

#: Seconds: of an application, from one that only computes to one that is about to be given up.
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


@dataclass(frozen=True)
class Figures:
    """The state of a service and of its parts.

    Attributes:
        http: None before the front end is there.
        client: None before there is a ZooKeeper client.
    """

    workers: WorkersStatistics
    registered: bool = False
    connected: bool = False
    http: FrontEndStatistics | None = None
    client: Statistics | None = None


def totals_to_json(totals: ResponseTotals) -> dict[str, Any]:
    """What was counted of responses, in values that JSON has."""
    return {
        "responses": [[method, status, n] for (method, status), n in totals.responses.items()],
        "body_bytes": totals.body_bytes,
        "waiting": [totals.waiting.cells, totals.waiting.total],
        "application": [totals.application.cells, totals.application.total],
    }


#: Of what a worker tells: counters, and methods with statuses.
_MAX_COUNTERS: Final = 100
_MAX_RESPONSES: Final = 1000
#: Characters of a counter's or a method's name.
_MAX_NAME: Final = 32
_MAX_COUNT: Final = 1 << 63


def check_figures(told: Mapping[str, Any]) -> None:
    """Check what a worker process tells: the application runs there, and may have changed it.

    Raises:
        MessageError: it cannot be added to what the others tell.
    """
    try:
        _check_counts(told.get("http", {}))
        _check_counts(told.get("workers", {}))
        _check_totals(told.get("totals"))
    except (AttributeError, LookupError, TypeError, ValueError):
        raise MessageError("invalid figures") from None


def _check_counts(counts: Mapping[str, Any]) -> None:
    """A worker of another release may have counters that are unknown here."""
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
    _check_count(totals["body_bytes"])
    for cells, total in (totals["waiting"], totals["application"]):
        if len(cells) != len(BUCKETS) + 1:
            raise ValueError("other cells")
        for cell in cells:
            _check_count(cell)
        if not 0 <= total < _MAX_COUNT:  # NaN is not either
            raise ValueError("an invalid time")


def _check_count(value: Any) -> None:
    if not isinstance(value, int) or not 0 <= value < _MAX_COUNT:
        raise ValueError("an invalid count")


class Sums:
    """Adds up what worker processes tell, those that have ended included.

    The figures of a worker are a dict with ``http``, ``workers`` and ``totals``; it is empty until
    the worker has sent some.
    """

    def __init__(self) -> None:
        self._ended: dict[str, int] = {}  # counters of the front ends of workers that have ended
        self._completed = 0
        self._ended_totals = ResponseTotals(BUCKETS)

    def keep(self, told: Mapping[str, Any]) -> None:
        """A worker has ended: its counters stay, so that sums never go back."""
        for name, value in told.get("http", {}).items():
            if name not in _PRESENT:
                self._ended[name] = self._ended.get(name, 0) + value
        self._completed += told.get("workers", {}).get("completed", 0)
        _add_totals(self._ended_totals, told)

    def http(self, told: Iterable[Mapping[str, Any]]) -> FrontEndStatistics:
        """The front ends of all."""
        present = [one["http"] for one in told if one.get("http")]
        values: dict[str, Any] = {}
        for field in fields(FrontEndStatistics):
            values[field.name] = sum(
                (one.get(field.name, 0) for one in present), self._ended.get(field.name, 0)
            )
        values["draining"] = bool(present) and all(one.get("draining") for one in present)
        return FrontEndStatistics(**values)

    def workers(self, told: Iterable[Mapping[str, Any]]) -> WorkersStatistics:
        """The threads of all."""
        present = [one["workers"] for one in told if one.get("workers")]
        values = {
            field.name: sum(one.get(field.name, 0) for one in present)
            for field in fields(WorkersStatistics)
        }
        values["completed"] += self._completed
        return WorkersStatistics(**values)

    def totals(self, told: Iterable[Mapping[str, Any]]) -> ResponseTotals:
        """The responses of all."""
        sums = ResponseTotals(BUCKETS)
        _add_totals(sums, {"totals": totals_to_json(self._ended_totals)})
        for one in told:
            _add_totals(sums, one)
        return sums


#: What a front end has now, rather than has done since its start.
_PRESENT: Final = ("connections", "in_service", "draining")


def _add_totals(sums: ResponseTotals, told: Mapping[str, Any]) -> None:
    totals = told.get("totals")
    if not totals:
        return
    for method, status, count in totals["responses"]:
        sums.responses[method, status] += count
    sums.body_bytes += totals["body_bytes"]
    for durations, (cells, total) in (
        (sums.waiting, totals["waiting"]),
        (sums.application, totals["application"]),
    ):
        durations.cells = [
            mine + theirs for mine, theirs in zip(durations.cells, cells, strict=True)
        ]
        durations.total += total
