"""What has to be done so that stored nodes become a wanted tree, as data.

A plan is made before anything is changed: it can be printed, carried out, or thrown
away.  Each change knows the version of what it was made for, so that carrying it out
late fails instead of undoing what others did in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, TypeAlias

from zkservice.errors import InvalidPathError
from zkservice.properties import Properties, canonical, decode, encode
from zkservice.tree.loops import Loop, loops
from zkservice.tree.model import TreeNode
from zkservice.znodes import join

#: An access control list: this package compares it and hands it on, no more.
Acl: TypeAlias = Sequence[Any]


@dataclass(slots=True)
class Stored:
    """A node as it was read from a server.

    ``acl`` is None where it was not read.  ``children`` may be fewer than the node
    has where nothing depends on them.
    """

    data: bytes | None = b""
    version: int = 0
    ephemeral: bool = False
    acl: Acl | None = None
    aversion: int = 0
    children: dict[str, Stored] = field(default_factory=dict)

    def to_tree(self, *, ephemeral: bool = False) -> TreeNode:
        """The tree of it, ephemeral nodes on request."""
        root = TreeNode(decode(self.data))
        pending = [(self, root)]
        while pending:
            stored, node = pending.pop()
            for name, child in stored.children.items():
                if ephemeral or not child.ephemeral:
                    node.children[name] = TreeNode(decode(child.data))
                    pending.append((child, node.children[name]))
        return root


@dataclass(frozen=True)
class Create:
    """A node that is missing."""

    path: str
    data: bytes
    acl: Acl


@dataclass(frozen=True)
class SetData:
    """A node whose properties differ."""

    path: str
    old: Properties
    new: Properties
    data: bytes
    version: int


@dataclass(frozen=True)
class SetACL:
    """A node whose access control list differs."""

    path: str
    old: Acl
    acl: Acl
    aversion: int


@dataclass(frozen=True)
class Delete:
    """A node that has to go; those below it come before it."""

    path: str
    version: int


class KeepReason(Enum):
    """Why a node that could be deleted is kept."""

    EPHEMERAL = "it is ephemeral"
    ABOVE_EPHEMERAL = "a node below it is ephemeral"
    NOT_ASKED = "the tree does not have it, but trimming was not asked for"


@dataclass(frozen=True)
class Keep:
    """A node that is left alone, which the user should hear of."""

    path: str
    reason: KeepReason


Write: TypeAlias = "Create | SetData | SetACL | Delete"
Change: TypeAlias = "Write | Keep"

#: Trim, leave alone and say so, or leave alone.
Trim: TypeAlias = "bool | None"


@dataclass(frozen=True)
class Plan:
    """Changes, in an order in which they can be carried out.

    ``loops`` are links of the wanted tree that lead in a loop.  They are stored as they
    are: resolving one of them fails with `LinkLoopError`.
    """

    changes: tuple[Change, ...] = ()
    loops: tuple[Loop, ...] = ()

    @property
    def writes(self) -> tuple[Write, ...]:
        """The changes that change something."""
        return tuple(change for change in self.changes if not isinstance(change, Keep))

    def count(self, kind: type[Change]) -> int:
        """How many changes are of a kind."""
        return sum(isinstance(change, kind) for change in self.changes)


def plan_import(
    tree: TreeNode, stored: Stored, path: str = "/", *, acl: Acl, trim: Trim = None
) -> Plan:
    """What makes the nodes at and below ``path`` those of the tree.

    The node at ``path`` is the tree's root: it gets the root's properties, if there are
    any, and keeps its ACL and the nodes directly below it that the tree does not name.

    Args:
        tree: what is wanted.
        stored: what is there: the nodes that the tree names, with ACLs, and the names
            of their other children; with ``trim``, these children whole.
        path: where the tree goes.
        acl: for every node of the tree.
        trim: True deletes nodes below those of the tree that the tree does not name,
            unless they are ephemeral or hold such; None lists them, False ignores them.
    """
    changes = tuple(_import_changes(tree, stored, path, tuple(acl), trim))
    return Plan(changes, tuple(loops(tree, path)))


def plan_delete(path: str, stored: Stored, *, force: bool = False) -> Plan:
    """What deletes a node and all below it, except for ephemeral ones.

    Args:
        path: the node; not the root.
        stored: the node, whole.
        force: delete ephemeral nodes too.
    """
    if path == "/":
        raise InvalidPathError(path, "the root cannot be deleted")
    return Plan(tuple(_delete_changes(path, stored, force=force, quiet=False)))


def _import_changes(
    tree: TreeNode, stored: Stored, path: str, acl: Acl, trim: Trim
) -> Iterator[Change]:
    if tree.properties:
        yield from _set_data(path, tree, stored)
    pending = _below(path, tree, stored)
    while pending:
        here, node, there = pending.pop()
        if there is None:
            yield Create(here, encode(node.properties), acl)
        else:
            yield from _set_data(here, node, there)
            if there.acl is not None and tuple(there.acl) != acl:
                yield SetACL(here, there.acl, acl, there.aversion)
            yield from _extra(here, node, there, trim)
        pending += _below(here, node, there)


def _below(
    path: str, node: TreeNode, there: Stored | None
) -> list[tuple[str, TreeNode, Stored | None]]:
    """The children, last name first, as they are taken from the end."""
    existing = _NOTHING if there is None else there.children
    return [
        (join(path, name), node.children[name], existing.get(name))
        for name in sorted(node.children, reverse=True)
    ]


def _set_data(path: str, node: TreeNode, there: Stored) -> Iterator[Change]:
    data = encode(node.properties)
    if data == there.data:  # as we write it: no need to understand it
        return
    old = decode(there.data)
    if canonical(old) != canonical(node.properties):
        yield SetData(path, old, node.properties, data, there.version)


def _extra(path: str, node: TreeNode, there: Stored, trim: Trim) -> Iterator[Change]:
    """What becomes of nodes that the tree does not name."""
    for name in sorted(there.children.keys() - node.children.keys()):
        extra = join(path, name)
        if trim:
            yield from _delete_changes(extra, there.children[name], force=False, quiet=True)
        elif trim is None:
            yield Keep(extra, KeepReason.NOT_ASKED)


def _delete_changes(path: str, stored: Stored, *, force: bool, quiet: bool) -> Iterator[Change]:
    """Children before parents, each in order; a kept node keeps those above it.

    Args:
        path: the top of what is to be deleted.
        stored: the same, whole.
        force: delete ephemeral nodes too.
        quiet: no word of the top itself, should it be ephemeral.
    """
    held: set[str] = set()  # parents of what is kept
    for here, parent, node in _children_first(path, stored):
        if here in held:
            held.add(parent)
            yield Keep(here, KeepReason.ABOVE_EPHEMERAL)
        elif node.ephemeral and not force:
            held.add(parent)
            if not (quiet and here == path):
                yield Keep(here, KeepReason.EPHEMERAL)
        else:
            yield Delete(here, node.version)


def _children_first(path: str, stored: Stored) -> Iterator[tuple[str, str, Stored]]:
    """Path, parent's path and node; names in order."""
    pending = [(path, "", stored, False)]
    while pending:
        here, parent, node, opened = pending.pop()
        if opened or not node.children:
            yield here, parent, node
            continue
        pending.append((here, parent, node, True))
        for name in sorted(node.children, reverse=True):
            pending.append((join(here, name), here, node.children[name], False))


_NOTHING: Final[dict[str, Stored]] = {}
