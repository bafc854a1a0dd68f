"""The bounds in ``docs/architecture.rst``, compared with the containers of a run while it lasts.

`tests.test_bounds` finds the containers in the code.  Here their lengths are looked at: those of
all objects that a run has made.  Production code does not know of it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from functools import cache
from typing import Final

from tests.test_bounds import held
from zkservice.client.silence import MOST_PINGS

#: The numbers that the manual states.
STATED: Final[dict[str, int]] = {
    "Connection.out": 2 << 20,
    "Connection.watched": 100_000,
    "ConnectionIdentities._ids": 1000,
    "EarlierSessions._ids": 64,
    "ErrorCounts._kinds": 50,
    "Happenings._kept": 30,
    "HeadReader._hosts": 1024,
    "HeadWriter._known": 512,
    "History._samples": 300,
    "RequestLines._known": 1024,
    "ResponseTally.noted": 1000,
    "ResponseTotals.exceptions": 32,
    "RoundRobin._groups": 64,
    "SessionTracker._sessions": 10_000,
    "Silence._pings": MOST_PINGS,
    "SendWindow._owed": 1 << 20,
}
#: What has an entry for each connection of a server: the network knows how many there were at
#: most.  A process that was killed keeps what it had.
EACH_CONNECTION: Final = frozenset(
    (
        "Connections._open",
        "Deadlines._buckets",
        "OpenConnections.accepted",
        "OpenConnections.refused",
        "ServerState._unflushed",
        "ServerState.connections",
    )
)
#: Connections that one side has closed, and the other one does not know of yet.
CLOSING: Final = 15
#: What all others stay below: the programs of the simulation ask for few things at a time.
MANY: Final = 200


def most(name: str, connections: int) -> int:
    """How long a container may be."""
    return connections + CLOSING if name in EACH_CONNECTION else STATED.get(name, MANY)


@cache
def _attributes() -> dict[str, list[str]]:
    """The containers of each class."""
    found: dict[str, list[str]] = {}
    for name in sorted(held()):
        cls, _, attribute = name.partition(".")
        found.setdefault(cls, []).append(attribute)
    return found


def _containers(kind: type) -> tuple[tuple[str, str], ...]:
    """The names of the containers of an object's class, and their attributes."""
    return tuple(
        (f"{cls.__name__}.{attribute}", attribute)
        for cls in kind.__mro__
        if str(cls.__module__).startswith("zkservice.")
        for attribute in _attributes().get(cls.__name__, ())
    )


def lengths() -> Iterator[tuple[str, int]]:
    """The name and the length of each container that exists, but for those that are frozen."""
    known: dict[type, tuple[tuple[str, str], ...]] = {}
    for one in gc.get_objects():
        kind = type(one)
        if kind not in known:
            known[kind] = _containers(kind)
        for name, attribute in known[kind]:
            container = getattr(one, attribute, None)
            if container is not None:
                yield name, len(container)


def exceeded(connections: int, limit: Callable[[str, int], int] = most) -> Iterator[str]:
    """What is longer than it may be."""
    for name, length in lengths():
        if length > limit(name, connections):
            yield f"{name} has {length} entries"
