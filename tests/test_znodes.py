"""Tests of ``zkservice.znodes``."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests import effort
from zkservice.errors import InvalidPathError
from zkservice.znodes import (
    EarlierSessions,
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


GOOD = [
    "/",
    "/a",
    "/a/b",
    "/...",
    "/a/...",
    "/.a",
    "/a.",
    "/a/..b/c",
    "/with blank",
    "/ ",
    "/é",
    "/中/文",
    "/\u00a0",
    "/~",
    "/\ud7ff",
    "/\uf900",
    "/\uffef",
    "/127.0.0.1:8080",
]
BAD = [
    "",
    "a",
    "a/b",
    "foo/",
    "//",
    "//a",
    "/a//b",
    "/a/",
    "/a//",
    "/.",
    "/..",
    "/./a",
    "/../a",
    "/a/.",
    "/a/..",
    "/a/./b",
    "/a/../b",
    *(f"/a{chr(code)}b" for code in (0x00, 0x01, 0x1F, 0x7F, 0x80, 0x9F)),
    *(f"/a{chr(code)}" for code in (0xD800, 0xDFFF, 0xE000, 0xF8FF, 0xFFF0, 0xFFFF)),
    *(f"/{chr(code)}" for code in (0x1F600, 0x10000, 0x10FFFF)),
    "/line\n",
]
# Valid once a sequence number is appended: "/queue/" becomes "/queue/0000000001".
GOOD_SEQUENCES = ["/", "/a", "/a/", "/a/.", "/a/..", "/.", "/..", "/a-"]
BAD_SEQUENCES = ["", "a", "//", "/a//", "/./", "/a/../", "/a/../b", "/\0", "/a\ue000"]

characters = st.sampled_from("/.ab\u0000\u001f \u007f\u009fé\ud7ff\ud800\uf8ff\uf900\uffef\uffff😀")


def java(path: str) -> bool:
    """PathUtils.validatePath again: by UTF-16 unit, as Java reads a string."""
    raw = path.encode("utf-16-be", "surrogatepass")
    units = [high << 8 | low for high, low in zip(raw[::2], raw[1::2], strict=True)]
    if not units or chr(units[0]) != "/":
        return False
    if len(units) == 1:
        return True
    if any(
        unit <= 0x1F or 0x7F <= unit <= 0x9F or 0xD800 <= unit <= 0xF8FF or unit >= 0xFFF0
        for unit in units
    ):
        return False
    names = "".join(map(chr, units[1:])).split("/")
    return not any(name in ("", ".", "..") for name in names)


class ValidateTests(SynchronousTestCase):
    """Which paths are valid: the rules of PathUtils.java."""

    def accepts(self, path: object, *, sequence: bool = False) -> bool:
        """Whether the path is valid; a valid path is returned unchanged."""
        try:
            self.assertIs(validate(path, sequence=sequence), path)  # type: ignore[arg-type]
        except InvalidPathError as error:
            self.assertIn(repr(path), str(error))
            return False
        return True

    def test_valid_paths_are_accepted(self) -> None:
        """Any characters but the forbidden ones, in names other than dots."""
        self.assertEqual([path for path in GOOD if not self.accepts(path)], [])

    def test_invalid_paths_are_refused(self) -> None:
        """Empty names, dots, control characters, surrogates, other types."""
        self.assertEqual([path for path in BAD if self.accepts(path)], [])
        for value in (None, 7, b"/a"):
            self.assertFalse(self.accepts(value))

    def test_a_sequence_number_completes_a_path(self) -> None:
        """A sequence node may end with a slash or dots: the number follows them."""
        self.assertEqual([p for p in GOOD_SEQUENCES if not self.accepts(p, sequence=True)], [])
        self.assertEqual([p for p in BAD_SEQUENCES if self.accepts(p, sequence=True)], [])

    def test_errors_say_what_is_invalid(self) -> None:
        """The message names the rule, and the position of a forbidden character."""
        for path, reason in [
            ("a", "does not start with a slash"),
            ("/a/", "ends with a slash"),
            ("/a//b", "two slashes in a row"),
            ("/a/../b", "not names of znodes"),
            ("/a\x07", r"U\+0007 at 2"),
            ("/\U0001f600", r"U\+1F600 at 1"),
            (None, "expected a string"),
        ]:
            with self.assertRaisesRegex(InvalidPathError, reason):
                validate(path)  # type: ignore[arg-type]

    @given(st.one_of(st.text(characters, max_size=8), st.text(max_size=8).map("/".__add__)))
    @settings(max_examples=effort(1000, 200))
    def test_java_accepts_the_same(self, path: str) -> None:
        """The model of PathUtils.java agrees, with and without a sequence number."""
        self.assertEqual(self.accepts(path), java(path))
        self.assertEqual(self.accepts(path, sequence=True), java(path + "1"))

    @given(st.text(characters, max_size=8).map("/".__add__).filter(java))
    def test_parent_and_name_make_the_path(self, path: str) -> None:
        """Joining the parent and the name returns the path; the root is its own parent."""
        if path == "/":
            self.assertEqual(parent(path), "/")
        else:
            self.assertEqual(join(parent(path), path.rpartition("/")[2]), path)
            self.assertEqual(validate(parent(path)), parent(path))


class PathTests(SynchronousTestCase):
    """Paths as text."""

    def test_ancestors_are_the_path_and_all_above_it(self) -> None:
        """The root is last, and its own only ancestor."""
        self.assertEqual(list(ancestors("/a/b/c")), ["/a/b/c", "/a/b", "/a", "/"])
        self.assertEqual(list(ancestors("/")), ["/"])

    @given(st.text(max_size=20))
    def test_ancestors_of_any_text_end_at_the_root(self, text: str) -> None:
        """A server may send an invalid path; the loop ends nevertheless."""
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
        """Empty paths, paths above the root, and forbidden characters are refused."""
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


class EarlierSessionsTests(SynchronousTestCase):
    """The sessions that a process has had."""

    def test_the_latest_are_remembered(self) -> None:
        """However many sessions have expired, only the last ones are kept."""
        sessions = EarlierSessions()
        for number in range(1, 1000):
            sessions.add(number)
            sessions.add(1)  # is the latest, again and again
        self.assertEqual(len(sessions), EarlierSessions.LIMIT)
        self.assertIn(1, sessions)
        self.assertIn(999, sessions)
        self.assertNotIn(2, sessions)
        self.assertEqual(list(sessions)[-2:], [999, 1])
