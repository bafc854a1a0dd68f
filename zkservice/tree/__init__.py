"""The tree language: its grammar, its model, plans, links and graphs, without a server."""

from __future__ import annotations

from zkservice.properties import decode, encode
from zkservice.tree.grammar import parse_tree
from zkservice.tree.links import Resolution, follow, resolve, run_lookup
from zkservice.tree.model import TreeNode
from zkservice.tree.text import format_lines, format_tree, format_value
from zkservice.tree.values import parse_value

__all__ = [
    "Resolution",
    "TreeNode",
    "decode",
    "encode",
    "follow",
    "format_lines",
    "format_tree",
    "format_value",
    "parse_tree",
    "parse_value",
    "resolve",
    "run_lookup",
]
