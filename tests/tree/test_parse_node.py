"""Tests of ``zkservice.tree.parse_node``: nodes with names, and of other classes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from tests.tree.strategies import trees
from zkservice.errors import TreeSyntaxError
from zkservice.tree import TreeNode, format_tree, parse_tree
from zkservice.tree.parse_node import ParseNode, parse_named_tree

TEXT = "/a : t\n  x = 1\n  l -> /b\n  /b\n    y = [2]\n/c\n"


class Counted:
    """A foreign class that has only the attributes that are used."""

    made = 0

    def __init__(self, name: str | None = None) -> None:
        type(self).made += 1
        self.name = name
        self.properties: dict[str, Any] = {}
        self.children: dict[str, Counted] = {}


class NamedTests(SynchronousTestCase):
    """Names in the nodes."""

    def test_nodes_have_their_names(self) -> None:
        """Each node has its name, the root has none; otherwise it is the same tree."""
        root = parse_named_tree(TEXT)
        self.assertEqual(root, parse_tree(TEXT))
        below = root.children["a"]
        assert isinstance(root, ParseNode) and isinstance(below, ParseNode)
        self.assertEqual((root.name, below.name), ("", "a"))
        self.assertEqual(below.properties, {"type": "t", "x": 1, "l ->": "/b"})

    def test_keywords_make_children(self) -> None:
        """A node made with keywords has them as named children."""
        child = ParseNode(properties={"x": 1})
        root = ParseNode("top", {"y": 2}, child=child, other=ParseNode("misnamed"))
        names = root.name, child.name, getattr(root.children["other"], "name", None)
        self.assertEqual(names, ("top", "child", "other"))
        self.assertEqual(format_tree(root), "/\n  y = 2\n/child\n  x = 1\n/other\n")

    def test_nodes_are_made_of_the_given_class(self) -> None:
        """Any class with the two dicts will do; the root is made without a name."""
        self.patch(Counted, "made", 0)
        root = parse_named_tree(TEXT, node_class=Counted)
        self.assertIsInstance(root, Counted)
        self.assertEqual((root.name, Counted.made), (None, 4))
        self.assertEqual(root.children["a"].children["b"].properties, {"y": [2]})
        self.assertEqual(root.children["a"].children["b"].name, "b")

    def test_invalid_text_is_refused(self) -> None:
        """Errors are those of ``parse_tree``."""
        with self.assertRaises(TreeSyntaxError) as caught:
            parse_named_tree("/a\n  x = y\n", Counted)
        self.assertEqual((caught.exception.line, caught.exception.column), (2, 7))

    @given(trees)
    def test_the_tree_is_that_of_parse_tree(self, tree: TreeNode) -> None:
        """Any tree is parsed into the same one, with names."""
        self.assertEqual(parse_named_tree(format_tree(tree)), tree)
