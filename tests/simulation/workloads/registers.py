"""Registers, pairs and numbers: plain calls of the client, and what every client sees."""

from __future__ import annotations

from itertools import count
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from typing_extensions import override

from tests.simulation.history import Register, Seen
from tests.simulation.machine import Machine
from tests.simulation.workloads.base import Workload
from tests.simulation.world import World
from zkservice.client import Retrying, ZooKeeperClient
from zkservice.errors import (
    BadVersionError,
    ClientClosedError,
    ConnectionLossError,
    NoNodeError,
    SessionExpiredError,
    TransactionFailedError,
)
from zkservice.recipes import Counter, retry_change
from zkservice.wire.session import State


class Registers(Workload):
    """Several clients read, write, compare and watch a few znodes."""

    name = "register"
    PATHS = ("/registers/a", "/registers/b")

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.registers = {path: Register(path, world.violated) for path in self.PATHS}
        self.versions: dict[tuple[str, str], int] = {}
        self.numbers = count(1)
        self.seen: list[Seen] = []
        self.machines: dict[str, Machine] = {}
        #: For each client the number of its connection, and the server's zxid at its start.
        self.connections: dict[str, tuple[int, int]] = {}

    @override
    def start(self) -> None:
        if self.world.ensemble.options["watch_semantics"] == "3.8":
            self.world.sometimes.reached("watch: of a server like 3.8")
        for number in range(3):
            who = f"register{number}"
            machine = self.machines[who] = self.world.machine(who)
            client = self.world.client(who, machine)
            seen = Seen(who, self.world.violated)
            self.seen.append(seen)
            self.count_connections(who, client)
            for path in self.PATHS:
                self.world.must_fire(client.ensure_path(path), f"{who} makes {path}")

            def act(
                random: Random, who: str = who, client: ZooKeeperClient = client, seen: Seen = seen
            ) -> None:
                for _ in range(random.choice((1, 1, 3))):
                    self.act(random, who, client, seen)

            self.repeat(str(number), 0.02, 1.5, act, machine)

    def count_connections(self, who: str, client: ZooKeeperClient) -> None:
        """Remember what the server had when a client connected."""
        self.connections[who] = 0, 0

        def changed(state: State) -> None:
            if state is State.CONNECTED and self.world.ensemble.up:
                number = self.connections[who][0] + 1
                self.connections[who] = number, self.world.ensemble.server.state.zxid

        client.subscribe(changed)

    def act(self, random: Random, who: str, client: ZooKeeperClient, seen: Seen) -> None:
        """One call."""
        path = random.choice(self.PATHS)
        kind = random.choice(("read", "read", "write", "compare", "watch", "both", "persist"))
        if kind == "read":
            self.read(who, path, client.get(path), seen)
        elif kind == "watch" and path not in seen.watching:
            self.watch(who, path, client, seen)
        elif kind == "persist" and random.random() < 0.3:
            self.persist(random, who, client)
        elif kind == "both":
            for one in self.PATHS:
                self.read(who, one, client.get(one), seen)
        elif kind in ("write", "compare"):
            expected = self.versions.get((who, path), -1) if kind == "compare" else -1
            again = expected >= 0 and random.random() < 0.5
            self.write(who, path, client, seen, expected, again=again)

    def read(self, who: str, path: str, getting: Deferred[Any], seen: Seen) -> None:
        """Read."""
        register, number = self.registers[path], seen.call()
        floor = register.called()

        def done(result: Any) -> None:
            if not isinstance(result, Failure):
                data, stat = result
                seen.ended(number, path, stat)
                register.read(data, stat, floor)
                self.versions[who, path] = stat.version
            else:
                self.explain(who, result)

        self.world.outcome(getting, f"{who} reads {path}", done)

    def watch(self, who: str, path: str, client: ZooKeeperClient, seen: Seen) -> None:
        """Read, and watch until the next change."""
        getting, watching = client.get_and_watch(path)
        register, number = self.registers[path], seen.call()
        floor = register.called()
        fired: list[object] = []
        connection = self.connections[who][0]

        def event(result: Any) -> None:
            fired.append(result)
            seen.watching.pop(path, None)
            number, zxid = self.connections[who]
            node = self.world.node(path)
            if number != connection and node is not None and node.stat.mzxid <= zxid:
                self.world.sometimes.reached("watch: event missed while disconnected")

        def done(result: Any) -> None:
            if isinstance(result, Failure):
                self.explain(who, result)
                return
            data, stat = result
            seen.ended(number, path, stat)
            register.read(data, stat, floor)
            if not fired:
                seen.watching[path] = stat.mzxid
                self.world.open[watching] = f"{who} watch of {path}", None

        self.world.outcome(getting, f"{who} reads and watches {path}", done)
        self.world.outcome(watching, f"{who} watch of {path}", event, must=False)

    def write(
        self,
        who: str,
        path: str,
        client: ZooKeeperClient,
        seen: Seen,
        expected: int,
        *,
        again: bool,
    ) -> None:
        """Write, perhaps only if the version is as expected, and perhaps as often as it takes."""
        register, number = self.registers[path], seen.call()
        value = b"%d" % next(self.numbers)
        write = register.writing(value, expected)

        def done(result: Any) -> None:
            if not isinstance(result, Failure):
                if not again:
                    seen.ended(number, path, result)
                register.written(write, result)
                self.versions[who, path] = result.version
                return
            error = result.value
            lost = isinstance(error, ConnectionLossError) and not error.maybe_applied
            if lost or isinstance(error, (BadVersionError, NoNodeError)):
                register.not_written(write)
            self.explain(who, result)

        writer: Any = client
        if again:
            jitter = self.world.choices.fixed(who)
            writer = Retrying(client, reactor=self.machines[who], random=jitter)
        setting: Deferred[Any] = writer.set(path, value, expected)
        self.world.outcome(setting, f"{who} writes {path} {value!r} at {expected}", done)

    def persist(self, random: Random, who: str, client: ZooKeeperClient) -> None:
        """Watch every change for a while, beside the watches for one change."""
        path, recursive = random.choice(((self.PATHS[0], False), ("/registers", True)))
        seconds = random.random() * 5

        def event(event: Any) -> None:
            self.world.note(who, f"hears of {event.path} at {event.zxid}")

        def done(result: Any) -> None:
            if not isinstance(result, Failure):
                self.later(
                    seconds,
                    lambda: self.world.must_fire(result.cancel(), f"{who} cancels a watch"),
                    self.machines[who],
                )

        adding = client.add_watch(path, event, recursive)
        self.world.outcome(adding, f"{who} adds a watch of {path}", done)

    @override
    def at_end(self) -> None:
        for seen in self.seen:
            for path, watched in seen.watching.items():
                node = self.world.node(path)
                if node is None or node.stat.mzxid != watched:
                    now = "gone" if node is None else f"at {node.stat.mzxid:#x}"
                    self.world.violated(
                        "event", f"{seen.who} watches {path} at {watched:#x}, which is {now}"
                    )

    def explain(self, who: str, failure: Failure) -> None:
        """Only what is documented may go wrong."""
        if not failure.check(
            BadVersionError,
            ConnectionLossError,
            NoNodeError,
            ClientClosedError,
            SessionExpiredError,
        ):
            self.world.violated("no error", f"{who}: {failure.value!r}")


