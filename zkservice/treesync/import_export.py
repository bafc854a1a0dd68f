"""Import, export and delete whole trees."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from twisted.internet.defer import Deferred

from zkservice.client import ZooKeeperClient
from zkservice.errors import InvalidPathError, TreeChangedError
from zkservice.tree.grammar import parse_tree
from zkservice.tree.model import TreeNode
from zkservice.tree.plan import Acl, Keep, KeepReason, Plan, Trim
from zkservice.tree.plan_text import PlanLine, describe_dry_run, describe_kept
from zkservice.treesync.bounded_requests import Progress, no_progress
from zkservice.treesync.reading import make_delete_plan, make_import_plan, read_tree
from zkservice.treesync.writing import Outcome, apply_plan, never_stop
from zkservice.wire.acl import OPEN_ACL_UNSAFE
from zkservice.znodes import join, name_problem, normalize, split

#: Attempts to delete a tree to which other clients add nodes at the same time.
ATTEMPTS: Final = 10


@dataclass(frozen=True)
class Report:
    """What a change of a tree did or would do: lines for people, the plan for programs.

    ``str(report)`` is the text of all lines, and iterating over it yields them.
    """

    lines: tuple[PlanLine, ...]  #: strings, one for each change or warning
    plan: Plan  #: the changes, as objects
    outcome: Outcome | None = None  #: how many changes were made; None for a dry run

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def __iter__(self) -> Iterator[str]:
        return iter(self.lines)


async def _no_preparation(plan: Plan) -> None:
    """Do nothing before the plan is applied."""


def import_tree(
    client: ZooKeeperClient,
    text: str | TreeNode,
    path: str = "/",
    *,
    trim: Trim = None,
    acl: Acl = OPEN_ACL_UNSAFE,
    create: bool = False,
    dry_run: bool = False,
    atomic: bool = False,
    reading: Progress = no_progress,
    progress: Progress = no_progress,
    should_stop: Callable[[], bool] = never_stop,
    before_apply: Callable[[Plan], Awaitable[object]] = _no_preparation,
) -> Deferred[Report]:
    """Make the nodes below ``path`` equal to a tree.

    See `make_import_plan` and `apply_plan` for the other arguments and errors.

    Args:
        text: the tree language, or a tree.
        reading: the progress of reading, ``progress`` that of writing.
        before_apply: awaited with the plan before it is applied.

    Fails with:
        TreeSyntaxError: with line and column; nothing was changed.
        InvalidPathError: a node has an invalid name; nothing was changed.
    """

    async def run() -> Report:
        node_path = normalize(path)
        tree = _checked(text) if isinstance(text, TreeNode) else parse_tree(text, node_path)
        plan = await make_import_plan(
            client, tree, node_path, acl=acl, trim=trim, create=create, progress=reading
        )
        if dry_run:
            return Report(tuple(describe_dry_run(plan)), plan)
        await before_apply(plan)
        outcome = await apply_plan(
            client, plan, atomic=atomic, progress=progress, should_stop=should_stop
        )
        return Report(tuple(describe_kept(plan)), plan, outcome)

    return Deferred.fromCoroutine(run())


def _checked(tree: TreeNode) -> TreeNode:
    """Check the names of a tree that a program has made."""
    for path, node in tree.walk():
        for name in node.children:
            problem = name_problem(name)
            if problem is not None:
                raise InvalidPathError(join(path, name), problem)
    return tree


def read_named_tree(
    client: ZooKeeperClient,
    path: str = "/",
    *,
    ephemeral: bool = False,
    name: str | None = None,
    progress: Progress = no_progress,
) -> Deferred[TreeNode]:
    """A node and its descendants, as a tree that can be formatted or imported elsewhere.

    The node at ``path`` is a child of the tree's root, under ``name`` or its own name.
    ``/`` without a name is the root itself; ``/zookeeper`` is left out.

    Fails with:
        NoNodeError: there is no such node.
    """

    async def run() -> TreeNode:
        node_path = normalize(path)
        problem = name_problem(name) if name else None
        if problem is not None:
            raise InvalidPathError(name, problem)
        stored = await read_tree(client, node_path, progress=progress)
        if node_path == "/":
            stored.children.pop("zookeeper", None)
        tree, top = stored.to_tree(ephemeral=ephemeral), name or split(node_path)[1]
        return TreeNode({}, {top: tree}) if top else tree

    return Deferred.fromCoroutine(run())


def delete_tree(
    client: ZooKeeperClient,
    path: str,
    *,
    dry_run: bool = False,
    force: bool = False,
    ignore_if_ephemeral: bool = False,
    reading: Progress = no_progress,
    progress: Progress = no_progress,
    should_stop: Callable[[], bool] = never_stop,
    before_apply: Callable[[Plan], Awaitable[object]] = _no_preparation,
) -> Deferred[Report]:
    """Delete a node and its descendants, except ephemeral nodes and their ancestors.

    If other clients change the tree meanwhile, it is read again, and the rest is deleted.

    Args:
        client: connected.
        path: the node; not the root.
        dry_run: change nothing, and report what would be done.
        force: delete ephemeral nodes as well.
        ignore_if_ephemeral: do not report the node itself if it is ephemeral.
        reading: called with the number of nodes read, and of those known so far.
        progress: called with the number of changes made, and of all.
        should_stop: called before each change; True stops.
        before_apply: awaited with each plan before it is applied.

    Fails with:
        NoNodeError: there is no such node.
        InvalidPathError: it is the root.
        TreeChangedError: other clients add nodes as fast as they are deleted.
    """

    async def run() -> Report:
        node_path = normalize(path)
        for attempt in range(1, ATTEMPTS + 1):
            plan = await make_delete_plan(client, node_path, force=force, progress=reading)
            if ignore_if_ephemeral:
                plan = _without(plan, Keep(node_path, KeepReason.EPHEMERAL))
            if dry_run:
                return Report(tuple(describe_dry_run(plan)), plan)
            await before_apply(plan)
            try:
                outcome = await apply_plan(client, plan, progress=progress, should_stop=should_stop)
                break
            except TreeChangedError:
                if attempt == ATTEMPTS:
                    raise
        return Report(tuple(describe_kept(plan)), plan, outcome)

    return Deferred.fromCoroutine(run())


def _without(plan: Plan, unwanted: Keep) -> Plan:
    return replace(plan, changes=tuple(one for one in plan.changes if one != unwanted))
