"""A tree as data: nodes with properties and children.

Links are properties as well, under their stored names: a symbolic link
``main -> /databases/main`` is the property ``"main ->"``, a property link
``threads => /cms`` the property ``"threads =>"``.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from zkservice.properties import Properties, canonical
from zkservice.znodes import join

#: How the stored name of a symbolic link ends.
SYMLINK: Final = " ->"
#: How the stored name of a property link ends.
PROPERTY_LINK: Final = " =>"

Walk: TypeAlias = "Iterator[tuple[str, TreeNode]]"


class TreeNode:
    """A node: its properties, links among them, and its children by name.

    The root of a parsed tree is such a node; it has properties only if the text has a
    line ``/``.
    """

    __slots__ = ("children", "properties")

    def __init__(
        self,
        properties: Mapping[str, Any] | None = None,
        children: Mapping[str, TreeNode] | None = None,
    ) -> None:
        self.properties: Properties = dict(properties or {})
        self.children: dict[str, TreeNode] = dict(children or {})

    def walk(self, path: str = "/") -> Walk:
        """This node and its descendants with their paths: parents first, names in order."""
        pending = [(path, self)]
        while pending:
            here, node = pending.pop()
            yield here, node
            pending += [
                (join(here, name), node.children[name])
                for name in sorted(node.children, reverse=True)
            ]

    def get(self, path: str) -> TreeNode | None:
        """The node at a normalized path, in which this node is ``/``; None if it does not exist."""
        node: TreeNode | None = self
        for name in path.split("/"):
            if name and node is not None:
                node = node.children.get(name)
        return node

    def __eq__(self, other: object) -> bool:
        """Whether both are equal; ``1``, ``1.0`` and ``True`` are different values."""
        if not isinstance(other, TreeNode):
            return NotImplemented
        pending = [(self, other)]  # iterative: trees may be deeper than Python recurses
        while pending:
            one, two = pending.pop()
            if one.children.keys() != two.children.keys():
                return False
            if canonical(one.properties) != canonical(two.properties):
                return False
            pending += [(child, two.children[name]) for name, child in one.children.items()]
        return True

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"TreeNode({reprlib.repr(self.properties)}, {reprlib.repr(sorted(self.children))})"


def is_symlink(name: str, value: object) -> bool:
    """Whether a stored property is a symbolic link."""
    return _is_link(name, value, SYMLINK)


def is_property_link(name: str, value: object) -> bool:
    """Whether a stored property is a link to another property."""
    return _is_link(name, value, PROPERTY_LINK)


def _is_link(name: str, value: object, ending: str) -> bool:
    return isinstance(value, str) and name.endswith(ending) and len(name) > len(ending)