class Pairs(Workload):
    """Two znodes that are only ever written together, and read by looking at the server."""

    name = "pair"
    PATHS = ("/pairs/a", "/pairs/b")

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.numbers = count(1)
        self.machines: dict[str, Machine] = {}

    @override
    def start(self) -> None:
        for number in range(2):
            who = f"pair{number}"
            machine = self.machines[who] = self.world.machine(who)
            client = self.world.client(who, machine)
            for path in self.PATHS:
                self.world.must_fire(client.ensure_path(path), f"{who} makes {path}")

            def act(random: Random, who: str = who, client: ZooKeeperClient = client) -> None:
                self.act(random, who, client)

            self.repeat(str(number), 0.05, 2.0, act, machine)

    def act(self, random: Random, who: str, client: ZooKeeperClient) -> None:
        """Write both, or, with an operation that must fail, none."""
        value, fails = b"%d" % next(self.numbers), random.random() < 0.3
        change = client.transaction()
        change.set(self.PATHS[0], value)
        if fails:
            change.check("/pairs/missing")
        change.set(self.PATHS[1], value)

        def done(result: Any) -> None:
            if not isinstance(result, Failure) and fails:
                self.world.violated("whole", f"{who}: a transaction that must fail succeeded")
            elif isinstance(result, Failure) and not result.check(
                TransactionFailedError, ConnectionLossError, ClientClosedError, SessionExpiredError
            ):
                self.world.violated("no error", f"{who}: {result.value!r}")

        self.world.outcome(change.commit(), f"{who} writes both {value!r}", done)

    @override
    def check(self) -> None:
        nodes = [self.world.node(path) for path in self.PATHS]
        if all(nodes) and nodes[0].data != nodes[1].data:
            self.world.violated("whole", f"{nodes[0].data!r} and {nodes[1].data!r}")


