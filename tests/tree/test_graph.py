"""Tests of ``zkservice.tree.graph``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zkservice.tree.grammar import parse_tree
from zkservice.tree.graph import get_edges, to_dot

TREE = """
/lb : ipvs
  /pools
    /cms
      providers -> /cms/providers
/cms : z4m cms
  /providers
  /databases
    /main
      /providers
/retail : z4m retail
  self -> /retail/providers
  away -> /elsewhere/providers
  /providers
  /databases
    main -> /cms/databases/main
    same -> ../../cms/./databases/main/providers
    through -> ../../lb/pools/cms/providers
    nothing -> ../../../..
    other -> /lb/pools
"""


class EdgeTests(SynchronousTestCase):
    """Which services use which."""

    def test_links_are_edges(self) -> None:
        """Links to services, to their providers and to other nodes are edges, each once."""
        self.assertEqual(
            get_edges(parse_tree(TREE)),
            [
                ("/lb/pools/cms", "/cms"),
                ("/retail", "/cms"),
                ("/retail", "/cms/databases/main"),
                ("/retail", "/elsewhere"),
                ("/retail", "/lb/pools"),
            ],
        )

    def test_bug_15_links_and_dots_are_resolved(self) -> None:
        """Relative links, dots and links through links name the real service."""
        edges = get_edges(parse_tree(TREE))
        self.assertNotIn("..", "".join(provider for _, provider in edges))
        self.assertIn(("/retail", "/cms"), edges)  # by way of /lb/pools/cms/providers

    def test_links_in_a_loop_keep_their_paths(self) -> None:
        """Links in a loop, and links to missing nodes, keep the paths that they name."""
        tree = parse_tree("/a\n  x -> y\n  y -> x\n  z -> y/z\n  none -> b\n  /providers\n")
        expected = [("/a", "/a/b"), ("/a", "/a/x"), ("/a", "/a/y"), ("/a", "/a/y/z")]
        self.assertEqual(get_edges(tree), expected)

    def test_the_nearest_service_is_the_user_of_a_link(self) -> None:
        """The user of a link is the nearest service above it, or the node that holds it."""
        tree = parse_tree(
            "/free\n  l -> /x\n  /below\n    l -> /x\n"
            "/s\n  /providers\n  /a\n    /b\n      l -> /x\n      up -> /s\n"
            "    /inner\n      l -> /x\n      /providers\n/x\n  l -> .\n"
        )
        expected = [("/free", "/x"), ("/free/below", "/x"), ("/s", "/x"), ("/s/a/inner", "/x")]
        self.assertEqual(get_edges(tree), expected)


class DotTests(SynchronousTestCase):
    """The graph as text."""

    def test_dot_text_is_quoted(self) -> None:
        """Edges are lines, and names cannot break out of their quotes."""
        self.assertEqual(
            to_dot([("/a", "/b"), ('/"', "/\\")]),
            'digraph g {\n  "/a" -> "/b";\n  "/\\"" -> "/\\\\";\n}\n',
        )
