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

    def test_edges(self) -> None:
        """Links to services and to their providers are edges, each once, in order."""
        self.assertEqual(
            get_edges(parse_tree(TREE)),
            [
                ("/lb/pools/cms", "/cms"),
                ("/retail", "/cms"),
                ("/retail", "/cms/databases/main"),
                ("/retail", "/elsewhere"),
            ],
        )

    def test_bug_15_links_and_dots_are_resolved(self) -> None:
        """Relative links, dots and links through links name the real service."""
        edges = get_edges(parse_tree(TREE))
        self.assertNotIn("..", "".join(provider for _, provider in edges))
        self.assertIn(("/retail", "/cms"), edges)  # by way of /lb/pools/cms/providers

    def test_loop_is_no_edge(self) -> None:
        """Links in a circle lead nowhere and stop nothing."""
        tree = parse_tree("/a\n  /providers\n")
        tree.children["a"].properties |= {"x ->": "y", "y ->": "x"}
        self.assertEqual(get_edges(tree), [])


class DotTests(SynchronousTestCase):
    """The graph as text."""

    def test_dot(self) -> None:
        """Edges are lines, and names cannot break out of their quotes."""
        self.assertEqual(
            to_dot([("/a", "/b"), ('/"', "/\\")]),
            'digraph g {\n  "/a" -> "/b";\n  "/\\"" -> "/\\\\";\n}\n',
        )
