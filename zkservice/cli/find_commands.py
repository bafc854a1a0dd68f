"""The commands that find: resolve (the providers of a service) and ls (the nodes below a node)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from twisted.internet.defer import Deferred

from zkservice.cli.context import Context, Exit
from zkservice.cli.options import ListOptions, ResolveOptions
from zkservice.cli.terminal import Terminal
from zkservice.client import State, ZooKeeperClient
from zkservice.discovery import Provider, Resolver
from zkservice.errors import NoAuthError, NoNodeError, NoProviderError
from zkservice.following.lookup import gather_all
from zkservice.properties import decode
from zkservice.web.printable import printable
from zkservice.wire.records import Stat
from zkservice.znodes import join, normalize

#: Nodes that are read at the same time.
MAX_CONCURRENT_READS: Final = 200
#: How many of the znodes that are not providers are listed.
MAX_PROBLEMS: Final = 10

#: What `resolve --watch` prints when the session's state changes.
_STATE_NOTES: Final = {
    State.SUSPENDED: "the connection to ZooKeeper is lost; showing what was known last",
    State.EXPIRED: "the session has expired; a new one follows",
    State.CONNECTED: "connected again",
}


# -- resolve ------------------------------------------------------------------------------


async def resolve(context: Context, options: ResolveOptions) -> Exit:
    """Print the providers of a service; with --watch, each change as well."""
    path = normalize(options.path)
    async with context.connected(options.hosts, options) as zk:
        resolver = Resolver(zk.client, path, reactor=context.reactor)
        await resolver.start()
        try:
            if options.watch:
                await _watch(context, options, zk.client, resolver)
                return Exit.DONE
            return _show(context.terminal, options, resolver)
        finally:
            resolver.close()


def _show(terminal: Terminal, options: ResolveOptions, resolver: Resolver) -> Exit:
    """Print what is registered; fail if there is no provider to use."""
    if options.json:
        terminal.out_json(_as_json(resolver))
    elif resolver.providers or resolver.stopping:
        _print_rows(terminal, _rows(resolver))
    _warn_of_problems(terminal, resolver)
    if resolver.providers:
        return Exit.DONE
    try:
        resolver.pick()
    except (NoProviderError, NoNodeError) as error:
        terminal.error(printable(str(error)))
    return Exit.FAILED


async def _watch(
    context: Context, options: ResolveOptions, client: ZooKeeperClient, resolver: Resolver
) -> None:
    """Print what is registered, and what changes, until the user or the reader stops it."""
    terminal, changed = context.terminal, resolver.when_changed()
    if options.json:
        terminal.out_json(_as_json(resolver))
    elif resolver.providers or resolver.stopping:
        _print_rows(terminal, _rows(resolver))
    else:
        terminal.note(f"no provider is registered at {resolver.path} yet")
    _warn_of_problems(terminal, resolver)
    terminal.stdout.flush()
    subscription = client.subscribe(
        lambda state: terminal.note(_STATE_NOTES[state]) if state in _STATE_NOTES else None
    )
    # If the program that reads the output ends, fail the Deferred that the loop below awaits.
    abandoned = terminal.when_abandoned(context.reactor)
    abandoned.addCallbacks(lambda _: changed.errback(BrokenPipeError()), lambda _: None)
    try:
        before = _rows_by_address(resolver)
        while True:
            await changed
            changed, now = resolver.when_changed(), _rows_by_address(resolver)
            if options.json:
                terminal.out_json(_as_json(resolver))
            else:
                for line in _differences(before, now):
                    terminal.out(f"{time.strftime('%H:%M:%S')} {line}")
            terminal.stdout.flush()
            before = now
    finally:
        subscription.cancel()
        abandoned.cancel()
        changed.addErrback(lambda _: None)  # nothing awaits it any more


def _rows_by_address(resolver: Resolver) -> dict[str, tuple[str, ...]]:
    """The rows of the table by their addresses, to find what has changed."""
    return {row[0]: row for row in _rows(resolver)}


def _differences(
    before: Mapping[str, tuple[str, ...]], now: Mapping[str, tuple[str, ...]]
) -> Iterable[str]:
    for address in before.keys() - now.keys():
        yield f"- {address}"
    for address, row in now.items():
        if before.get(address) != row:
            mark = "~" if address in before else "+"
            yield f"{mark} {'  '.join(cell for cell in row if cell)}"


def _states(resolver: Resolver) -> Iterator[tuple[Provider, str]]:
    """Every address that is registered, and whether it can be used."""
    doubtful = {one.address for one in resolver.doubtful}
    for one in resolver.providers:
        yield one, "doubtful" if one.address in doubtful else "up"
    for one in resolver.stopping:
        yield one, "stopping"


def _rows(resolver: Resolver) -> list[tuple[str, ...]]:
    """Address, state, weight, zone, format, properties."""
    return [
        (
            one.address,
            state,
            f"{one.weight:g}",
            printable(one.zone),
            one.format + ("+tls" if one.tls else ""),
            _compact(_other_properties(one)),
        )
        for one, state in _states(resolver)
    ]


def _other_properties(provider: Provider) -> dict[str, Any]:
    """The properties that have no column of their own."""
    shown = {"weight": provider.weight, "zone": provider.zone}
    return {
        name: value
        for name, value in provider.properties.items()
        if name not in shown or shown[name] != value
    }


def _compact(properties: Mapping[str, Any]) -> str:
    return json.dumps(properties, sort_keys=True) if properties else ""


def _print_rows(terminal: Terminal, rows: Sequence[tuple[str, ...]]) -> None:
    terminal.table(("ADDRESS", "STATE", "WEIGHT", "ZONE", "FORMAT", "PROPERTIES"), rows)


def _warn_of_problems(terminal: Terminal, resolver: Resolver) -> None:
    """Warn of the znodes that are not providers."""
    for problem in resolver.problems[:MAX_PROBLEMS]:
        terminal.warn(printable(f"{resolver.path}: {problem}"))
    more = len(resolver.problems) - MAX_PROBLEMS
    if more > 0:
        terminal.warn(f"{resolver.path}: and {more:,} more that are not service instances")


def _as_json(resolver: Resolver) -> dict[str, Any]:
    return {
        "path": resolver.path,
        "providers": [
            {
                "address": one.address,
                "host": one.host,
                "port": one.port,
                "state": state,
                "weight": one.weight,
                "zone": one.zone,
                "format": one.format,
                "tls": one.tls,
                "properties": dict(one.properties),
            }
            for one, state in _states(resolver)
        ],
        "problems": [str(problem) for problem in resolver.problems],
    }


# -- ls -----------------------------------------------------------------------------------


class _Child(NamedTuple):
    """A child of the node that is listed; only its name if reading it is forbidden."""

    name: str
    stat: Stat | None = None
    properties: int = 0

    @property
    def kind(self) -> str:
        """``ephemeral`` or ``persistent``; the Stat does not show containers and TTLs."""
        if self.stat is None:
            return "unreadable"
        return "ephemeral" if self.stat.ephemeral_owner else "persistent"

    @property
    def marked_name(self) -> str:
        """The name, with ``/`` if there are nodes below, and ``*`` if a session owns it."""
        has_children = self.stat is not None and self.stat.num_children > 0
        mark = "/" if has_children else "*" if self.kind == "ephemeral" else ""
        return printable(self.name) + mark


async def ls(context: Context, options: ListOptions) -> Exit:
    """Print the nodes below a node."""
    terminal = context.terminal
    async with context.connected(options.hosts, options) as zk:
        path = await zk.resolve(normalize(options.path))
        children = await _children(zk.client, path)
    if options.json:
        terminal.out_json([_child_json(path, one) for one in children])
    elif options.long:
        terminal.table(_LONG_HEADINGS, [_long_row(one) for one in children])
    else:
        terminal.table((), [(one.marked_name, _summary(one)) for one in children])
    return Exit.DONE


async def _children(client: ZooKeeperClient, path: str) -> list[_Child]:
    names = sorted(await client.get_children(path))
    found: list[_Child | None] = []
    for start in range(0, len(names), MAX_CONCURRENT_READS):
        batch = names[start : start + MAX_CONCURRENT_READS]
        found += await gather_all(_child(client, path, name) for name in batch)
    return [one for one in found if one is not None]


def _child(client: ZooKeeperClient, path: str, name: str) -> Deferred[_Child | None]:
    """Read a child; fires with None if it was deleted meanwhile."""

    async def read() -> _Child | None:
        try:
            data, stat = await client.get(join(path, name))
        except NoNodeError:
            return None
        except NoAuthError:
            return _Child(name)
        return _Child(name, stat, len(decode(data)))

    return Deferred.fromCoroutine(read())


def _summary(child: _Child) -> str:
    """What a line shows of a child beside its name."""
    if child.stat is None:
        return "may not be read"
    counted = (
        ("node", "nodes", child.stat.num_children),
        ("property", "properties", child.properties),
    )
    return ", ".join(
        f"{number:,} {one if number == 1 else more}" for one, more, number in counted if number
    )


_LONG_HEADINGS: Final = (
    "KIND",
    "VERSION",
    "NODES",
    "PROPERTIES",
    "BYTES",
    "CHANGED",
    "OWNER",
    "NAME",
)


def _long_row(child: _Child) -> tuple[str, ...]:
    stat = child.stat
    if stat is None:
        unknown = ["?"] * (len(_LONG_HEADINGS) - 2)
        return (child.kind, *unknown, child.marked_name)
    return (
        child.kind,
        str(stat.version),
        str(stat.num_children),
        str(child.properties),
        str(stat.data_length),
        _date(stat.mtime),
        f"{stat.ephemeral_owner:#x}" if child.kind == "ephemeral" else "-",
        child.marked_name,
    )


def _date(milliseconds: int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(milliseconds / 1000))
    except (OverflowError, ValueError, OSError):
        return "?"


def _child_json(path: str, child: _Child) -> dict[str, Any]:
    return {
        "name": child.name,
        "path": join(path, child.name),
        "kind": child.kind,
        "properties": child.properties,
        "stat": None if child.stat is None else child.stat._asdict(),
    }
