"""Clients that come and go: some read only, some with credentials that no server takes."""

from __future__ import annotations

from itertools import count
from random import Random
from typing import Any

from twisted.python.failure import Failure
from typing_extensions import override

from tests.simulation.workloads.base import Workload
from tests.simulation.world import World
from zkservice.client import ZooKeeperClient
from zkservice.errors import AuthFailedError, ClientClosedError


class Visitors(Workload):
    """What a client has made for itself is gone once it is confirmed that it has left."""

    name = "visitor"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.numbers = count()
        self.machines: list[Any] = []
        self.present: dict[str, ZooKeeperClient] = {}
        world.expected.append(lambda text: "the server refused the credentials" in text)

    @override
    def start(self) -> None:
        self.machines = [self.world.machine(f"visitors{number}") for number in range(2)]
        self.repeat("visit", 0.5, 5.0, self.visit)

    def visit(self, random: Random) -> None:
        """Come, make an ephemeral znode, and leave."""
        who = f"visitor{next(self.numbers)}"
        machine = random.choice(self.machines)
        options: dict[str, Any] = {}
        kind = random.choice(("plain", "plain", "read only", "stranger"))
        if kind == "read only":
            options["read_only"] = True
        elif kind == "stranger":
            options["auth"] = [("unknown", b"x")]
        client = self.world.client(who, machine, **options)
        self.present[who] = client
        making = client.create(f"/{who}", ephemeral=True)

        def made(result: Any) -> None:
            if isinstance(result, Failure):
                if kind == "stranger" and not result.check(AuthFailedError, ClientClosedError):
                    self.world.note(who, repr(result.value))
                return
            if kind == "stranger":
                self.world.violated("no error", f"{who} was let in with unknown credentials")

        self.world.outcome(making, f"{who} makes its znode", made)
        self.later(random.choice((0.0, 0.2, 1.0, 6.0)), lambda: self.leave(who), machine)

    def leave(self, who: str) -> None:
        """Close the client."""
        client = self.present.pop(who)
        self.world.clients = [one for one in self.world.clients if one[2] is not client]
        self.world.outcome(client.close(), f"{who} leaves", lambda result: None)

    @override
    def at_end(self) -> None:
        if not self.world.ensemble.up:
            return
        left = [
            path
            for path in self.world.ensemble.server.tree()
            if path.startswith("/visitor") and path[1:] not in self.present
        ]
        if left:
            self.world.violated("recovers", f"{left} stay although their clients have left")
