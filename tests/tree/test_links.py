"""Tests of ``zkservice.tree.links``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zkservice.errors import (
    BadPropertyLinkError,
    InvalidPathError,
    LinkLoopError,
    NoNodeError,
    NoPropertyError,
)
from zkservice.tree.grammar import parse_tree
from zkservice.tree.links import MAX_LINKS, Resolution, follow, link_target, resolve, run_lookup
from zkservice.tree.model import TreeNode


def reader(root: TreeNode) -> Callable[[str], dict[str, Any] | None]:
    """What the paths of a tree hold."""

    def read(path: str) -> dict[str, Any] | None:
        node = root.get(path)
        return None if node is None else node.properties

    return read


TREE = parse_tree(
    """
/a
  gone -> nowhere
  up -> ../..
  /b
    l -> c
    l2 -> ../c
    far -> /x/./../a//b/l2/
    deep -> /a/b/l2/d
    /c
  /c
    /d
      end = 1
/x
  a -> /a
  b -> a/b
"""
)


class ResolveTests(SynchronousTestCase):
    """Paths through symbolic links."""

    def resolve(self, path: str, root: TreeNode = TREE) -> Resolution:
        """Where a path of the tree leads."""
        return run_lookup(resolve(path), reader(root))

    def test_where_paths_lead(self) -> None:
        """Links stand for their targets, anywhere in a path, several of them too."""
        for path, real, *links in (
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/l", "/a/b/c", "/a/b/l"),
            ("/a/b/l2", "/a/c", "/a/b/l2"),
            ("/a/b/l2/d", "/a/c/d", "/a/b/l2"),
            ("/a/b/far/d", "/a/c/d", "/a/b/far", "/a/b/l2"),
            ("/a/b/deep", "/a/c/d", "/a/b/deep", "/a/b/l2"),
            ("/x/a/c/d", "/a/c/d", "/x/a"),
            ("/x/b/l", "/a/b/c", "/x/b", "/x/a", "/a/b/l"),
            ("/x/../a/./b/", "/a/b"),
            ("/a/b/l2/../c", "/a/b/c"),  # dots are text: the parent of the link
        ):
            self.assertEqual(self.resolve(path), Resolution(real, tuple(links)), path)

    def test_each_link_is_one_more_read(self) -> None:
        """A path without links is one read, however deep; each link is one more."""
        asked: list[Any] = []
        lookup = resolve("/x/b/l")
        wanted = next(lookup)
        with self.assertRaises(StopIteration):
            while True:
                asked.append(wanted)
                wanted = lookup.send({path: reader(TREE)(path) for path in wanted})
        self.assertEqual(len(asked), 1 + 3)

    def test_missing_paths_fail_under_the_given_name(self) -> None:
        """A path that is neither node nor link fails under the name that was given."""
        for path in ("/n", "/a/b/n", "/a/b/l/n/m", "/a/gone", "/a/gone/x"):
            error = self.assertRaises(NoNodeError, self.resolve, path)
            self.assertEqual(error.path, path)

    def test_links_above_the_root_are_refused(self) -> None:
        """A link whose dots lead above the root is invalid."""
        self.assertRaises(InvalidPathError, self.resolve, "/a/up")

    def test_links_in_a_circle_are_loops(self) -> None:
        """Links to themselves, to each other and through themselves are loops."""
        root = TreeNode(
            {}, {"a": TreeNode({"l ->": "l", "m ->": "n", "n ->": "/a/m/x", "o ->": "o/o"})}
        )
        for path, first in (("/a/l", "/a/l"), ("/a/m/y", "/a/m"), ("/a/o", "/a/o")):
            error = self.assertRaises(LinkLoopError, self.resolve, path, root)
            self.assertEqual(error.paths[0], first)
            self.assertIn(first, error.paths[1:])

    def test_link_met_twice_is_no_loop(self) -> None:
        """A link whose target has been passed may be met again."""
        root = parse_tree("/a\n  l -> /a\n  twice -> l/l/l\n  /b\n")
        self.assertEqual(self.resolve("/a/twice/l/b", root).path, "/a/b")

    def test_multiplying_links_end_at_a_limit(self) -> None:
        """Links that double one another fail at a limit."""
        links = {"l0 ->": "/"} | {f"l{i + 1} ->": f"l{i}/l{i}" for i in range(40)}
        error = self.assertRaises(LinkLoopError, self.resolve, "/l40", TreeNode(links))
        self.assertLessEqual(len(error.paths), MAX_LINKS + 1)

    def test_nodes_hide_links(self) -> None:
        """A node is found before a link of its name."""
        root = parse_tree("/a\n  b -> /c\n  /b\n/c\n")
        self.assertEqual(self.resolve("/a/b", root), Resolution("/a/b"))

    def test_values_that_are_not_text_are_not_links(self) -> None:
        """A property with an arrow in its name but no text in it is not a link."""
        self.assertRaises(NoNodeError, self.resolve, "/l", TreeNode({"l ->": 5}))

    def test_500_levels_are_resolved(self) -> None:
        """Depth needs no recursion."""
        root = deepest = TreeNode({"top ->": "/" + "/".join("d" * 500)})
        for _ in range(500):
            deepest.children["d"] = deepest = TreeNode()
        self.assertEqual(self.resolve("/top", root).real_path.count("/"), 500)

    def test_too_many_levels_are_refused(self) -> None:
        """A target whose ancestors would fill the memory is refused; 2,000 levels are not."""
        root = TreeNode({"top ->": "d/" * 500_000, "deep ->": "/d" * 2000})
        error = self.assertRaises(InvalidPathError, self.resolve, "/top", root)
        self.assertIn("too many levels", str(error))
        self.assertLess(len(str(error)), 300)
        self.assertRaises(NoNodeError, self.resolve, "/deep", root)

    def test_bug_14_dots_and_slashes(self) -> None:
        """Dots that lead to the root, slashes at the end and relative paths resolve."""
        for path, real in (("/a/..", "/"), ("/a/", "/a"), ("//a//b", "/a/b"), ("a", "/a")):
            self.assertEqual(self.resolve(path).path, real)
        self.assertRaises(InvalidPathError, self.resolve, "/..")


PROPERTIES = parse_tree(
    """
