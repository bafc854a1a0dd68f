"""Clients with credentials: owners of closed znodes, and strangers with other passwords."""

from __future__ import annotations

from itertools import count
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from typing_extensions import override

from tests.simulation.machine import Machine
from tests.simulation.workloads.base import Workload
from tests.simulation.world import World
from tests.simulation.zookeeper import USERS
from zkservice.client import DigestMD5, ZooKeeperClient
from zkservice.errors import (
    AuthFailedError,
    ClientClosedError,
    ConnectionLossError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
)
from zkservice.wire.acl import CREATOR_ALL_ACL
from zkservice.wire.session import State

USER, PASSWORD = next(iter(USERS.items()))
#: How owners show who they are: the options of a client, and those of a stranger.
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "digest": (
        {"auth": [("digest", f"{USER}:{PASSWORD}")]},
        {"auth": [("digest", f"{USER}:guessed")]},
    ),
    "sasl": (
        {"sasl": DigestMD5(USER, PASSWORD)},
        {"sasl": DigestMD5(USER, "guessed")},
    ),
}
_EXPECTED = (
    AuthFailedError,
    ClientClosedError,
    ConnectionLossError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
)


class Owners(Workload):
    """A znode for each owner, and strangers that would like to read them."""

    name = "owner"
    path = "/secrets"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.numbers = count()
        self.connections = dict.fromkeys(KINDS, 0)
        self.asking: set[str] = set()
        self.place: list[Machine] = []
        self.strangers: dict[str, ZooKeeperClient] = {}
        world.expected.append(lambda text: "the server refused the " in text)

    @override
    def start(self) -> None:
        self.place = [self.world.machine("strangers")]
        for kind, (options, _) in KINDS.items():
            machine = self.world.machine(f"owner-{kind}")
            client = self.world.client(f"owner-{kind}", machine, **options)
            self.follow(kind, client)

            def act(random: Random, kind: str = kind, client: Any = client) -> None:
                self.act(kind, client)

            self.repeat(kind, 0.05, 2.0, act, machine)
        self.repeat("stranger", 0.5, 6.0, self.guess)

    def follow(self, kind: str, client: ZooKeeperClient) -> None:
        """Count the connections of an owner."""

        def changed(state: State) -> None:
            self.connections[kind] += state is State.CONNECTED

        client.subscribe(changed)

    def act(self, kind: str, client: ZooKeeperClient) -> None:
        """Read what is its own, and make it if it is missing."""
        if kind in self.asking:
            return
        self.asking.add(kind)

        def done(result: Any) -> None:
            self.asking.discard(kind)
            if not isinstance(result, Failure):
                if self.connections[kind] > 1:
                    self.world.sometimes.reached("auth: again on a new connection")
            elif result.check(NoAuthError, AuthFailedError):
                self.world.violated("own", f"owner-{kind} is refused: {result.value!r}")
            else:
                self.explain(result)

        using: Deferred[Any] = Deferred.fromCoroutine(self._use(client, f"{self.path}/{kind}"))
        self.world.outcome(using, f"owner-{kind} reads", done)

    async def _use(self, client: ZooKeeperClient, path: str) -> Any:
        try:
            return await client.get(path)
        except NoNodeError:
            await client.ensure_path(self.path)
            return await client.create(path, b"secret", CREATOR_ALL_ACL)

    def guess(self, random: Random) -> None:
        """A stranger comes, reads a znode of another owner, and leaves."""
        kind = random.choice(list(KINDS))
        who, machine = f"stranger{next(self.numbers)}", self.place[0]
        if machine.state != "running" or len(self.strangers) > 3:
            return
        client = self.strangers[who] = self.world.client(who, machine, **KINDS[kind][1])
        path = f"{self.path}/{random.choice(list(KINDS))}"

        def done(result: Any) -> None:
            if not isinstance(result, Failure):
                self.world.violated("secret", f"{who} has read {path}")
            elif result.check(NoAuthError):
                self.world.sometimes.reached("auth: refused by an ACL")
            elif result.check(AuthFailedError):
                self.world.sometimes.reached("auth: wrong password")
            else:
                self.explain(result)

        self.world.outcome(client.get(path), f"{who} reads {path}", done)
        self.later(random.choice((0.5, 2.0, 6.0)), lambda: self.leave(who), machine)

    def leave(self, who: str) -> None:
        """Close the client."""
        client = self.strangers.pop(who)
        self.world.clients = [one for one in self.world.clients if one[2] is not client]
        self.world.outcome(client.close(), f"{who} leaves", lambda result: None)

    def explain(self, failure: Failure) -> None:
        """Only what is documented may go wrong."""
        if not failure.check(*_EXPECTED):
            self.world.violated("no error", f"{failure.value!r}")

    @override
    def waiting(self) -> list[str]:
        return [f"owner-{kind} reads" for kind in sorted(self.asking)]
