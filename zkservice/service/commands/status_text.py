"""The state of a service as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from zkservice.registry import RegistrationState
from zkservice.service.commands.text_tables import bytes_text, lines_of, seconds_text
from zkservice.web import printable

__all__ = ["status_text"]


def status_text(status: Mapping[str, Any]) -> str:
    """The values of the monitor's ``status`` command as text for people."""
    values = {
        name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        for name, value in status.items()
    }
    return lines_of(_lines(values))


def _lines(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    about = [f"process {values.get('pid', '?')}"]
    if "uptime" in values:
        about.append(f"up {seconds_text(values['uptime'])}")
    if "rss" in values:
        about.append(bytes_text(values["rss"]))
    yield f"zkservice {values.get('version', '')}".strip(), ", ".join(about)
    yield "registration", _registration(values)
    yield "zookeeper", f"{values.get('session', '?')}, {values.get('zookeeper') or 'no server'}"
    if values.get("last_minute"):
        yield "last minute", _period(values["last_minute"])
    if values.get("workers"):
        workers = values["workers"]
        yield (
            "threads",
            (
                f"{workers['busy']} of {workers['threads']} busy, {workers['queued']} queued, "
                f"{workers['stuck']} stuck"
            ),
        )
    if values.get("http"):
        http = values["http"]
        draining = ", draining" if http["draining"] else ""
        yield "connections", f"{http['connections']}, {http['in_service']} in service{draining}"
        yield (
            "since the start",
            (
                f"{http['requests']} requests, {http['aborted']} aborted, "
                f"{http['refused']} refused, {http['shed']} shed"
            ),
        )
    if "processes" in values:
        states = [one["state"] for one in values["processes"]]
        yield "workers", ", ".join(f"{states.count(each)} {each}" for each in sorted({*states}))


def _registration(values: Mapping[str, Any]) -> str:
    reason = f" ({values['reason']})" if values.get("reason") else ""
    where = f"{', '.join(values.get('addresses', ()))} below {values.get('path', '?')}"
    return printable(f"{_state(str(values.get('registration', '?')))}{reason}: {where}")


def _state(name: str) -> str:
    """A state of a registration as the log names it."""
    states = {state.name.lower(): state.value for state in RegistrationState}
    return states.get(name, name)


def _period(period: Mapping[str, Any]) -> str:
    return (
        f"{period['requests']:.1f} requests/s, {period['errors']:.1f} errors/s, "
        f"p50 {seconds_text(period['p50'])}, p99 {seconds_text(period['p99'])}"
    )
