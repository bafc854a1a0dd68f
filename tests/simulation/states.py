"""The rare states that a long run has to reach, each with a count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

#: A run of an hour or more fails if one of these was not reached.
SOMETIMES: Final = (
    "registration: contested",
    "registration: failing",
    "registration: out",
    "registration: registered again",
    "registration: withdrawn while ZooKeeper is away",
    "health: unhealthy",
    "expiry during the drain",
    "lost reply: connect",
    "lost reply: create",
    "lost reply: delete",
    "lost reply: exists",
    "lost reply: getData",
    "lost reply: setData",
    "lost reply: getChildren",
    "lost reply: sync",
    "lost reply: multi",
    "lost reply: setWatches",
    "lost reply: ping",
    "session: suspended",
    "session: expired",
    "session: auth failed",
    "session: read-only",
    "session: moved to another connection",
    "watch: event missed while disconnected",
    "watch: of a server like 3.8",
    "lock: lost",
    "lock: held but not certain",
    "lock: cancelled",
    "queue: reservation lost",
    "queue: item given back",
    "queue: item taken twice",
    "lock: several readers",
    "barrier: made again while a client waits",
    "double barrier: all have left",
    "double barrier: member lost",
    "auth: again on a new connection",
    "auth: refused by an ACL",
    "auth: wrong password",
    "agent: sent again",
    "agent: budget spent",
    "resolver: mass loss held back",
    "disk full",
    "restart with its data",
    "restart without its data",
    "process killed",
    "clock jumped",
    "suspended longer than the session",
    "half-open connection",
    "swizzle-clog",
    "names unknown",
    "callback raised",
    "import beside another import",
)


class Sometimes:
    """Counts states."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def reached(self, name: str) -> None:
        """A state was reached."""
        self.counts[name] += 1

    def missing(self, without: Iterable[str] = ()) -> list[str]:
        """The states that were not reached."""
        return [one for one in SOMETIMES if not self.counts[one] and one not in without]
