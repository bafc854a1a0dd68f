"""Tests of ``zkservice.tree.text`` and ``zkservice.tree.grammar`` together."""

from __future__ import annotations

import time

from hypothesis import given, settings
from twisted.trial.unittest import SynchronousTestCase

from tests import effort
from tests.tree.strategies import trees
from zkservice.properties import decode, encode
from zkservice.tree.grammar import parse_tree
from zkservice.tree.model import TreeNode
from zkservice.tree.text import format_tree


class RoundTripTests(SynchronousTestCase):
    """What is written can be read."""

    @given(trees)
    @settings(max_examples=effort(400, 40))
    def test_parse_undoes_format(self, tree: TreeNode) -> None:
        """Every tree can be written and read back, whatever its names and values."""
        self.assertEqual(parse_tree(format_tree(tree)), tree)

    @given(trees)
    @settings(max_examples=effort(200, 25))
    def test_exported_text_stores_the_same_data(self, tree: TreeNode) -> None:
        """What nodes store is what their exported text stores when it is imported."""
        for path, node in parse_tree(format_tree(tree)).walk():
            original = tree.get(path)
            assert original is not None
            self.assertEqual(encode(node.properties), encode(original.properties))

    def test_500_levels_and_20000_nodes_are_written(self) -> None:
        """Depth needs no recursion, breadth takes linear time."""
        root = deepest = TreeNode()
        for level in range(500):
            deepest.children["d"] = deepest = TreeNode({"level": level})
        root.children.update({f"n{i}": TreeNode({"i": i, "s": "x"}) for i in range(20_000)})
        start = time.process_time()  # of this process alone
        again = parse_tree(format_tree(root))
        self.assertEqual(again, root)
        self.assertLess(time.process_time() - start, 10)  # it takes 0.3 s


class FormatTests(SynchronousTestCase):
    """What the text looks like."""

    def test_properties_links_and_nodes_are_sorted(self) -> None:
        """Properties come first, then links, then nodes, each sorted by name."""
        root = TreeNode(
            {},
            {
                "b": TreeNode(),
                "a": TreeNode(
                    {"z": 1, "l ->": "/t", "y": "text", "k ->": "../u", "p =>": "../src v"},
                    {"d": TreeNode(), "c": TreeNode({"type": "t y"})},
                ),
            },
        )
        self.assertEqual(
            format_tree(root),
            "/a\n"
            "  y = 'text'\n"
            "  z = 1\n"
            "  p => ../src v\n"
            "  k -> ../u\n"
            "  l -> /t\n"
            "  /c : t y\n"
            "  /d\n"
            "/b\n",
        )

    def test_an_empty_tree_is_an_empty_line(self) -> None:
        """The text of an empty tree is one line end."""
        self.assertEqual(format_tree(TreeNode()), "\n")

    def test_root_has_properties(self) -> None:
        """The root's own properties stand below a line of their own."""
        root = TreeNode({"type": "t", "a": 1}, {"n": TreeNode()})
        self.assertEqual(format_tree(root), "/ : t\n  a = 1\n/n\n")

    def test_types_that_need_quotes_are_properties(self) -> None:
        """A type that cannot follow a colon is written as a property."""
        for type_ in (3, "", " x", "a\nb", None, ["t"]):
            text = format_tree(TreeNode({}, {"n": TreeNode({"type": type_})}))
            self.assertEqual(text, f"/n\n  type = {type_!r}\n")

    def test_quotes_only_where_needed(self) -> None:
        """Ordinary names stay as they are; misleading ones are quoted."""
        root = TreeNode(
            {},
            {
                "1.2.3.4:80": TreeNode(),
                "a b": TreeNode({"x=y": 1, "#": 2, "/p": 3, "ok-1": 4, "a b ->": "/c d"}),
            },
        )
        self.assertEqual(
            format_tree(root),
            "/1.2.3.4:80\n"
            "/'a b'\n"
            "  '#' = 2\n"
            "  '/p' = 3\n"
            "  ok-1 = 4\n"
            "  'x=y' = 1\n"
            "  'a b' -> '/c d'\n",
        )

    def test_binary_data_survive_as_escapes(self) -> None:
        """Data that are not UTF-8 survive, as escapes in plain ASCII."""
        data = b"\x00\xff\xfe{\x80"
        text = format_tree(TreeNode({}, {"n": TreeNode(decode(data))}))
        self.assertTrue(text.isascii())
        self.assertEqual(encode(parse_tree(text).children["n"].properties), data)
