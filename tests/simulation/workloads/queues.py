"""Queues: producers, consumers that finish, give back, or lose what they have."""

from __future__ import annotations

from functools import partial
from itertools import count
from random import Random
from typing import Any, ClassVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from typing_extensions import override

from tests.simulation.machine import Machine
from tests.simulation.workloads.base import Workload
from tests.simulation.world import World
from zkservice.errors import ClientClosedError, LeaseLostError
from zkservice.recipes import Queue, QueueItem, ReliableQueue, SerializedQueue
from zkservice.wire.session import State


class _QueueUsers(Workload):
    """Producers and consumers of one queue: what all kinds of queues have in common."""

    path: ClassVar[str]

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.asked: set[bytes] = set()  # to be put
        self.put: set[bytes] = set()  # confirmed
        self.getting: dict[Deferred[Any], str] = {}
        self.numbers = count()
        self.machines: dict[str, Machine] = {}

    def produce(self, random: Random, who: str, queue: Any) -> None:
        """Put an item."""
        item = b"%d" % next(self.numbers)
        self.asked.add(item)

        def done(result: Any) -> None:
            if not isinstance(result, Failure):
                self.put.add(item)

        putting = queue.put(item, random.choice((100, 100, 50)))
        self.world.outcome(putting, f"{who} puts {item!r}", done)

    def stop_waiting_after(self, seconds: float) -> None:
        """Have each consumer wait for an item no longer than so many seconds from now."""
        for who, machine in self.machines.items():
            self.later(seconds, partial(self._cancel, who), machine)

    def _cancel(self, who: str) -> None:
        for getting in [one for one, name in self.getting.items() if name == who]:
            getting.cancel()

    @override
    def waiting(self) -> list[str]:
        return [f"{who} gets" for who in self.getting.values()]


class Consumers(_QueueUsers):
    """A reliable queue: each item is done once, and stays until then."""

    name = "queue"
    path = "/queues/one"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        shape = world.choices.fixed("queue")
        self.kind: Any = shape.choice((ReliableQueue, ReliableQueue, SerializedQueue))
        self.done: list[bytes] = []  # confirmed
        self.doubtful: set[bytes] = set()  # perhaps done
        self.has: dict[str, QueueItem] = {}

    @override
    def start(self) -> None:
        for number in range(3):
            who = f"queue{number}"
            machine = self.machines[who] = self.world.machine(who)
            client = self.world.client(who, machine)
            queue = self.kind(client, self.path, reactor=machine)

            def produce(random: Random, who: str = who, queue: Any = queue) -> None:
                self.produce(random, who, queue)

            def consume(random: Random, who: str = who, queue: Any = queue) -> None:
                self.consume(random, who, queue)

            self.repeat(f"put{number}", 0.5, 5.0, produce, machine)
            self.repeat(f"get{number}", 0.2, 2.0, consume, machine)

    def consume(self, random: Random, who: str, queue: Any) -> None:
        """Get an item, and do it, or give it back."""
        if who in self.has or who in self.getting.values():
            return
        getting = queue.get()
        self.getting[getting] = who
        seconds, give_back = random.choice((0.0, 0.3, 3.0)), random.random() < 0.2
        if random.random() < 0.1:
            self.later(random.random(), getting.cancel, self.machines[who])

        def done(result: QueueItem | Failure) -> None:
            self.getting.pop(getting, None)
            if not isinstance(result, Failure):
                self.has[who] = result
                if result.data not in self.asked:
                    self.world.violated("once", f"{who} got {result.data!r}, which was never put")
                end = self.give_back if give_back else self.end
                self.later(seconds, lambda: end(who, result), self.machines[who])
            elif not result.check(CancelledError, ClientClosedError):
                self.world.violated("no error", f"{who} failed to get: {result.value!r}")

        self.world.outcome(getting, f"{who} gets", done)

    def end(self, who: str, item: QueueItem) -> None:
        """The work is done."""
        self.has.pop(who, None)

        def done(result: Any) -> None:
            if not isinstance(result, Failure):
                if item.data in self.done:
                    self.world.violated("once", f"{item.data!r} is done again, by {who}")
                self.done.append(item.data)
            elif result.check(LeaseLostError):
                self.world.sometimes.reached("queue: reservation lost")
                self.doubtful.add(item.data)
            elif not result.check(ClientClosedError):
                self.world.violated("no error", f"{who} failed to end: {result.value!r}")

        self.world.outcome(item.delete(), f"{who} ends {item.data!r}", done)

    def give_back(self, who: str, item: QueueItem) -> None:
        """The work is not done."""
        self.has.pop(who, None)
        self.world.sometimes.reached("queue: item given back")
        self.world.must_fire(item.release(), f"{who} gives {item.data!r} back")

    @override
    def finish(self) -> None:
        super().finish()
        self.stop_waiting_after(20.0)

    @override
    def at_end(self) -> None:
        node = self.world.node(self.path)
        names = sorted(node.children) if node is not None else []
        left = {
            self.world.node(f"{self.path}/{name}").data
            for name in names
            if name.startswith("entry-") and not name.endswith("-processing")
        }
        if made_up := left - self.asked:
            self.world.violated("once", f"{sorted(made_up)} are in the queue, and were not put")
        lost = self.put - left - set(self.done) - self.doubtful
        if lost:
            self.world.violated("not lost", f"{sorted(lost)} are neither done nor in the queue")
        if again := left & set(self.done):
            self.world.violated("once", f"{sorted(again)} are done, and still in the queue")


