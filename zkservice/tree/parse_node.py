"""Parse trees into nodes that have a name, or into nodes of the caller's class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, overload

from zkservice.tree.grammar import parse_tree
from zkservice.tree.model import TreeNode


class NamedNode(Protocol):
    """What nodes of the caller's class must have."""

    properties: Any  #: a dict; links are in it under their stored names
    children: Any  #: a dict of nodes by name


class ParseNode(TreeNode):
    """A node with its name, which is empty for the root of a tree."""

    __slots__ = ("name",)

    def __init__(
        self, name: str = "", properties: Mapping[str, Any] | None = None, **children: ParseNode
    ) -> None:
        super().__init__(properties, children)
        self.name = name
        for one, child in children.items():
            child.name = one


N = TypeVar("N", bound=NamedNode)


@overload
def parse_named_tree(text: str) -> ParseNode: ...


@overload
def parse_named_tree(text: str, node_class: Callable[..., N]) -> N: ...


def parse_named_tree(text: str, node_class: Callable[..., Any] = ParseNode) -> Any:
    """Parse a text of the tree language, like `parse_tree`.

    Args:
        text: in the tree language.
        node_class: called without arguments for the root, and with the name for each other
            node; returns an object with the dicts ``properties`` and ``children``.

    Returns:
        The root, whose children are the nodes at the top of the text.

    Raises:
        TreeSyntaxError: with line and column.
    """
    root = node_class()
    pending = [(parse_tree(text), root)]  # iterative: trees may be deeper than Python recurses
    while pending:
        node, made = pending.pop()
        made.properties.update(node.properties)
        for name, child in node.children.items():
            made.children[name] = node_class(name)
            pending.append((child, made.children[name]))
    return root
