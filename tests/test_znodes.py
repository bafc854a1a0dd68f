"""Tests of ``zkservice.znodes``; the rules of paths are tested in wire and tree, too."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zkservice.znodes import ancestors, join, parent, session_name, split

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


class SessionNameTests(SynchronousTestCase):
    """Session ids as servers write them."""

    def test_a_negative_id_is_written_unsigned(self) -> None:
        """The id is a signed long on the wire; zkCli and the server's log show hexadecimal."""
        self.assertEqual(session_name(-1), "0xffffffffffffffff")
        self.assertEqual(session_name(0x100000A1B2C30001), "0x100000a1b2c30001")
        self.assertEqual(session_name(0), "0x0")
