"""Compare import and export with zc.zk's way: one blocking kazoo call after the other.

Claims, for 10,000 nodes on one real server: export at least 10 times as fast, first import at
least 8 times, import without change at least 10 times and without a write.  100,000 nodes
take memory in proportion to what they are, and no more time than ten times 10,000.

    python -m benchmarks.tree [--nodes N] [--rounds N] [--hosts HOST:PORT] [--only-ours]

Without ``--hosts`` it starts an Apache ZooKeeper of its own.  The contenders take turns, each
in a process of its own, on the same tree; the table has medians of the rounds, in seconds.
Reading and writing the tree's text is part of all of them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from statistics import median
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from zkservice.client import ZooKeeperClient
from zkservice.tree import TreeNode, decode, encode, format_tree, parse_tree
from zkservice.treesync import delete_tree, import_tree, read_named_tree, read_tree

PATH = "/benchmark-tree"

#: The result of a contender: seconds by the name of the phase.
Figures = dict[str, Any]


def make_text(count: int) -> str:
    """A tree of services with providers, as text; about 100 nodes to a service."""
    root = TreeNode()
    made = 0
    while made < count:
        service = root.children[f"service-{made:06}"] = TreeNode({"type": "z4m", "threads": 4})
        providers = service.children["providers"] = TreeNode()
        made += 2
        for i in range(min(98, count - made)):
            properties = {"pid": 10_000 + i, "monitor": f"10.0.0.{i}:9090", "weight": i / 4}
            providers.children[f"10.0.{made % 250}.{i}:8080"] = TreeNode(properties)
        made += len(providers.children)
    return format_tree(root)


# -- ours


def in_a_reactor(run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine function to its end."""
    try:
        react(lambda _: Deferred.fromCoroutine(run()), [])
    except SystemExit as end:
        if end.code:
            raise


def ours(hosts: str, text: str) -> Figures:
    """This package."""
    figures: Figures = {}

    async def run() -> None:
        client = await ZooKeeperClient(hosts, 30.0).connect(timeout=10)
        await client.ensure_path(PATH)
        began = time.perf_counter()
        await import_tree(client, text, PATH)
        figures["first import"] = time.perf_counter() - began
        before = await read_tree(client, PATH)
        began = time.perf_counter()
        report = await import_tree(client, text, PATH)
        figures["import again"] = time.perf_counter() - began
        # versions and all: nothing was written
        figures["writes"] = len(report.plan.writes) + (before != await read_tree(client, PATH))
        del before, report
        began = time.perf_counter()
        exported = format_tree(await read_named_tree(client, PATH))
        figures["export"] = time.perf_counter() - began
        figures["nodes"] = exported.count("/10.0.") + 2 * exported.count("/service-")
        began = time.perf_counter()
        await delete_tree(client, PATH)
        figures["delete"] = time.perf_counter() - began
        await client.close()

    in_a_reactor(run)
    return figures


# -- zc.zk's way


def kazoo(hosts: str, text: str) -> Figures:
    """The algorithm of zc.zk 2.1, over kazoo's blocking calls."""
    from kazoo.client import KazooClient
    from kazoo.security import OPEN_ACL_UNSAFE

    client = KazooClient(hosts, timeout=30.0)
    client.start()

    def load(path: str, node: TreeNode, top: bool) -> None:
        if not top:
            for name in client.get_children(path):
                if name not in node.children:
                    raise AssertionError("the benchmark's tree has no extra nodes")
        for name, child in sorted(node.children.items()):
            below = f"{path}/{name}"
            data = encode(child.properties)
            if client.exists(below):
                client.set(below, data)
                if client.get_acls(below)[0] != OPEN_ACL_UNSAFE:
                    raise AssertionError("the benchmark's tree has no other ACLs")
            else:
                client.create(below, data, OPEN_ACL_UNSAFE)
            load(below, child, False)

    def dump(path: str) -> TreeNode:
        node = TreeNode(decode(client.get(path)[0]))
        for name in sorted(client.get_children(path)):
            below = f"{path}/{name}"
            if not client.get(below)[1].ephemeralOwner:
                node.children[name] = dump(below)
        return node

    figures: Figures = {}
    client.ensure_path(PATH)
    for phase in ("first import", "import again"):
        began = time.perf_counter()
        load(PATH, parse_tree(text), True)
        figures[phase] = time.perf_counter() - began
    began = time.perf_counter()
    format_tree(dump(PATH))
    figures["export"] = time.perf_counter() - began
    began = time.perf_counter()
    client.delete(PATH, recursive=True)
    figures["delete"] = time.perf_counter() - began
    client.stop()
    client.close()
    return figures


CONTENDERS: dict[str, Callable[[str, str], Figures]] = {"ours": ours, "zc.zk's way": kazoo}
PHASES = {"first import": 8.0, "import again": 10.0, "export": 10.0, "delete": None}


# -- the comparison


def in_a_process(name: str, hosts: str, nodes: int) -> Figures:
    """Run a contender in a process of its own; return its figures."""
    words = ["--contender", name, "--hosts", hosts, "--nodes", str(nodes)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.tree", *words],
        stdout=subprocess.PIPE,
        check=True,
        timeout=600,
    )
    figures: Figures = json.loads(done.stdout)
    return figures


def compare(hosts: str, nodes: int, rounds: int, only_ours: bool) -> None:
    """Let them take turns, and show the medians."""
    names = ["ours"] if only_ours else list(CONTENDERS)
    found: dict[str, list[Figures]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            found[name].append(in_a_process(name, hosts, nodes))
    ours_found = found["ours"]
    print(f"{ours_found[0]['nodes']:,} nodes, medians of {rounds} rounds, in seconds")
    for phase, claim in PHASES.items():
        times = {name: median(one[phase] for one in found[name]) for name in names}
        line = f"{phase:<14}" + "".join(f"{name} {took:8.2f}   " for name, took in times.items())
        if not only_ours:
            line += f"ratio {times[names[1]] / times['ours']:6.1f}"
            line += f"   (claim {claim:g})" if claim else ""
        print(line)
    print(f"writes of importing again: {max(one['writes'] for one in ours_found)}")
    print(f"our most memory: {max(one['memory'] for one in ours_found) / 1024:,.0f} MiB")


def main() -> None:
    """Run one contender, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hosts")
    parser.add_argument("--only-ours", action="store_true")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        figures = CONTENDERS[options.contender](options.hosts, make_text(options.nodes))
        figures["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps(figures))
    elif options.hosts:
        compare(options.hosts, options.nodes, options.rounds, options.only_ours)
    else:
        from zkservice.testing.apache import ApacheZooKeeper

        server = ApacheZooKeeper()
        server.start()
        try:
            compare(server.connection_string, options.nodes, options.rounds, options.only_ours)
        finally:
            server.remove()


if __name__ == "__main__":
    main()
