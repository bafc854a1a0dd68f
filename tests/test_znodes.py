"""Tests of ``zkservice.znodes``; the rules of paths are tested in wire, too."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zkservice.errors import InvalidPathError
from zkservice.znodes import (
    ancestors,
    join,
    name_problem,
    normalize,
    parent,
    session_name,
    split,
    validate,
)

NAMES = st.lists(st.text("abc.:é", min_size=1).filter(lambda name: name not in (".", "..")))


class PathTests(SynchronousTestCase):
    """Paths as text."""

    def test_ancestors_are_the_path_and_all_above_it(self) -> None:
        """The root is last, and its own only ancestor."""
        self.assertEqual(list(ancestors("/a/b/c")), ["/a/b/c", "/a/b", "/a", "/"])
        self.assertEqual(list(ancestors("/")), ["/"])

    @given(st.text(max_size=20))
    def test_ancestors_of_any_text_end_at_the_root(self, text: str) -> None:
        """A server may send what is no path; the loop ends all the same."""
        found = list(ancestors(text))
        self.assertEqual(found[-1], "/")
        self.assertLessEqual(len(found), text.count("/") + 2)

    @given(NAMES)
    def test_join_and_split_are_inverse(self, names: list[str]) -> None:
        """A child's path splits into its parent's path and its name."""
        path = "/"
        for name in names:
            child = join(path, name)
            self.assertEqual(split(child), (path, name))
            self.assertEqual(parent(child), path)
            path = child


class NormalizeTests(SynchronousTestCase):
    """Paths as people write them."""

    def test_dots_and_doubled_slashes_are_resolved(self) -> None:
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

    def test_what_is_no_path_is_refused(self) -> None:
        """Nothing, what lies above the root, and forbidden characters."""
        for path in ("", "/..", "/a/../..", "../../..", "/a\0", "/\U0001f600"):
            self.assertRaises(InvalidPathError, normalize, path, "/a")

    def test_dots_may_lead_to_the_root(self) -> None:
        """Dots back to the root, slashes at the end, relative names: all have an answer."""
        self.assertEqual(normalize("/a/.."), "/")
        self.assertEqual(normalize("/a//b/"), "/a/b")
        self.assertEqual(normalize("p"), "/p")
        error = self.assertRaises(InvalidPathError, normalize, "/..")
        self.assertIn("leads out of the tree", str(error))

    @given(st.lists(st.text(min_size=1, max_size=3), max_size=3))
    def test_a_normalized_path_is_valid_if_its_names_are(self, names: list[str]) -> None:
        """A path of good names is one that the protocol's own rules accept."""
        if all(name_problem(name) is None for name in names):
            path = "/" + "/".join(names)
            self.assertEqual(validate(path), normalize(path))
        else:
            self.assertRaises(InvalidPathError, validate, "/" + "/".join(names) + "/\0")


class SessionNameTests(SynchronousTestCase):
    """Session ids as servers write them."""

    def test_a_negative_id_is_written_unsigned(self) -> None:
        """The id is a signed long on the wire; zkCli and the server's log show hexadecimal."""
        self.assertEqual(session_name(-1), "0xffffffffffffffff")
        self.assertEqual(session_name(0x100000A1B2C30001), "0x100000a1b2c30001")
        self.assertEqual(session_name(0), "0x0")
