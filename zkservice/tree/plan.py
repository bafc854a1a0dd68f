"""The changes that make stored nodes equal to a wanted tree, as data.

A plan is made before anything is changed: it can be printed, applied, or thrown away.  Each
change has the version of the node that it was made for, so applying it late fails instead
of undoing what other clients did meanwhile.
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

#: An access control list; this package only compares it and passes it on.
Acl: TypeAlias = Sequence[Any]


@dataclass(slots=True)
class Stored:
    """A node as it was read from a server.

    Attributes:
        data: its data.
        version: of the data.
        ephemeral: whether it is ephemeral.
        acl: its ACL; None if it was not read.
        aversion: the version of the ACL.
        children: by their names; may lack children that the plan does not depend on.
    """

    data: bytes | None = b""
    version: int = 0
    ephemeral: bool = False
    acl: Acl | None = None
    aversion: int = 0
    children: dict[str, Stored] = field(default_factory=dict)

    def to_tree(self, *, ephemeral: bool = False) -> TreeNode:
        """This node and its descendants as a tree, without ephemeral nodes unless requested."""
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
    """Create a missing node."""

    path: str  #: the node
    data: bytes  #: its data
    acl: Acl  #: its ACL


@dataclass(frozen=True)
class SetData:
    """Set the data of a node whose properties differ."""

    path: str  #: the node
    old: Properties  #: the properties that it has
    new: Properties  #: the properties that it gets
    data: bytes  #: the data that store them
    version: int  #: of the data that it has


@dataclass(frozen=True)
class SetACL:
    """Set the access control list of a node."""

    path: str  #: the node
    old: Acl  #: the ACL that it has
    acl: Acl  #: the ACL that it gets
    aversion: int  #: the version of the ACL that it has


@dataclass(frozen=True)
class Delete:
    """Delete a node; its descendants are deleted before it."""

    path: str  #: the node
    version: int  #: of the data that it has


@dataclass(frozen=True)
class Unchanged:
    """A node that already is as wanted: it is not written, but must not change meanwhile."""

    path: str  #: the node
    version: int  #: of the data that it has


class KeepReason(Enum):
    """Why a node that could be deleted is kept; the value is the text."""

    EPHEMERAL = "it is ephemeral"  #: and ``force`` was not asked for
    ABOVE_EPHEMERAL = "a node below it is ephemeral"  #: so it cannot be deleted
    NOT_ASKED = "the tree does not have it, but trimming was not asked for"  #: ``trim`` is None


@dataclass(frozen=True)
class Keep:
    """Leave a node alone, and report it."""

    path: str  #: the node
    reason: KeepReason  #: why


Write: TypeAlias = "Create | SetData | SetACL | Delete"
Change: TypeAlias = "Write | Keep"

#: Of nodes that the tree does not have: True deletes them, None reports them, False ignores them.
Trim: TypeAlias = "bool | None"


@dataclass(frozen=True)
class Plan:
    """Changes, in an order in which they can be made.

    Attributes:
        changes: each a `Create`, `SetData`, `SetACL`, `Delete` or `Keep`.
        loops: the links of the wanted tree that lead in a loop.  They are stored all the same;
            resolving one of them fails with `LinkLoopError`.
        unchanged: the nodes of the wanted tree that need no change of their data.
    """

    changes: tuple[Change, ...] = ()
    loops: tuple[Loop, ...] = ()
    unchanged: tuple[Unchanged, ...] = ()

    @property
    def writes(self) -> tuple[Write, ...]:
        """The changes without those that keep a node."""
        return tuple(change for change in self.changes if not isinstance(change, Keep))

    def count(self, kind: type[Change]) -> int:
        """How many changes are of a kind."""
        return sum(isinstance(change, kind) for change in self.changes)


def plan_import(
    tree: TreeNode, stored: Stored, path: str = "/", *, acl: Acl, trim: Trim = None
) -> Plan:
    """Plan the changes that make the nodes at and below ``path`` equal to the tree.

    The node at ``path`` is the tree's root.  It gets the root's properties, if there are any;
    it keeps its ACL, and the children that the tree does not name.

    Args:
        tree: what is wanted.
        stored: the existing nodes that the tree names, with ACLs, and the names of their
            other children; with ``trim``, these children and all their descendants.
        path: where the tree goes.
        acl: for every node of the tree.
        trim: True deletes descendants that the tree does not name, except ephemeral nodes
            and their ancestors; None reports them; False ignores them.
    """
    found = tuple(_import_changes(tree, stored, path, tuple(acl), trim))
    return Plan(
        tuple(one for one in found if not isinstance(one, Unchanged)),
        tuple(loops(tree, path)),
        tuple(one for one in found if isinstance(one, Unchanged)),
    )


def plan_delete(path: str, stored: Stored, *, force: bool = False) -> Plan:
    """Plan the deletion of a node and its descendants, except ephemeral ones.

    Args:
        path: the node; not the root.
        stored: the node, with all its descendants.
        force: delete ephemeral nodes as well.
    """
    if path == "/":
        raise InvalidPathError(path, "the root cannot be deleted")
    return Plan(tuple(_delete_changes(path, stored, force=force, quiet=False)))


def _import_changes(
    tree: TreeNode, stored: Stored, path: str, acl: Acl, trim: Trim
) -> Iterator[Change | Unchanged]:
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
    """The children, last name first, because they are popped from the end."""
    existing = _NOTHING if there is None else there.children
    return [
        (join(path, name), node.children[name], existing.get(name))
        for name in sorted(node.children, reverse=True)
    ]


def _set_data(path: str, node: TreeNode, there: Stored) -> Iterator[Change | Unchanged]:
    data = encode(node.properties)
    if data == there.data:  # no need to decode it
        yield Unchanged(path, there.version)
        return
    old = decode(there.data)
    if canonical(old) != canonical(node.properties):
        yield SetData(path, old, node.properties, data, there.version)
    else:
        yield Unchanged(path, there.version)


def _extra(path: str, node: TreeNode, there: Stored, trim: Trim) -> Iterator[Change]:
    """The changes for children that the tree does not name."""
    for name in sorted(there.children.keys() - node.children.keys()):
        extra = join(path, name)
        if trim:
            yield from _delete_changes(extra, there.children[name], force=False, quiet=True)
        elif trim is None:
            yield Keep(extra, KeepReason.NOT_ASKED)


def _delete_changes(path: str, stored: Stored, *, force: bool, quiet: bool) -> Iterator[Change]:
    """Delete children before parents, in order; a kept node keeps its ancestors.

    Args:
        path: the top of what is to be deleted.
        stored: the node there, with all its descendants.
        force: delete ephemeral nodes as well.
        quiet: do not report the top itself if it is ephemeral.
    """
    ancestors_of_kept: set[str] = set()
    for here, parent, node in _children_first(path, stored):
        if here in ancestors_of_kept:
            ancestors_of_kept.add(parent)
            yield Keep(here, KeepReason.ABOVE_EPHEMERAL)
        elif node.ephemeral and not force:
            ancestors_of_kept.add(parent)
            if not (quiet and here == path):
                yield Keep(here, KeepReason.EPHEMERAL)
        else:
            yield Delete(here, node.version)


def _children_first(path: str, stored: Stored) -> Iterator[tuple[str, str, Stored]]:
    """Path, parent's path and node; names in order."""
    pending = [(path, "", stored, False)]  # the last one: whether its children were yielded
    while pending:
        here, parent, node, children_done = pending.pop()
        if children_done or not node.children:
            yield here, parent, node
            continue
        pending.append((here, parent, node, True))
        for name in sorted(node.children, reverse=True):
            pending.append((join(here, name), here, node.children[name], False))


_NOTHING: Final[dict[str, Stored]] = {}
