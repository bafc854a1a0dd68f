"""The commands about trees: export, import, set-property, validate, walk, rm, ln."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from zkservice.cli.context import Context, Exit
from zkservice.cli.options import (
    CommandOptions,
    ConfirmOptions,
    ExportOptions,
    ImportOptions,
    LinkOptions,
    RemoveOptions,
    SetPropertyOptions,
    ValidateOptions,
    WalkOptions,
)
from zkservice.cli.terminal import Terminal
from zkservice.errors import (
    ConfigurationError,
    NoNodeError,
    NotEmptyError,
    TreeSyntaxError,
    ZooKeeperError,
)
from zkservice.security import parse_acl
from zkservice.tree import TreeNode, format_tree, parse_tree
from zkservice.tree.grammar import parse_member
from zkservice.tree.plan import Create, Delete, Keep, Plan, SetACL, SetData, Write
from zkservice.treesync import Report, delete_tree, import_tree, read_named_tree
from zkservice.wire.acl import ACL, ANYONE, OPEN_ACL_UNSAFE
from zkservice.znodes import normalize
from zkservice.znodes import validate as validate_path
from zkservice.zookeeper import ZooKeeper

#: Nodes that are named when the user is asked whether to delete them.
_MAX_NAMED: Final = 10


class UserStopError(Exception):
    """The user has declined to confirm a change."""


async def export(context: Context, options: ExportOptions) -> Exit:
    """Write a tree."""
    terminal = context.terminal
    async with context.connected(options.hosts, options) as zk:
        with terminal.progress("reading") as progress:
            tree = await read_named_tree(
                zk.client,
                options.path,
                ephemeral=options.ephemeral,
                name=options.name,
                progress=progress,
            )
    if options.json:
        terminal.out_json({path: node.properties for path, node in tree.walk()})
        return Exit.DONE
    context.write_text(options.output, format_tree(tree))
    if options.output not in (None, "-"):
        terminal.note(f"exported {_nodes(_count(tree))} to {options.output}")
    return Exit.DONE


async def import_(context: Context, options: ImportOptions) -> Exit:
    """Make nodes match a tree."""
    terminal = context.terminal
    text, shown = context.read_text(options.file)
    tree = parse_text(text, shown, options.path)
    acl, began = _acl(options), time.monotonic()

    async def confirm(plan: Plan) -> None:
        await _confirm_deletions(context, plan, options)
        context.writing = True

    async with context.connected(options.hosts, options) as zk:
        with terminal.progress("comparing") as reading, terminal.progress("importing") as progress:
            report = await import_tree(
                zk.client,
                tree,
                options.path,
                trim=options.trim,
                acl=acl,
                create=True,
                dry_run=options.dry_run,
                atomic=options.atomic,
                reading=reading,
                progress=progress,
                should_stop=context.should_stop,
                before_apply=confirm,
            )
    return _report_result(
        context.terminal, options, report, f"imported {shown} into {options.path}", began
    )


async def rm(context: Context, options: RemoveOptions) -> Exit:
    """Delete a node; with -r, all nodes below it, too."""
    terminal = context.terminal
    path, began = normalize(options.path), time.monotonic()
    if path == "/":
        raise ConfigurationError("the root cannot be deleted; name a node below it")

    async def confirm(plan: Plan) -> None:
        if options.recursive and not context.writing:  # asked once, not at each attempt
            await _confirm_deletions(context, plan, options)
        context.writing = True

    async with context.connected(options.hosts, options) as zk:
        if not options.recursive and await zk.get_children(path):
            raise NotEmptyError(path, "the node has children; use -r to delete them, too")
        with terminal.progress("reading") as reading, terminal.progress("deleting") as progress:
            report = await delete_tree(
                zk.client,
                path,
                dry_run=options.dry_run,
                force=options.force,
                reading=reading,
                progress=progress,
                should_stop=context.should_stop,
                before_apply=confirm,
            )
    kept = any(isinstance(change, Keep) for change in report.plan.changes)
    code = _report_result(
        context.terminal, options, report, f"{'kept' if kept else 'deleted'} {path}", began
    )
    return Exit.FAILED if kept and code is Exit.DONE and not options.dry_run else code


async def set_property(context: Context, options: SetPropertyOptions) -> Exit:
    """Change properties of a node; all of them are read before the first is changed."""
    properties: dict[str, Any] = {}
    for text in options.properties:
        try:
            name, value = parse_member(text)
        except TreeSyntaxError as error:
            raise ConfigurationError(f"{text}: {error.problem}, column {error.column}") from None
        properties[name] = value
    async with context.connected(options.hosts, options) as zk:
        node = await zk.properties(options.path, watch=False)
        await node.update(properties)
    if options.json:
        context.terminal.out_json(node.copy())
    else:
        context.terminal.note(f"set {', '.join(sorted(properties))} of {node.real_path}")
    return Exit.DONE


async def validate(context: Context, options: ValidateOptions) -> Exit:
    """Check the text of a tree, and warn of links that form a loop."""
    validate_path(options.at)
    terminal = context.terminal
    text, shown = context.read_text(options.file)
    warnings: list[TreeSyntaxError] = []
    tree = parse_text(text, shown, options.at, warnings.append)
    lines = [_with_place(shown, error, "warning: ") for error in warnings]
    if options.json:
        terminal.out_json({"file": shown, "nodes": _count(tree), "warnings": lines})
        return Exit.DONE
    for line in lines:
        terminal.warn(line)
    result = f"{len(lines):,} warning{'' if len(lines) == 1 else 's'}" if lines else "no mistakes"
    terminal.note(f"{shown}: {_nodes(_count(tree))}, {result}")
    return Exit.DONE


async def walk(context: Context, options: WalkOptions) -> Exit:
    """Print paths."""
    terminal = context.terminal
    async with context.connected(options.hosts, options) as zk:
        with terminal.progress("reading") as progress:
            tree = await read_named_tree(
                zk.client, options.path, ephemeral=options.ephemeral, progress=progress
            )
    path = normalize(options.path)
    top = tree if path == "/" else next(iter(tree.children.values()))
    paths = [below for below, _ in top.walk(path)]
    if options.json:
        terminal.out_json(paths)
    else:
        terminal.out("\n".join(paths))
    return Exit.DONE


async def ln(context: Context, options: LinkOptions) -> Exit:
    """Make a symbolic link."""
    terminal = context.terminal
    async with context.connected(options.hosts, options) as zk:
        source = await zk.ln(options.target, options.source)
        problem = await _link_problem(zk, source, options.target)
    if options.json:
        terminal.out_json({"source": source, "target": options.target})
    else:
        terminal.note(f"{source} -> {options.target}")
    if problem:
        terminal.warn(f"warning: {source} leads nowhere: {problem}")
    return Exit.DONE


async def _link_problem(zk: ZooKeeper, link: str, target: str) -> str:
    """Why a new link cannot be followed; "" if it can."""
    try:
        await zk.resolve(link)
    except NoNodeError:
        return f"{target} does not exist"
    except ZooKeeperError as error:
        return str(error)
    return ""


def parse_text(
    text: str, shown: str, at: str, warn: Callable[[TreeSyntaxError], object] | None = None
) -> TreeNode:
    """Parse a tree; errors are written as compilers do, ``file:line:column: what``."""
    try:
        return parse_tree(text, normalize(at), warn=warn)
    except TreeSyntaxError as error:
        raise ConfigurationError(_with_place(shown, error)) from None


def _with_place(shown: str, error: TreeSyntaxError, kind: str = "") -> str:
    _, _, what = str(error).partition(": ")
    return f"{shown}:{error.line}:{error.column}: {kind}{what}"


def _acl(options: ImportOptions) -> tuple[ACL, ...]:
    if options.acl is not None:
        return parse_acl(options.acl)
    if options.permission is not None:
        return (ACL(options.permission, ANYONE),)
    return tuple(OPEN_ACL_UNSAFE)


async def _confirm_deletions(context: Context, plan: Plan, options: ConfirmOptions) -> None:
    """Ask the user at a terminal, unless --yes was given.

    Raises:
        UserStopError: the reply is not yes.
    """
    terminal = context.terminal
    paths = [change.path for change in plan.writes if isinstance(change, Delete)]
    if not paths or options.yes or not terminal.interactive:
        return
    for path in paths[:_MAX_NAMED]:
        terminal.note(f"  {path}")
    if len(paths) > _MAX_NAMED:
        terminal.note(f"  and {len(paths) - _MAX_NAMED:,} more")
    if not await terminal.ask(f"Delete {_nodes(len(paths))}?", context.reactor):
        raise UserStopError("nothing was changed")


def _report_result(
    terminal: Terminal, options: CommandOptions, report: Report, what: str, began: float
) -> Exit:
    """Print a report and its summary."""
    if options.json:
        terminal.out_json(_as_json(report))
    else:
        for line in report.lines:
            terminal.change(line)
    outcome = report.outcome
    if outcome is None:
        terminal.note(f"dry run: {_summary(report.plan)}; nothing was changed")
        return Exit.DONE
    if outcome.stopped:
        terminal.note(
            f"stopped: {outcome.done:,} of {outcome.total:,} changes were made; "
            "the same command does the rest"
        )
        return Exit.STOPPED
    seconds = time.monotonic() - began
    terminal.note(f"{what}: {_summary(report.plan)} in {seconds:.1f} s")
    return Exit.DONE


def _summary(plan: Plan) -> str:
    kinds = Counter(type(change) for change in plan.changes)
    words = {
        Create: "created",
        SetData: "changed",
        SetACL: "given another ACL",
        Delete: "deleted",
        Keep: "kept",
    }
    parts = [f"{kinds[kind]:,} {word}" for kind, word in words.items() if kinds[kind]]
    return ", ".join(parts) or "nothing to change"


def _as_json(report: Report) -> dict[str, Any]:
    outcome = report.outcome
    return {
        "changes": [_change(change) for change in report.plan.changes],
        "done": None if outcome is None else outcome.done,
        "total": len(report.plan.writes),
        "warnings": [str(loop) for loop in report.plan.loops],
    }


def _change(change: Write | Keep) -> dict[str, Any]:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(change).__name__).lower()  # "set data"
    values: dict[str, Any] = {"change": words, "path": change.path}
    if isinstance(change, SetData):
        values |= {"old": change.old, "new": change.new}
    elif isinstance(change, Keep):
        values["why"] = change.reason.value
    return values


def _count(tree: TreeNode) -> int:
    return sum(1 for _ in tree.walk()) - 1


def _nodes(count: int) -> str:
    return f"{count:,} node{'' if count == 1 else 's'}"