class Takers(_QueueUsers):
    """A plain queue: an item is deleted when it is taken."""

    name = "taker"
    path = "/queues/plain"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        #: Whether consumers give up waiting.  Then an item that was put back after a lost reply
        #: may be there twice, and nobody knows which one it is.
        self.give_up = world.choices.fixed("taker").random() < 0.5
        self.taken: dict[bytes, bool] = {}  # and whether the connection broke meanwhile
        self.breaks: dict[str, int] = {}

    @override
    def start(self) -> None:
        for number in range(3):
            who = f"{self.name}{number}"
            machine = self.machines[who] = self.world.machine(who)
            client = self.world.client(who, machine)
            self.count_breaks(who, client)
            queue = Queue(client, self.path, reactor=machine)

            def produce(random: Random, who: str = who, queue: Any = queue) -> None:
                self.produce(random, who, queue)

            def consume(random: Random, who: str = who, queue: Any = queue) -> None:
                if who not in self.getting.values():
                    self.consume(random, who, queue)

            self.repeat(f"put{number}", 0.5, 4.0, produce, machine)
            self.repeat(f"get{number}", 0.05, 1.0, consume, machine)

    def count_breaks(self, who: str, client: Any) -> None:
        """Count how often a client has lost its connection."""
        self.breaks[who] = 0

        def changed(state: State) -> None:
            self.breaks[who] += state is State.SUSPENDED

        client.subscribe(changed)

    def consume(self, random: Random, who: str, queue: Any) -> None:
        """Take an item; rarely give up."""
        getting, breaks = queue.get(), self.breaks[who]
        self.getting[getting] = who
        if self.give_up and random.random() < 0.2:
            self.later(random.random(), getting.cancel, self.machines[who])

        def done(result: Any) -> None:
            self.getting.pop(getting, None)
            if not isinstance(result, Failure):
                self.took(who, result, broken=self.breaks[who] != breaks)
            elif not result.check(CancelledError, ClientClosedError):
                self.world.violated("no error", f"{who} failed to get: {result.value!r}")

        self.world.outcome(getting, f"{who} gets", done)

    def took(self, who: str, item: bytes, *, broken: bool) -> None:
        """An item was taken."""
        if item not in self.asked:
            self.world.violated("taken", f"{who} got {item!r}, which was never put")
        if item in self.taken:
            if not (broken or self.taken[item] or self.give_up):
                self.world.violated("taken", f"{item!r} is taken again, by {who}")
            self.world.sometimes.reached("queue: item taken twice")
        self.taken[item] = broken

    @override
    def finish(self) -> None:
        if self.working:
            super().finish()
            self.stop_waiting_after(15.0)

    @override
    def at_end(self) -> None:
        node = self.world.node(self.path)
        names = sorted(node.children) if node is not None else []
        left = {self.world.node(f"{self.path}/{name}").data for name in names}
        if made_up := left - self.asked:
            self.world.violated("taken", f"{sorted(made_up)} are there, and were not put")
        if lost := self.put - left - set(self.taken):
            self.world.violated("not lost", f"{sorted(lost)} are neither taken nor in the queue")
