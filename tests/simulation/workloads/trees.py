"""Trees that two clients import, and views that follow them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from random import Random
from typing import Any

from twisted.python.failure import Failure
from typing_extensions import override

from tests.simulation.workloads.base import Workload
from tests.simulation.world import World
from zkservice.client import ZooKeeperClient
from zkservice.errors import (
    ClientClosedError,
    ConnectionLossError,
    PlanFailedError,
    SessionExpiredError,
)
from zkservice.properties import decode
from zkservice.registry import live_children, live_properties
from zkservice.treesync import import_tree

TREES = (
    "/app : web\n  threads = 1\n  color = 'red'\n  /a\n    n = 1\n  /b\n    n = 1\n",
    "/app : web\n  threads = 2\n  color = 'blue'\n  /a\n    n = 2\n  /c\n    n = 2\n    /d\n",
)


class Trees(Workload):
    """Imports, each in one transaction, and views of the same nodes."""

    name = "tree"
    path = "/trees"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.importing = 0
        self.views: list[Any] = []
        self.last: tuple[Any, Any] | None = None
        self.client: Any = None
        # A view whose callback raises says so in the log.
        world.expected.append(lambda text: "a callback of the simulation" in text)

    @override
    def start(self) -> None:
        for number in range(2):
            who = f"tree{number}"
            machine = self.world.machine(who)
            client = self.client = self.world.client(who, machine)
            self.world.must_fire(client.ensure_path(self.path), f"{who} makes {self.path}")

            def act(random: Random, who: str = who, client: ZooKeeperClient = client) -> None:
                self.act(random, who, client)

            def view(
                random: Random,
                who: str = who,
                client: ZooKeeperClient = client,
                machine: Any = machine,
            ) -> None:
                self.view(random, who, client, machine)

            self.repeat(f"import{number}", 0.5, 8.0, act, machine)
            self.repeat(f"view{number}", 2.0, 10.0, view, machine)

    def act(self, random: Random, who: str, client: ZooKeeperClient) -> None:
        """Import one of two trees."""
        self.importing += 1
        if self.importing > 1:
            self.world.sometimes.reached("import beside another import")

        def done(result: Any) -> None:
            self.importing -= 1
            if isinstance(result, Failure) and not result.check(
                PlanFailedError, ConnectionLossError, ClientClosedError, SessionExpiredError
            ):
                self.world.violated("no error", f"{who} failed to import: {result.value!r}")

        importing = import_tree(
            client, random.choice(TREES), self.path, trim=True, create=True, atomic=True
        )
        self.world.outcome(importing, f"{who} imports", done)

    def view(self, random: Random, who: str, client: ZooKeeperClient, machine: Any) -> None:
        """Open another view, as long as there are few; its callback may raise."""
        if len(self.views) > 5:
            return
        raises = random.random() < 0.3
        make: Any = random.choice((live_children, live_properties))

        def changed(view: Any = None) -> None:
            self.world.note(f"{who} view", repr(view)[:100])
            if raises and view is not None and list(view):
                self.world.sometimes.reached("callback raised")
                raise RuntimeError("a callback of the simulation")

        def done(result: Any) -> None:
            if isinstance(result, Failure):
                return
            self.views.append(result)
            with contextlib.suppress(RuntimeError):
                result(changed)

        self.world.outcome(make(client, f"{self.path}/app", reactor=machine), f"{who} views", done)

    def there(self) -> dict[str, bytes]:
        """What the server has."""
        found = {}
        if self.world.ensemble.up:
            for path, data in self.world.ensemble.server.tree().items():
                if path.startswith(self.path + "/"):
                    found[path] = data or b""
        return found

    @override
    def check(self) -> None:
        colors = {
            data.split(b'"threads"')[-1]
            for path, data in self.there().items()
            if path.endswith("app")
        }
        numbers = {data for path, data in self.there().items() if path.rpartition("/")[2] in "abc"}
        if len(colors) > 1 or len(numbers) > 1:
            self.world.violated("whole", f"two trees at once: {self.there()}")

    @override
    def waiting(self) -> list[str]:
        node = self.world.node(f"{self.path}/app")
        if node is None or self.importing:
            return []
        found = []
        for view in self.views:
            names = sorted(node.children)
            if isinstance(view, Mapping):
                if dict(view) != decode(node.data or b""):
                    found.append(f"a view has {dict(view)}, the server {node.data!r}")
            elif list(view) != names:
                found.append(f"a view has {list(view)}, the server {names}")
        return found

    @override
    def close(self) -> None:
        self.views.clear()
