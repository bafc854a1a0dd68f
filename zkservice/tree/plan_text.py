"""Describe a plan in lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Final

from typing_extensions import Self

from zkservice.properties import Value, canonical
from zkservice.tree.model import SYMLINK
from zkservice.tree.plan import Create, Delete, Keep, KeepReason, Plan, SetACL, SetData
from zkservice.znodes import split

_KEPT: Final = {
    KeepReason.ABOVE_EPHEMERAL: "{path} not deleted due to ephemeral descendent.",
    KeepReason.NOT_ASKED: "extra path not trimmed: {path}",
}


class Effect(Enum):
    """What happens to the node or property that a line names."""

    ADDED = "added"
    REMOVED = "removed"
    OTHER = "other"


class PlanLine(str):
    """A line of text about a plan.

    Attributes:
        effect: what happens to the node or property, so that lines can be coloured.
    """

    __slots__ = ("effect",)
    effect: Effect

    def __new__(cls, text: str, effect: Effect = Effect.OTHER) -> Self:
        """Make a line."""
        line = super().__new__(cls, text)
        line.effect = effect
        return line


def describe_dry_run(plan: Plan) -> Iterator[PlanLine]:
    """What applying the plan would do; a new node stands for its descendants."""
    created: set[str] = set()
    yield from _warnings(plan)
    for change in plan.changes:
        if isinstance(change, Create):
            created.add(change.path)
            if split(change.path)[0] not in created:
                yield PlanLine(f"add {change.path}", Effect.ADDED)
        elif isinstance(change, SetData):
            yield from _differences(change)
        elif isinstance(change, SetACL):
            yield PlanLine(f"{change.path} ACL change from {change.old} to {change.acl}")
        elif isinstance(change, Delete):
            yield PlanLine(f"would delete {change.path}.", Effect.REMOVED)
        elif change.reason is KeepReason.EPHEMERAL:
            yield PlanLine(f"wouldn't delete {change.path} because it's ephemeral.")
        else:
            yield PlanLine(_KEPT[change.reason].format(path=change.path))


def describe_kept(plan: Plan) -> Iterator[PlanLine]:
    """The nodes that applying the plan leaves alone, after warnings about loops."""
    yield from _warnings(plan)
    for change in plan.changes:
        if isinstance(change, Keep):
            if change.reason is KeepReason.EPHEMERAL:
                yield PlanLine(f"Not deleting {change.path} because it's ephemeral.")
            else:
                yield PlanLine(_KEPT[change.reason].format(path=change.path))


def _warnings(plan: Plan) -> Iterator[PlanLine]:
    return (PlanLine(f"warning: {loop}") for loop in plan.loops)


def _differences(change: SetData) -> Iterator[PlanLine]:
    """Changes of old properties, then the new ones."""
    path, old, new = change.path, change.old, change.new
    for name, value in sorted(old.items()):
        if name not in new:
            yield PlanLine(f"{path} remove {_member(name, value)}", Effect.REMOVED)
        elif canonical(new[name]) != canonical(value):
            shown = f"{name[: -len(SYMLINK)]} link" if name.endswith(SYMLINK) else name
            yield PlanLine(f"{path} {shown} change from {value} to {new[name]}")
    for name, value in sorted(new.items()):
        if name not in old:
            yield PlanLine(f"{path} add {_member(name, value)}", Effect.ADDED)


def _member(name: str, value: Value) -> str:
    return f"link {name} {value}" if name.endswith(SYMLINK) else f"property {name} = {value}"
