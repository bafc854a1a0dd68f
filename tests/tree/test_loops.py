"""Tests of ``zkservice.tree.loops``."""

from __future__ import annotations

import time
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests import effort
from zkservice.errors import LinkLoopError, TreeSyntaxError
from zkservice.properties import Properties
from zkservice.tree.grammar import parse_tree
from zkservice.tree.graph import get_edges
from zkservice.tree.links import MAX_LINKS, follow, run_lookup, trace
from zkservice.tree.loops import LinkedTree, loops
from zkservice.tree.model import TreeNode
from zkservice.znodes import join


def found(text: str, at: str = "/") -> list[tuple[int, int]]:
    """Line and column of each link that leads in a loop."""
    errors: list[TreeSyntaxError] = []
    parse_tree(text, at, warn=errors.append)
    return [(error.line, error.column) for error in errors]


class LoopTests(SynchronousTestCase):
    """Links that lead back to themselves."""

    def test_every_kind_of_loop_is_found(self) -> None:
        """Links to themselves, to each other, through themselves and into loops are found."""
        for text, places in (
            ("/a\n  l -> l", [(2, 3)]),
            ("/a\n  l -> ../b/m\n/b\n  m -> /a/l", [(2, 3), (4, 3)]),
            ("/a\n  l -> l/x\n  into -> l", [(2, 3), (3, 3)]),
            ("/a\n  p => ../b q\n/b\n  q => ../a p", [(2, 3), (4, 3)]),
            ("/a\n  p => . q\n  q => . q", [(2, 3), (3, 3)]),
            ("/a\n  p => l q\n  l -> l", [(2, 3), (3, 3)]),
        ):
            self.assertEqual(found(text), places, text)

    def test_messages_name_the_links_in_order(self) -> None:
        """The links of a loop are named in their order; of a long one the first and the last."""
        tree = parse_tree("/a\n  l -> ../b/m\n/b\n  m -> /a/l")
        self.assertEqual(
            [str(loop) for loop in loops(tree)],
            [
                "/a l ->: the links form a loop: /a/l -> /b/m -> /a/l",
                "/b m ->: the links form a loop: /a/l -> /b/m -> /a/l",
            ],
        )
        ring = {f"l{number} ->": f"l{(number + 1) % 1000}" for number in range(1000)}
        self.assertLess(max(len(loop.problem) for loop in loops(TreeNode(ring))), 200)

    def test_where_the_tree_goes(self) -> None:
        """Absolute links are judged at the place where the tree goes."""
        text = "/a\n  l -> /x/a/l"
        self.assertEqual(found(text), [])
        self.assertEqual(found(text, "/x"), [(2, 3)])

    def test_links_that_are_not_loops_are_accepted(self) -> None:
        """Links shadowed by nodes, links out of the tree and links used twice are not loops."""
        text = (
            "/a\n  l -> l\n  /l\n  m -> /elsewhere\n  n -> ../../..\n"
            "/b\n  one -> two/x\n  two -> /a/l\n  p => ../a nothing\n  self -> .\n"
            "  twice -> self/self/self\n"
        )
        self.assertEqual(found(text), [])
        self.assertEqual(found(text, "/x"), [])

    def test_too_many_links_are_reported(self) -> None:
        """Links that multiply one another, or follow one another for too long, are reported."""
        links = {"l0 ->": "/"} | {f"l{i + 1} ->": f"l{i}/l{i}" for i in range(40)}
        names = [loop.name for loop in loops(TreeNode(links))]
        self.assertEqual(names, [f"l{i} ->" for i in range(6, 41)])  # 127 links and more
        chain = {"l0 ->": "/"} | {f"l{i + 1} ->": f"l{i}" for i in range(MAX_LINKS + 1)}
        tree = TreeNode(chain)
        names = [loop.name for loop in loops(tree)]
        self.assertEqual(names, [f"l{MAX_LINKS} ->", f"l{MAX_LINKS + 1} ->"])


