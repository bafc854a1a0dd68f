"""A model of watches: random programs for a client, and the events that it must receive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred

from zkservice.client import EventType, ZooKeeperClient
from zkservice.errors import ClientClosedError, ZooKeeperError

CREATED, DELETED, CHANGED, CHILDREN = (
    EventType.CREATED,
    EventType.DELETED,
    EventType.DATA_CHANGED,
    EventType.CHILDREN_CHANGED,
)
PATHS = ("/p", "/p/c", "/p/c/d")

#: The types of events that each kind of watch receives.
EVENT_TYPES = {
    "persistent": {CREATED, DELETED, CHANGED, CHILDREN},
    "recursive": {CREATED, DELETED, CHANGED},
    "get": {DELETED, CHANGED},
    "exists": {CREATED, DELETED, CHANGED},
    "children": {DELETED, CHILDREN},
}


class Op(NamedTuple):
    """One step of a program: watch or change a path, or cancel the watch with this number."""

    name: str
    path: str
    number: int = 0


paths = st.sampled_from(PATHS[:2])
watch_ops = st.builds(Op, st.sampled_from([*EVENT_TYPES, "persistent", "recursive"]), paths)
change_ops = st.builds(Op, st.sampled_from(["create", "set", "delete"]), st.sampled_from(PATHS))
cancel_ops = st.builds(Op, st.just("cancel"), st.just(""), st.integers(0, 5))
cuts = st.just(Op("cut", ""))
#: Steps that begin together.  A cancellation takes effect at once, so it is first.
batches = st.builds(
    lambda cancels, others: [*cancels, *others],
    st.lists(cancel_ops, max_size=1),
    st.lists(st.one_of(watch_ops, watch_ops, change_ops), min_size=1, max_size=3),
)
programs = st.lists(st.one_of(batches, batches, batches, cuts.map(lambda cut: [cut])), max_size=12)


def random_programs(count: int) -> list[list[list[Op]]]:
    """The same programs each time, for asynchronous tests, which Hypothesis cannot run."""
    found: list[list[list[Op]]] = []

    @settings(
        max_examples=count,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(programs)
    def collect(program: list[list[Op]]) -> None:
        found.append(program)

    collect()
    return found


class ModelWatch:
    """One watch: the events that it has received, and those that it should receive."""

    def __init__(self, kind: str, path: str) -> None:
        self.kind, self.path = kind, path
        self.on = True
        self.expected: list[tuple[EventType, str]] = []
        self.received: list[tuple[EventType, str]] = []
        self.cancel: Callable[[], object] = lambda: None

    @property
    def lasts(self) -> bool:
        """Whether it receives more than one event."""
        return self.kind in ("persistent", "recursive")

    def expect(self, type: EventType, path: str) -> None:
        """Expect an event, if it is one for this watch."""
        here = path == self.path
        below = self.kind == "recursive" and path.startswith(self.path + "/")
        if self.on and (here or below) and type in EVENT_TYPES[self.kind]:
            self.expected.append((type, path))
            self.on = self.lasts

    def record(self, event: Any) -> None:
        """Record an event."""
        if event.type is not EventType.NONE:
            self.received.append((event.type, event.path))

    def __repr__(self) -> str:
        return f"{self.kind} {self.path}: received {self.received}, expected {self.expected}"


class Driver:
    """A client that the test drives, and a model of the events that its watches get.

    Args:
        client: connected; its tree is empty.
        root: of the paths.
    """

    def __init__(self, client: ZooKeeperClient, root: str = "") -> None:
        self.client = client
        self.root = root
        self.nodes = {""}
        self.watches: list[ModelWatch] = []

    def do(self, op: Op) -> list[Deferred[Any]]:
        """Begin a step; returns the Deferreds to wait for."""
        if op.name == "cut":
            return []  # the test breaks the connection
        if op.name == "cancel":
            return self._cancel(op.number)
        if op.name in EVENT_TYPES:
            return self._watch(op.name, op.path)
        return self._change(op.name, op.path)

    def end(self) -> list[Deferred[Any]]:
        """Cancel all watches and delete all nodes."""
        pending = [one for _ in list(self.watches) for one in self._cancel(0)]
        for path in reversed(PATHS):
            pending += self._change("delete", path)
        return pending

    def _cancel(self, number: int) -> list[Deferred[Any]]:
        standing = [one for one in self.watches if one.on]
        if not standing:
            return []
        watching = standing[number % len(standing)]
        watching.on = False
        done = watching.cancel()
        return [done] if isinstance(done, Deferred) else []

    def _watch(self, kind: str, path: str) -> list[Deferred[Any]]:
        watching, at = ModelWatch(kind, path), self.root + path
        watching.on = watching.lasts or kind == "exists" or path in self.nodes
        self.watches.append(watching)
        if watching.lasts:
            adding = self.client.add_watch(at, watching.record, kind == "recursive")

            def added(handle: Any) -> None:
                watching.cancel = handle.cancel

            return [adding.addCallback(added)]
        ask = {
            "get": self.client.get_and_watch,
            "exists": self.client.exists_and_watch,
            "children": self.client.get_children_and_watch,
        }[kind]
        pair: Any = ask(at)
        value, watch = pair
        watch.addCallbacks(
            watching.record, lambda failure: failure.trap(CancelledError, ClientClosedError)
        )
        watching.cancel = watch.cancel
        return [value.addErrback(lambda failure: failure.trap(ZooKeeperError))]

    def _change(self, name: str, path: str) -> list[Deferred[Any]]:
        at, above = self.root + path, path.rpartition("/")[0]
        change: Any = getattr(self.client, name)
        done = change(at, b"") if name == "set" else change(at)
        if name == "create" and path not in self.nodes and above in self.nodes:
            self.nodes.add(path)
            self._expect((CREATED, path), (CHILDREN, above))
        elif name == "delete" and path in self.nodes and not self._has_children(path):
            self.nodes.remove(path)
            self._expect((DELETED, path), (CHILDREN, above))
        elif name == "set" and path in self.nodes:
            self._expect((CHANGED, path))
        return [done.addErrback(lambda failure: failure.trap(ZooKeeperError))]

    def _has_children(self, path: str) -> bool:
        return any(node.startswith(path + "/") for node in self.nodes)

    def _expect(self, *events: tuple[EventType, str]) -> None:
        for type, path in events:
            for watching in self.watches:
                watching.expect(type, path)

    def wrong_watches(self) -> list[ModelWatch]:
        """The watches that have received other events than expected."""
        strip = len(self.root)
        return [
            one
            for one in self.watches
            if [(type, path[strip:]) for type, path in one.received] != one.expected
        ]
