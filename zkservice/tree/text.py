"""Format a tree as text that ``parse_tree`` parses into an equal tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from zkservice.errors import InvalidPathError
from zkservice.properties import Properties, Value
from zkservice.tree.links import WORDS, link_target
from zkservice.tree.model import (
    PROPERTY_LINK,
    SYMLINK,
    TreeNode,
    is_property_link,
    is_symlink,
)

_INDENT: Final = "  "
_QUOTES: Final = "'\""
# A name of a property that needs no quotes: without blanks and operators, and without a
# beginning that makes the line something else.
_BARE_MEMBER: Final = re.compile(r"(?!['\"#/])(?:(?!->)[^\s=])+")


def format_tree(root: TreeNode) -> str:
    """The text of a tree: properties, then links, then children, each sorted.

    Args:
        root: has a line ``/`` if it has properties, else no line.
    """
    return "\n".join(format_lines(root)) + "\n"


def format_lines(root: TreeNode) -> Iterator[str]:
    """The lines of ``format_tree``, one by one, without their ends."""
    if root.properties:
        yield "/" + _type_of(root.properties)
        yield from _members(root.properties, _INDENT)
    pending = _below(root, "")
    while pending:
        name, node, indent = pending.pop()
        yield f"{indent}/{_node_name(name)}{_type_of(node.properties)}"
        if node.properties:
            yield from _members(node.properties, indent + _INDENT)
        pending += _below(node, indent + _INDENT)


def format_value(value: Value) -> str:
    """The literal that ``parse_value`` parses into the value."""
    return repr(value)


def _below(node: TreeNode, indent: str) -> list[tuple[str, TreeNode, str]]:
    """The children, last name first, because they are popped from the end."""
    return [(name, child, indent) for name, child in sorted(node.children.items(), reverse=True)]


def _members(properties: Properties, indent: str) -> Iterator[str]:
    plain, property_links, symlinks = [], [], []
    for name, value in sorted(properties.items()):
        if is_symlink(name, value):
            symlinks.append(f"{indent}{_name(name[: -len(SYMLINK)])} -> {_target(value)}")
        elif is_property_link(name, value) and _is_plain_link(value):
            property_links.append(f"{indent}{_name(name[: -len(PROPERTY_LINK)])} => {value}")
        elif name != "type" or not _is_plain_type(value):
            plain.append(f"{indent}{_name(name)} = {format_value(value)}")
    yield from plain
    yield from property_links
    yield from symlinks


def _type_of(properties: Properties) -> str:
    value = properties.get("type")
    return f" : {value}" if _is_plain_type(value) else ""


def _is_plain_type(value: Value) -> bool:
    """Whether the type can follow the node's name."""
    return isinstance(value, str) and value != "" and value.isprintable() and value == value.strip()


def _is_plain_link(value: str) -> bool:
    """Whether the target of a property link needs no quotes."""
    try:
        link_target(value)
    except InvalidPathError:
        return False
    return value.isprintable() and value == " ".join(WORDS.findall(value))


def _is_word(text: str) -> bool:
    return text != "" and text.isprintable() and " " not in text and text[0] not in _QUOTES


def _target(text: str) -> str:
    return text if _is_word(text) else repr(text)


def _node_name(name: str) -> str:
    return name if _is_word(name) else repr(name)


def _name(name: str) -> str:
    plain = name.isprintable() and _BARE_MEMBER.fullmatch(name) is not None
    return name if plain else repr(name)
