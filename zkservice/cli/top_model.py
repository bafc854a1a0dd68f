"""What ``zkservice top`` shows: figures of processes, from what their monitors reply."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["MonitorReply", "ProcessRow", "RequestRow", "oldest_requests", "row_of"]


@dataclass(frozen=True)
class MonitorReply:
    """What a monitor has replied; empty values for what it did not reply.

    Attributes:
        at: the time of the reply, in seconds of the reactor's clock.
        status: the reply to ``status --json``.
        reports: the reply to ``requests --json``: a report of each process.
        error: why there is no reply; "" if there is one.
    """

    at: float
    status: Mapping[str, Any] = field(default_factory=dict)
    reports: Sequence[Any] = ()
    error: str = ""


@dataclass(frozen=True)
class ProcessRow:
    """A service, by the address of its monitor.  Times are seconds; None is unknown."""

    address: str
    state: str
    requests: float | None = None  #: requests per second
    p50: float | None = None
    p99: float | None = None
    busy: int = 0
    threads: int = 0
    stuck: int = 0
    queued: int = 0
    connections: int = 0
    rss: int = 0
    error: str = ""


@dataclass(frozen=True)
class RequestRow:
    """A request in service."""

    age: float
    address: str
    request: str
    waits_for: str


def row_of(address: str, before: MonitorReply | None, now: MonitorReply) -> ProcessRow:
    """The figures of a service.

    Args:
        before: an earlier reply; the requests a second are those since then.  Without one they are
            those of the last minute.
    """
    if now.error:
        return ProcessRow(address, "unreachable", error=now.error)
    status = now.status
    workers, http = _part(status, "workers"), _part(status, "http")
    minute = _part(status, "last_minute")
    return ProcessRow(
        address=address,
        state=_state(status),
        requests=_rate(before, now) if before is not None else _number(minute.get("requests")),
        p50=_number(minute.get("p50")),
        p99=_number(minute.get("p99")),
        busy=_count(workers, "busy"),
        threads=_count(workers, "threads"),
        stuck=_count(workers, "stuck"),
        queued=_count(workers, "queued"),
        connections=_count(http, "connections"),
        rss=_rss(status),
    )


def _state(status: Mapping[str, Any]) -> str:
    state, reason = str(status.get("registration", "?")), status.get("reason")
    if status.get("session") not in ("connected", None) and state == "registered":
        return "registered, ZooKeeper is away"
    return f"{state} ({reason})" if reason else state


def _rate(before: MonitorReply, now: MonitorReply) -> float | None:
    seconds = now.at - before.at
    if before.error or seconds <= 0:
        return None
    counts = [_count(_part(one.status, "http"), "responded") for one in (before, now)]
    return max(0, counts[1] - counts[0]) / seconds


def _rss(status: Mapping[str, Any]) -> int:
    """The memory of all processes together."""
    processes = status.get("processes")
    others = processes if isinstance(processes, list) else []
    return _count(status, "rss") + sum(_count(each, "rss") for each in others)


def _part(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = values.get(name)
    return part if isinstance(part, dict) else {}


def _count(values: Any, name: str) -> int:
    value = values.get(name) if isinstance(values, dict) else None
    return value if isinstance(value, int) else 0


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def oldest_requests(polled: Mapping[str, MonitorReply], most: int) -> list[RequestRow]:
    """The requests in service that have run longest, of all services."""
    rows = [row for address, one in polled.items() for row in _requests(address, one.reports)]
    return sorted(rows, key=lambda row: -row.age)[:most]


def _requests(address: str, reports: Iterable[Any]) -> Iterable[RequestRow]:
    for report in reports:
        value = report.get("value") if isinstance(report, dict) else None
        found = value.get("requests") if isinstance(value, dict) else None
        for one in found if isinstance(found, list) else ():
            age = _number(one.get("age")) if isinstance(one, dict) else None
            if age is not None:
                name = f"{one.get('method', '?')} {one.get('path', '?')}"
                yield RequestRow(age, address, name, str(one.get("waits_for", "")))
