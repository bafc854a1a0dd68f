"""The monitor's commands about the processes: requests, stacks, profiles, loggers, counters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any, Final

from zkservice.service.application.inspection import MAX_PROFILE
from zkservice.service.commands.operated import Operated
from zkservice.service.commands.replies import (
    is_for_programs,
    json_text,
    per_process,
    reply,
)
from zkservice.service.commands.text_tables import (
    bytes_text,
    columns,
    flattened,
    seconds_text,
)
from zkservice.service.process.loggers import checked_level, logger_level
from zkservice.service.state.process_report import ProcessReport
from zkservice.web import printable

__all__ = [
    "collector",
    "loglevel",
    "profile",
    "requests",
    "stats",
    "threads",
    "tracelog",
    "workers",
]

#: Seconds to wait for a profile's reply after the profile's own time.
_GRACE: Final = 2.0
#: Requests that are shown as text; --json has more.
_MAX_ROWS: Final = 100


async def requests(service: Operated, words: list[str]) -> str:
    """Show the requests in service, the oldest first: requests [--json].

    Each has its age, its path without the query, its client, its thread, and what it waits for.
    """
    return reply(words, await service.front.inspect("requests"), _requests_text)


def _requests_text(found: Mapping[str, Any]) -> str:
    if not found["requests"]:
        return "no request is in service"
    rows = [("AGE", "REQUEST", "CLIENT", "THREAD", "WAITS FOR")]
    for one in found["requests"][:_MAX_ROWS]:
        stuck = " (stuck)" if one["stuck"] else ""
        rows.append(
            (
                seconds_text(one["age"]),
                f"{one['method']} {one['path']}",
                one["client"],
                f"{one['thread'] or one['phase']}{stuck}",
                one["waits_for"],
            )
        )
    more = found["more"] + max(0, len(found["requests"]) - _MAX_ROWS)
    return "\n".join([columns(rows), *_left_out(more)])


def _left_out(more: int) -> list[str]:
    return [f"... and {more} more"] if more else []


async def threads(service: Operated, words: list[str]) -> str:
    """Show the stack of every thread: threads [--json].

    The innermost call comes last; idle threads are listed in one line.
    """
    return reply(words, await service.front.inspect("stacks"), _threads_text)


def _threads_text(found: Mapping[str, Any]) -> str:
    parts = []
    for one in found["threads"]:
        if one["idle"] or one["here"]:
            continue
        stuck = " (stuck)" if one["stuck"] else ""
        job = f"{one['job']} for {seconds_text(one['seconds'])}" if one["job"] else "busy"
        lines = [f"{one['name']}{stuck}: {job}"]
        for line in one["stack"]:
            lines.append(f"  {line['file']}:{line['line']} in {line['function']}")
            if line["code"]:
                lines.append(f"    {line['code']}")
        parts.append("\n".join(map(printable, lines)))
    here = [
        f"{one['name']}: the reactor, running this command"
        for one in found["threads"]
        if one["here"]
    ]
    idle = [one["name"] for one in found["threads"] if one["idle"] and not one["here"]]
    parts += [*here, *([printable(f"idle: {', '.join(idle)}")] if idle else [])]
    return "\n".join([*parts, *_left_out(found["more"])])


async def profile(service: Operated, words: list[str]) -> str:
    """Sample the stacks of all threads, and count them: profile SECONDS.

    The reply has a line for each stack, in the format of flame graph tools:
    zkservice ask ADDR profile 10 | flamegraph.pl > profile.svg
    """
    seconds = _number(words)
    if seconds is None or not 0 < seconds <= MAX_PROFILE:
        return f"error: write profile SECONDS, at most {MAX_PROFILE:g}"
    reports = await service.front.inspect("profile", seconds, timeout=seconds + _GRACE)
    lines: list[str] = []
    for one in reports:
        if one.error:
            lines.append(f"{one.name or 'process'};({one.error.replace(';', ',')}) 1")
        else:
            prefix = f"{one.name};" if one.name else ""
            lines += [f"{prefix}{line}" for line in one.value.splitlines()]
    return "\n".join(lines) or "error: no process is serving"


def _number(words: Sequence[str]) -> float | None:
    try:
        return float(words[0]) if len(words) == 1 else None
    except ValueError:
        return None


async def collector(service: Operated, words: list[str]) -> str:
    """Show the state of Python's garbage collector: gc [collect] [types] [--json].

    'collect' collects all garbage first, 'types' counts the objects by their types.  Both stop
    the process while they run: with millions of objects for about a second.
    """
    if not set(words) <= {"collect", "types", "--json"}:
        return "error: write gc [collect] [types]"
    reports = await service.front.inspect("garbage", "collect" in words, "types" in words)
    return reply(words, reports, _garbage_text)


def _garbage_text(found: Mapping[str, Any]) -> str:
    rows: list[tuple[object, object]] = []
    if "collected" in found:
        took = seconds_text(found["seconds"])
        rows.append(("collected", f"{found['collected']} objects in {took}"))
    rows += [
        ("enabled", "yes" if found["enabled"] else "no"),
        ("counts", " ".join(map(str, found["counts"]))),
        ("thresholds", " ".join(map(str, found["thresholds"]))),
        ("collections", " ".join(map(str, found["collections"]))),
        ("uncollectable", found["uncollectable"]),
        *((name, count) for name, count in found.get("types", ())),
    ]
    return columns(rows)


async def loglevel(service: Operated, words: list[str]) -> str:
    """Show or set the level of a logger of the standard library: loglevel NAME [LEVEL].

    NAME is 'root' for the root logger; LEVEL is DEBUG, INFO, WARNING, ERROR, or NOTSET for the
    level of the parent logger.  Only running processes change; new ones have the configured level.
    """
    if not 1 <= len(words) <= 2:
        return "error: write loglevel NAME [LEVEL]"
    checked_level(words[0], "".join(words[1:]))  # an error before any process has changed
    if service.front.size:  # the parent of the workers has loggers, too
        logger_level(*words)
    return _same_or_each(await service.front.inspect("log level", *words), f"{words[0]}: ")


async def tracelog(service: Operated, words: list[str]) -> str:
    """Show or switch whether the trace log is written: tracelog [on|off].

    Its file is set with --trace-log when the service starts.
    """
    if len(words) > 1 or not {*words} <= {"on", "off"}:
        return "error: write tracelog [on|off]"
    reports = await service.front.inspect("trace log", *(word == "on" for word in words))
    if any(one.value is None and not one.error for one in reports):
        return "error: there is no trace log; start the service with --trace-log FILE"
    return _same_or_each(reports, "", {True: "on", False: "off"})


def _same_or_each(
    reports: Sequence[ProcessReport], prefix: str, words: Mapping[Any, str] | None = None
) -> str:
    """One line if all processes have sent the same value, else a line for each process.

    Args:
        prefix: written before a value.
        words: a word for each value; None: the values are words themselves.
    """
    values = {one.value for one in reports}
    text = (lambda value: f"{prefix}{value}") if words is None else (lambda value: words[value])
    if len(values) == 1 and not any(one.error for one in reports):
        return text(values.pop())
    return per_process(reports, text)


def stats(service: Operated, words: list[str]) -> str:
    """Show all counters, a name and a value on each line: stats [--json]."""
    status = {
        name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        for name, value in service.status().items()
    }
    figures = {
        name: value
        for name, value in flattened(status)
        if isinstance(value, (int, float, bool)) or value is None
    }
    if is_for_programs(words):
        return json_text(figures)
    return "\n".join(f"{name} {_figure(value)}" for name, value in sorted(figures.items()))


def _figure(value: object) -> object:
    return int(value) if isinstance(value, bool) else "-" if value is None else value


def workers(service: Operated, words: list[str]) -> str:
    """Show the processes that run the application: workers [--json].

    'workers add [N]' and 'workers remove [N]' change the number of worker processes.
    """
    front = service.front
    if words in ([], ["--json"]):
        found = front.processes()
        return json_text(found) if "--json" in words else _workers_text(found, front.size)
    directions = {"add": 1, "remove": -1}
    number = words[1] if len(words) > 1 else "1"
    if words[0] not in directions or len(words) > 2 or not number.isdecimal() or len(number) > 9:
        return "error: write workers, workers add [N] or workers remove [N]"
    if not front.size:
        return "error: this service has no worker processes; start it with --processes N"
    front.resize(front.size + directions[words[0]] * int(number))
    return f"{front.size} wanted"


def _workers_text(found: Iterable[Mapping[str, Any]], wanted: int) -> str:
    names = ("name", "pid", "state", "age", "connections", "requests", "in_service", "rss")
    rows: list[tuple[object, ...]] = [tuple(name.upper().replace("_", " ") for name in names)]
    for one in found:
        shown = {**one, "age": seconds_text(one["age"]), "rss": bytes_text(one["rss"])}
        rows.append(tuple(shown[name] for name in names))
    return "\n".join([*([f"{wanted} wanted"] if wanted else []), columns(rows)])
