"""Tests of ``zkservice.tree.paths``."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zkservice.errors import InvalidPathError
from zkservice.tree.paths import join, name_problem, normalize, split
from zkservice.wire.paths import validate


class NormalizeTests(SynchronousTestCase):
    """Paths as people write them."""

    def test_examples(self) -> None:
        """Dots, doubled slashes and slashes at the end go; relative paths have a base."""
        for path, base, expected in (
            ("/", "/x", "/"),
            ("//a///b/", "/", "/a/b"),
            ("/a/./b/../c", "/", "/a/c"),
            ("/a/..", "/", "/"),
            ("x", "/", "/x"),
            ("../x/.", "/a/b", "/a/x"),
            ("..", "/a", "/"),
            (".", "/a", "/a"),
        ):
            self.assertEqual(normalize(path, base), expected)

    def test_refused(self) -> None:
        """Nothing, what lies above the root, and forbidden characters."""
        for path in ("", "/..", "/a/../..", "../../..", "/a\0", "/\U0001f600"):
            self.assertRaises(InvalidPathError, normalize, path, "/a")

    def test_bug_14_normal_paths(self) -> None:
        """Dots back to the root, slashes at the end, relative names: all have an answer."""
        self.assertEqual(normalize("/a/.."), "/")
        self.assertEqual(normalize("/a//b/"), "/a/b")
        self.assertEqual(normalize("p"), "/p")
        error = self.assertRaises(InvalidPathError, normalize, "/..")
        self.assertIn("leads out of the tree", str(error))

    @given(st.lists(st.text(min_size=1, max_size=3), max_size=3))
    def test_agrees_with_the_protocol(self, names: list[str]) -> None:
        """A path of good names is one that the protocol's own rules accept."""
        if all(name_problem(name) is None for name in names):
            path = "/" + "/".join(names)
            self.assertEqual(validate(path), normalize(path))
        else:
            self.assertRaises(InvalidPathError, validate, "/" + "/".join(names) + "/\0")

    def test_join_and_split(self) -> None:
        """A child's path comes apart again, below the root too."""
        for base in ("/", "/a", "/a/b"):
            self.assertEqual(split(join(base, "x")), (base, "x"))
        self.assertEqual(split("/"), ("/", ""))
