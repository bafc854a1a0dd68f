"""The monitor's commands about ZooKeeper: the session, the registrations, the tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, TimeoutError

from zkservice.errors import ZooKeeperError
from zkservice.service.commands.operated import Operated
from zkservice.service.commands.replies import is_for_programs, json_text
from zkservice.service.commands.text_tables import (
    columns,
    flattened,
    lines_of,
    seconds_text,
)
from zkservice.service.state.facts import (
    describe_registration,
    describe_session,
    describe_siblings,
    describe_tree,
)
from zkservice.web import printable
from zkservice.znodes import normalize

__all__ = ["registrations", "tree", "zookeeper"]

#: Seconds to wait for a reply of ZooKeeper, which may be down when an operator asks.
_TIMEOUT: Final = 2.0
#: Characters of a znode's data that are shown.
_MAX_DATA: Final = 100

_TIMES: Final = ("timeout", "silence", "latency.mean", "latency.p50", "latency.p99")


def zookeeper(service: Operated, words: list[str]) -> str:
    """Show the session with ZooKeeper, its watches, requests and latency: zookeeper [--json]."""
    session = describe_session(service.client)
    if is_for_programs(words):
        return json_text(session)
    rows = []
    for name, value in flattened(session):
        shown = seconds_text(value) if name in _TIMES else "-" if value is None else value  # type: ignore[arg-type]
        rows.append((name.replace("_", " "), shown))
    return lines_of(rows)


async def registrations(service: Operated, words: list[str]) -> str:
    """Show this service's registrations and their siblings: registrations [--json]."""
    reasons = service.availability.reasons.values()
    found = []
    for one in service.registrations():
        siblings, more, problem = await _siblings(service, one.real_parent)
        described = describe_registration(one, reasons)
        found.append({**described, "siblings": siblings, "more": more, "problem": problem})
    if is_for_programs(words):
        return json_text(found)
    return "\n\n".join(map(_registration_text, found))


async def _siblings(service: Operated, path: str) -> tuple[list[dict[str, Any]], int, str]:
    """The registrations at a path, the number that was left out, and an error or ""."""
    reading = Deferred.fromCoroutine(describe_siblings(service.client, path))
    try:
        found, more = await reading.addTimeout(_TIMEOUT, service.clock)
    except TimeoutError:
        return [], 0, f"no reply from ZooKeeper within {_TIMEOUT:g} s"
    except ZooKeeperError as error:
        return [], 0, str(error)
    return found, more, ""


def _registration_text(one: Mapping[str, Any]) -> str:
    own = [
        ("state", f"{one['state']} ({one['reason']})" if one["reason"] else one["state"]),
        ("addresses", " ".join(one["addresses"])),
        ("path", one["path"]),
    ]
    if one["real_path"] != one["path"]:
        own.append(("real path", one["real_path"]))
    own += [(f"property {name}", value) for name, value in one["properties"].items()]
    problem = [f"the others are unknown: {one['problem']}"] if one["problem"] else []
    rows = [
        (
            ("* " if node["path"] in one["znodes"] else "  ") + node["path"],
            node.get("session") or "",
            _data(node),
        )
        for node in one["siblings"]
    ]
    listed = [f"registered below {printable(one['real_path'])} (* is this one):", columns(rows)]
    more = [f"... and {one['more']} more"] if one["more"] else []
    return "\n".join([lines_of(own), *problem, *(listed if rows else []), *more])


def _data(node: Mapping[str, Any]) -> str:
    data = printable(str(node.get("error") or node.get("data", "")))
    return data if len(data) <= _MAX_DATA else f"{data[:_MAX_DATA]}..."


async def tree(service: Operated, words: list[str]) -> str:
    """Show the znodes at and below a path, at most 500: tree [PATH] [--json].

    Without PATH it is the path of the service.
    """
    named = [word for word in words if word != "--json"]
    path = normalize(" ".join(named)) if named else _own_path(service)
    reading = Deferred.fromCoroutine(describe_tree(service.client, path))
    try:
        found, cut = await reading.addTimeout(_TIMEOUT, service.clock)
    except TimeoutError:
        return f"error: no reply from ZooKeeper within {_TIMEOUT:g} s"
    except ZooKeeperError as error:
        return f"error: {error}"
    if is_for_programs(words):
        return json_text({"nodes": found, "cut": cut})
    return "\n".join([*_tree_lines(found), *(["... and more"] if cut else [])])


def _own_path(service: Operated) -> str:
    return next((one.real_parent for one in service.registrations()), "/")


def _tree_lines(nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for node in nodes:
        name = node["path"] if not node["depth"] else "/" + node["path"].rpartition("/")[2]
        mark = " (ephemeral)" if node.get("session") else ""
        data = _data(node)
        indent = "  " * node["depth"]
        lines.append(f"{indent}{printable(name)}{mark}{'  ' if data else ''}{data}")
    return lines