/cms
  threads => /foo threads
  color => ../foo
  chain => . color
  through => /lb/c
  dangling => /foo nothing
  lost => /nowhere
  own = 1
  own => /foo threads
  named => '/two words' 'a b'
/foo
  threads = 3
  color = 'red'
  through = None
/lb
  c -> /foo
/'two words'
  'a b' = 4
"""
)
PROPERTIES.children["cms"].properties |= {"loop =>": ". pool", "pool =>": "/cms loop"}


class FollowTests(SynchronousTestCase):
    """Properties through property links."""

    def value(self, name: str) -> Any:
        """The value of a property of /cms, or why it has none."""
        node = PROPERTIES.get("/cms")
        assert node is not None
        found = run_lookup(follow("/cms", node.properties, name), reader(PROPERTIES))
        return found.error or found.value

    def test_property_links_lead_to_values(self) -> None:
        """Links name a node and perhaps a property; nodes may be behind symbolic links."""
        for name, value in (
            ("own", 1),
            ("threads", 3),
            ("color", "red"),
            ("chain", "red"),
            ("through", None),
            ("named", 4),
        ):
            self.assertEqual(self.value(name), value, name)

    def test_nodes_to_watch_are_reported(self) -> None:
        """The result names the nodes and links that the value depends on."""
        found = run_lookup(follow("/cms", {"x =>": "/lb/c threads"}, "x"), reader(PROPERTIES))
        self.assertEqual(found.nodes, ("/foo",))
        self.assertEqual(found.resolutions, (Resolution("/foo", ("/lb/c",)),))

    def test_dependencies_of_a_dangling_link_are_what_is_missing(self) -> None:
        """A link that leads nowhere depends on what is missing there."""
        found = run_lookup(follow("/cms", {"x =>": "/lb/c/d"}, "x"), reader(PROPERTIES))
        self.assertEqual(found.resolutions[0].missing, "/foo/d")
        self.assertEqual(found.resolutions[0].links, ("/lb/c",))

    def test_bad_links_say_which_and_why(self) -> None:
        """A link that leads nowhere, or in a circle, says which and why."""
        for name, cause in (
            ("loop", LinkLoopError),
            ("dangling", NoPropertyError),
            ("lost", NoNodeError),
        ):
            error = self.value(name)
            self.assertIsInstance(error, BadPropertyLinkError)
            self.assertIsInstance(error.cause, cause)
            self.assertEqual((error.path, error.name), ("/cms", f"{name} =>"))
            self.assertIn(f"'{name} =>'", str(error))

    def test_missing_names_are_key_errors(self) -> None:
        """A name without property or link is a KeyError, as of any mapping."""
        self.assertRaises(KeyError, self.value, "nothing")

    def test_targets_are_one_or_two_words(self) -> None:
        """A target is one or two words, in quotes where they hold blanks."""
        self.assertEqual(link_target(" /a  b ").name, "b")
        self.assertEqual(link_target("'/a b'").path, "/a b")
        self.assertEqual(link_target("'/a").path, "'/a")
        for text in ("", " ", "a b c"):
            self.assertRaises(InvalidPathError, link_target, text)