class Numbers(Workload):
    """A counter, and a list to which every client adds."""

    name = "number"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.sure = self.perhaps = 0
        self.words = count()
        self.added: set[str] = set()
        self.doubtful: set[str] = set()

    @override
    def start(self) -> None:
        for number in range(3):
            who = f"number{number}"
            machine = self.world.machine(who)
            client = self.world.client(who, machine)
            counter = Counter(client, "/numbers/counter", reactor=machine)

            def add(random: Random, who: str = who, counter: Counter = counter) -> None:
                self.world.outcome(counter.add(1), f"{who} counts", self.counted)

            def append(
                random: Random, who: str = who, client: Any = client, machine: Any = machine
            ) -> None:
                self.append(who, client, machine)

            self.repeat(f"count{number}", 0.3, 4.0, add, machine)
            self.repeat(f"append{number}", 0.3, 4.0, append, machine)

    def counted(self, result: Any) -> None:
        """An addition has ended."""
        if not isinstance(result, Failure):
            self.sure += 1
        else:
            self.perhaps += 1
            self.explain(result)

    def append(self, who: str, client: ZooKeeperClient, machine: Any) -> None:
        """Add a word to the list."""
        word = f"w{next(self.words)}"

        def change(data: bytes | None, stat: Any) -> bytes:
            return b" ".join([*(data or b"").split(), word.encode()])

        def done(result: Any) -> None:
            if not isinstance(result, Failure):
                self.added.add(word)
            else:
                self.doubtful.add(word)
                self.explain(result)

        changing = retry_change(client, "/numbers/list", change, reactor=machine)
        self.world.outcome(changing, f"{who} appends {word}", done)

    def explain(self, failure: Failure) -> None:
        """Only what is documented may go wrong."""
        if not failure.check(ConnectionLossError, ClientClosedError, SessionExpiredError):
            self.world.violated("no error", f"{failure.value!r}")

    @override
    def at_end(self) -> None:
        node = self.world.node("/numbers/counter")
        number = int(node.data or b"0") if node is not None else 0
        if not self.sure <= number <= self.sure + self.perhaps:
            self.world.violated(
                "counted", f"{number}, but {self.sure} sure and {self.perhaps} perhaps"
            )
        node = self.world.node("/numbers/list")
        words = (node.data or b"").decode().split() if node is not None else []
        if len(words) != len(set(words)):
            self.world.violated("counted", f"a word is twice in {words}")
        if lost := self.added - set(words):
            self.world.violated("counted", f"{sorted(lost)} were added, and are not there")
