"""Parties, and a persistent ephemeral node that several clients want."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from typing_extensions import override

from tests.simulation.machine import Machine
from tests.simulation.workloads.base import Workload
from tests.simulation.world import World
from zkservice.recipes import Membership, Party, PersistentEphemeralNode


class Members(Workload):
    """Members join, leave, and stay over everything else; one node has one owner."""

    name = "member"
    path = "/parties/one"
    node = "/parties-node"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.present: list[tuple[Membership, Machine]] = []
        self.joining: dict[Deferred[Any], str] = {}
        self.nodes: list[PersistentEphemeralNode] = []
        self.wanted: set[int] = set()
        self.clients: list[Any] = []

    @override
    def start(self) -> None:
        for number in range(3):
            who = f"member{number}"
            machine = self.world.machine(who)
            client = self.world.client(who, machine)
            self.clients.append(client)
            party = Party(client, self.path, who, reactor=machine)
            self.nodes.append(
                PersistentEphemeralNode(client, self.node, who.encode(), reactor=machine)
            )

            def act(
                random: Random,
                number: int = number,
                party: Party = party,
                machine: Machine = machine,
            ) -> None:
                self.act(random, number, party, machine)

            self.repeat(str(number), 0.3, 5.0, act, machine)

    def act(self, random: Random, number: int, party: Party, machine: Machine) -> None:
        """Join or leave; want the node, or not any more."""
        kind = random.choice(("join", "leave", "want", "give up"))
        who = f"member{number}"
        if kind == "join" and len(self.present) < 6:
            self.join(who, party, machine)
        elif kind == "leave":
            mine = [one for one in self.present if one[1] is machine]
            if mine:
                self.present.remove(mine[0])
                self.world.must_fire(mine[0][0].leave(), f"{who} leaves")
        elif kind == "want" and number not in self.wanted:
            self.wanted.add(number)
            self.world.must_fire(self.nodes[number].create(), f"{who} wants the node")
        elif kind == "give up" and number in self.wanted:
            self.wanted.discard(number)
            self.world.must_fire(self.nodes[number].delete(), f"{who} gives the node up")

    def join(self, who: str, party: Party, machine: Machine) -> None:
        """Become a member."""
        joining = party.join()
        self.joining[joining] = who

        def done(result: Any) -> None:
            self.joining.pop(joining)
            if not isinstance(result, Failure):
                self.present.append((result, machine))

        self.world.outcome(joining, f"{who} joins", done)

    @override
    def waiting(self) -> list[str]:
        found = [f"{who} joins" for who in self.joining.values()]
        parent = self.world.node(self.path)
        there = sorted(parent.children) if parent is not None else []
        wanted = sorted(one.path.rpartition("/")[2] for one, _ in self.present)
        if there != wanted:
            found.append(f"the members are {there}, and should be {wanted}")
        node = self.world.node(self.node)
        owners = {client.client_id[0] for client in self.clients if client.client_id}
        if (node is not None) != bool(self.wanted):
            found.append(f"{sorted(self.wanted)} want the node, which is {node}")
        elif node is not None and node.stat.ephemeral_owner not in owners:
            found.append("the node is nobody's")
        held = [number for number, one in enumerate(self.nodes) if one.present]
        if len(held) != min(1, len(self.wanted)):
            found.append(f"{held} have the node")
        return found

    @override
    def close(self) -> None:
        for one, machine in self.present:
            if machine.state == "running":
                self.world.must_fire(one.leave(), "a member leaves")
        for node in self.nodes:
            self.world.must_fire(node.delete(), "the node is given up")
