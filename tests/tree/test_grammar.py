"""Tests of ``zkservice.tree.grammar``: what is read, and what is refused where."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.tree.strategies import texts
from zkservice.errors import TreeSyntaxError
from zkservice.tree.grammar import MAX_DATA, parse_tree
from zkservice.tree.model import TreeNode
from zkservice.tree.text import format_tree


def only(text: str) -> TreeNode:
    """The one node of a text."""
    (node,) = parse_tree(text).children.values()
    return node


class ReadingTests(SynchronousTestCase):
    """What a text means."""

    def test_every_construct_is_parsed(self) -> None:
        """Types, properties, both kinds of links, nodes, comments, blank lines, tabs."""
        tree = parse_tree(
            "\ufeff# a comment\n"
            "\n"
            "   /lb : ipvs   \r\n"
            "   \t/pools\n"
            "   \t  /cms\n"
            "   \t    # inside\n"
            "   \t    address = '1.2.3.4:80'  # behind\n"
            "   \t    providers -> /cms/providers\n"
            "   \t    threads=>../x\n"
            "   \t    color => /y colour /z\n"
            "   \tlate = [1, u'two']\n"
            "   /1.2.3.4:80\n"
        )
        self.assertEqual(
            tree,
            TreeNode(
                {},
                {
                    "lb": TreeNode(
                        {"type": "ipvs", "late": [1, "two"]},
                        {
                            "pools": TreeNode(
                                {},
                                {
                                    "cms": TreeNode(
                                        {
                                            "address": "1.2.3.4:80",
                                            "providers ->": "/cms/providers",
                                            "threads =>": "../x",
                                            "color =>": "/y colour",
                                        }
                                    )
                                },
                            )
                        },
                    ),
                    "1.2.3.4:80": TreeNode(),
                },
            ),
        )

    def test_a_colon_beside_a_blank_begins_a_type(self) -> None:
        """A colon with a blank beside it begins a type; one without belongs to the name."""
        for line, name, properties in (
            ("/lb: ipvs", "lb", {"type": "ipvs"}),
            ("/lb : ipvs", "lb", {"type": "ipvs"}),
            ("/lb :ipvs", "lb", {"type": "ipvs"}),
            ("/lb : a : b # c", "lb", {"type": "a : b # c"}),
            ("/lb:ipvs", "lb:ipvs", {}),
            ("/lb:", "lb:", {}),
            ("/'lb x':ipvs", "lb x", {"type": "ipvs"}),
        ):
            tree = parse_tree(line)
            self.assertEqual(tree, TreeNode({}, {name: TreeNode(properties)}), line)

    def test_first_operator_counts(self) -> None:
        """What follows an operator may look like another one."""
        for line, properties in (
            ("url='http://x?a=1'", {"url": "http://x?a=1"}),
            ("a='x=>y'", {"a": "x=>y"}),
            ("a = 'x -> y'", {"a": "x -> y"}),
            ("a-b=1", {"a-b": 1}),
            ("a -> b=c", {"a ->": "b=c"}),
            ("a->b", {"a ->": "b"}),
            ("a=>b", {"a =>": "b"}),
            ("'a = b' = 1", {"a = b": 1}),
            ('"a ->" = 1', {"a ->": 1}),
            ("'' = 1", {"": 1}),
            ("a -> '/b c'", {"a ->": "/b c"}),
            ("a => '/b c' d", {"a =>": "'/b c' d"}),
        ):
            self.assertEqual(only(f"/n\n {line}").properties, properties, line)

    def test_a_lone_slash_is_the_root(self) -> None:
        """A lone slash stands for the place itself; what is below it goes there too."""
        tree = parse_tree("/ : t\n  a = 1\n  /x\n/y\n")
        self.assertEqual(tree, TreeNode({"type": "t", "a": 1}, {"x": TreeNode(), "y": TreeNode()}))

    def test_comments_alone_are_an_empty_tree(self) -> None:
        """Nothing but comments is an empty tree."""
        self.assertEqual(parse_tree("\n # nothing\n"), TreeNode())


#: Text, line, column, a part of the problem.
BAD: list[tuple[str, int, int, str]] = [
    ("/a\n a = __import__('os').getpid()", 2, 6, "code is not evaluated"),
    ("/a\n a = [1, x]", 2, 10, "x is not a literal"),
    ("/a\n a = 'b", 2, 6, "not a literal"),
    ("/a\n a = b'x'", 2, 6, "not storable as JSON"),
    ("/a\n a = {1}", 2, 6, "not storable as JSON"),
    ("/a\n a = 1e999", 2, 6, "not storable as JSON"),
    ("/a\n a = " + "[" * 90 + "]" * 90, 2, 6, "nested"),
    ("/a\n a =", 2, 5, "a value is missing"),
    ("/a\n a ->", 2, 6, "Bad link format"),
    ("/a\n a -> b c", 2, 7, "Bad link format"),
    ("/a\n a =>", 2, 6, "Bad link format"),
    ("/a\n a => b c d", 2, 7, "Bad link format"),
    ("/a\n x y z ->", 2, 2, "Bad link format"),
    ("/a\n nonsense", 2, 2, "Unrecognized data"),
    ("/a\n two words = 1", 2, 2, "Unrecognized data"),
    ("/a b", 1, 4, "Unrecognized data"),
    ("/a\n/a", 2, 2, "duplicate node"),
    ("/a\n/'a'", 2, 2, "duplicate node"),
    ("/\n/", 2, 1, "duplicate node"),
    ("/a\n  b = 1\n  b = 1", 3, 3, "duplicate property"),
    ("/a\n  b -> x\n  'b ->' = 1", 3, 3, "duplicate property"),
    ("/a : t\n  type = 't'", 2, 3, "duplicate property"),
    ("a = 1\n/a", 1, 1, "Can't import properties above imported nodes."),
    ("/a\nb = 1", 2, 1, "Can't import properties above imported nodes."),
    ("/a\n  b = 1\n    c = 1", 3, 5, "Can't indent under properties"),
    ("/a\n    /b\n  /c", 3, 3, "Invalid indentation"),
    ("  /a\n/b", 2, 1, "Invalid indentation"),
    ("/a\n\t/b\n  /c", 3, 3, "tabs and spaces"),
    ("/a\n\t/b\n /c", 3, 2, "tabs and spaces"),
    ("/a\n /\n", 2, 3, "needs a name"),
    ("/a/b", 1, 2, "cannot contain '/'"),
    ("/..", 1, 2, "cannot be a node's name"),
    ("/'.'", 1, 2, "cannot be a node's name"),
    ("/''", 1, 2, "cannot be empty"),
    ("/a\U0001f600", 1, 2, "U+1F600"),
    (f"/a\n  b = '{'x' * MAX_DATA}'", 1, 1, "ZooKeeper takes"),
]


class RefusingTests(SynchronousTestCase):
    """What is wrong, and where."""

    def test_invalid_texts_are_refused_with_their_place(self) -> None:
        """Each bad text is refused with its line, its column and what is wrong."""
        for text, line, column, problem in BAD:
            error = self.assertRaises(TreeSyntaxError, parse_tree, text)
            self.assertEqual((error.line, error.column), (line, column), (text[:80], str(error)))
            self.assertIn(problem, str(error))
            self.assertIsInstance(error, ValueError)
            self.assertLess(len(str(error)), 300)

    def test_other_types_are_refused(self) -> None:
        """Bytes and open files raise a TypeError that says what to pass."""
        for nonsense in (b"/a\n", None, ["/a"]):
            with self.assertRaises(TypeError) as caught:
                parse_tree(nonsense)  # type: ignore[arg-type]
            self.assertIn(f"a tree is text, not {type(nonsense).__name__}", str(caught.exception))

    def test_the_largest_data_are_accepted(self) -> None:
        """Data that just fit are accepted: what counts is what will be stored."""
        text = "x" * (MAX_DATA - len('{"b":""}'))
        self.assertEqual(only(f"/a\n  b = '{text}'").properties["b"], text)
        self.assertRaises(TreeSyntaxError, parse_tree, f"/a\n  b = '{text}y'")

    @given(
        st.lists(st.tuples(st.integers(0, 3), texts), max_size=6).map(
            lambda lines: "\n".join(" " * indent + text for indent, text in lines)
        )
    )
    @example("/0\n '\\x'=1")
    def test_any_text_is_a_tree_or_an_error_with_a_place(self, text: str) -> None:
        """Any text is a tree that survives a round trip, or an error with a place in it."""
        try:
            tree = parse_tree(text)
        except TreeSyntaxError as error:
            lines = text.removeprefix("\ufeff").split("\n")
            self.assertTrue(1 <= error.line <= len(lines), error)
            self.assertTrue(1 <= error.column <= len(lines[error.line - 1]) + 1, error)
        else:
            self.assertEqual(parse_tree(format_tree(tree)), tree)

    def test_parsing_takes_linear_time(self) -> None:
        """No text takes longer than its length explains."""
        start = time.process_time()  # of this process alone
        for text in (
            "/a\n " + "x" * 200_000,
            "/a\n '" + "\\'" * 100_000,
            "/" + "ab" * 100_000 + " b",
            "/a\n x" + " " * 200_000 + "y",
            "/a\n x => y" + " " * 100_000 + "z" * 100_000 + " !",
        ):
            self.assertRaises(TreeSyntaxError, parse_tree, text)
        self.assertLess(time.process_time() - start, 5)


class PredecessorsBugTests(SynchronousTestCase):
    """Mistakes of the predecessors that must not come back."""

    def test_bug_1_no_code_runs(self) -> None:
        """Text is never evaluated."""
        ran: list[Any] = []
        self.patch(__import__("os"), "getpid", lambda: ran.append(1))
        text = "/a\n a = __import__('os').getpid()"
        self.assertRaises(TreeSyntaxError, parse_tree, text)
        self.assertEqual(ran, [])
        self.assertEqual(only("/a\n a = u'x'").properties, {"a": "x"})

    def test_bug_2_property_links_survive(self) -> None:
        """A property link is written as a link and read as the same link."""
        tree = TreeNode({}, {"n": TreeNode({"v =>": "../src v"})})
        self.assertEqual(format_tree(tree), "/n\n  v => ../src v\n")
        self.assertEqual(parse_tree(format_tree(tree)), tree)

    def test_bug_3_names_are_not_greedy(self) -> None:
        """Operators in values and blanks in names are parsed."""
        self.assertEqual(only("/a\n url='http://x?a=1'").properties, {"url": "http://x?a=1"})
        self.assertEqual(only("/a\n a='x=>y'").properties, {"a": "x=>y"})
        tree = TreeNode({}, {"two words": TreeNode({"and more": 1})})
        self.assertEqual(parse_tree(format_tree(tree)), tree)

    def test_bug_4_types_strings_and_the_root(self) -> None:
        """Types that are not strings, plain strings and the root's properties survive."""
        tree = TreeNode(
            {"on the": "root"},
            {
                "a": TreeNode({"type": 3}),
                "b": TreeNode({"string_value": "x"}),
                "c": TreeNode({"type": None}),
            },
        )
        self.assertEqual(parse_tree(format_tree(tree)), tree)