_TARGETS = st.sampled_from(
    ["/", "/a", "/a/b", "/b", "/b/a", "a", "b", "..", ".", "../a", "../b", "a/b", "b/a", "/x/a"]
)
_MEMBERS = st.dictionaries(
    st.sampled_from(["a ->", "b ->", "c ->", "d ->", "a =>", "b =>", "c =>", "a"]),
    st.one_of(_TARGETS, st.builds("{} {}".format, _TARGETS, st.sampled_from("abc"))),
    max_size=4,
)
_TREES: st.SearchStrategy[TreeNode] = st.recursive(
    st.builds(TreeNode, _MEMBERS),
    lambda inner: st.builds(
        TreeNode, _MEMBERS, st.dictionaries(st.sampled_from("abx"), inner, max_size=3)
    ),
    max_leaves=5,
)


def reader(root: TreeNode) -> Callable[[str], Properties | None]:
    """What the paths of a tree hold."""

    def read(path: str) -> Properties | None:
        node = root.get(path)
        return None if node is None else node.properties

    return read


class AgreementTests(SynchronousTestCase):
    """What is found out about a tree in memory is what a server would show."""

    @settings(max_examples=effort(400, 40))
    @given(_TREES)
    def test_symbolic_links_lead_where_they_lead_on_a_server(self, root: TreeNode) -> None:
        """Every link leads where following it on a server leads."""
        tree = LinkedTree(root)
        for path, node in root.walk():
            for name in node.properties:
                link = join(path, name.removesuffix(" ->"))
                way = run_lookup(trace(link), reader(root))
                here = tree.destination(link)
                self.assertEqual(here.path, way.path, link)
                self.assertEqual(bool(here.problem), isinstance(way.error, LinkLoopError), link)

    @settings(max_examples=effort(400, 40))
    @given(_TREES)
    def test_property_links_are_loops_where_they_are_on_a_server(self, root: TreeNode) -> None:
        """Every property link is a loop here if following it on a server is one."""
        tree = LinkedTree(root)
        for path, node in root.walk():
            for name in node.properties:
                if name.endswith(" =>"):
                    way = run_lookup(follow(path, node.properties, name[:-3]), reader(root))
                    looped = way.error is not None and isinstance(way.error.cause, LinkLoopError)
                    problem = tree.property_problem(path, name[:-3])
                    self.assertEqual(bool(problem), looped, (path, name))


#: Lines of each hostile text.
LINES = effort(20_000, 2_000)

HOSTILE = {
    "a chain of property links": "/a\n" + "".join(f"  p{i} => . p{i + 1}\n" for i in range(LINES)),
    "a ring of property links": "/a\n"
    + "".join(f"  p{i} => . p{(i + 1) % LINES}\n" for i in range(LINES)),
    "a chain of links": "/a\n" + "".join(f"  l{i} -> l{i + 1}\n" for i in range(LINES)),
    "a ring of links": "/a\n" + "".join(f"  l{i} -> l{(i + 1) % LINES}\n" for i in range(LINES)),
    "links into one chain": "/a\n"
    + "".join(f"  l{i} -> l{min(i + 1, 90)}\n" for i in range(LINES)),
    "properties through a chain": "/a\n"
    + "".join(f"  l{i} -> l{i + 1}\n" for i in range(99))
    + "".join(f"  p{i} => l0 q\n" for i in range(LINES)),
    "links of links in a path": "/a\n  l -> .\n  m -> " + "l/" * (LINES * 10) + "l\n",
    "many levels": "".join(
        " " * i + "/a\n" + " " * i + f" l -> {'../' * i}a\n" for i in range(500)
    ),
}


class HostileTests(SynchronousTestCase):
    """Trees that are made to take long."""

    def test_thousands_of_links_take_linear_time(self) -> None:
        """Thousands of lines of links are read, judged and drawn in some milliseconds each."""
        for name, text in HOSTILE.items():
            began = time.process_time()  # of this process alone
            errors: list[TreeSyntaxError] = []
            tree = parse_tree(text, warn=errors.append)
            get_edges(tree)
            self.assertLess(time.process_time() - began, LINES / 200, name)
