"""Tests for the paths of znodes (PathUtils.java), and for the chroot of `zkservice.wire.paths`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zkservice.errors import InvalidPathError
from zkservice.wire.paths import Chroot
from zkservice.znodes import join, parent, validate

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
# What a sequence number makes good: "/queue/" becomes "/queue/0000000001".
GOOD_SEQUENCES = ["/", "/a", "/a/", "/a/.", "/a/..", "/.", "/..", "/a-"]
BAD_SEQUENCES = ["", "a", "//", "/a//", "/./", "/a/../", "/a/../b", "/\0", "/a\ue000"]

characters = st.sampled_from("/.ab\u0000\u001f \u007f\u009fé\ud7ff\ud800\uf8ff\uf900\uffef\uffff😀")


def java(path: str) -> bool:
    """PathUtils.validatePath once more: unit by unit, as Java reads a string."""
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
    """What is a path."""

    def accepts(self, path: object, *, sequence: bool = False) -> bool:
        """Whether it is a path; an accepted one is answered as it is."""
        try:
            self.assertIs(validate(path, sequence=sequence), path)  # type: ignore[arg-type]
        except InvalidPathError as error:
            self.assertIn(repr(path), str(error))
            return False
        return True

    def test_good(self) -> None:
        """These are paths."""
        self.assertEqual([path for path in GOOD if not self.accepts(path)], [])

    def test_bad(self) -> None:
        """These are none."""
        self.assertEqual([path for path in BAD if self.accepts(path)], [])
        for value in (None, 7, b"/a"):
            self.assertFalse(self.accepts(value))

    def test_sequences(self) -> None:
        """With a number behind it more is a path, and less is not."""
        self.assertEqual([p for p in GOOD_SEQUENCES if not self.accepts(p, sequence=True)], [])
        self.assertEqual([p for p in BAD_SEQUENCES if self.accepts(p, sequence=True)], [])

    def test_reasons(self) -> None:
        """The error says what is wrong with it."""
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
    @settings(max_examples=1000)
    def test_java(self, path: str) -> None:
        """Java accepts the same, with and without a number behind it."""
        self.assertEqual(self.accepts(path), java(path))
        self.assertEqual(self.accepts(path, sequence=True), java(path + "1"))

    @given(st.text(characters, max_size=8).map("/".__add__).filter(java))
    def test_parent(self, path: str) -> None:
        """A path is its parent and a name; the root is its own parent."""
        if path == "/":
            self.assertEqual(parent(path), "/")
        else:
            self.assertEqual(join(parent(path), path.rpartition("/")[2]), path)
            self.assertEqual(validate(parent(path)), parent(path))


class ChrootTests(SynchronousTestCase):
    """A prefix that the user never sees."""

    def test_add(self) -> None:
        """The client's root is the chroot itself."""
        chroot = Chroot("/app/x")
        self.assertEqual(chroot.prefix, "/app/x")
        self.assertEqual(chroot.add("/"), "/app/x")
        self.assertEqual(chroot.add("/a/b"), "/app/x/a/b")

    def test_sequence_node_of_the_root_is_a_child_of_the_chroot(self) -> None:
        """A sequence node of the root is a child of the chroot, not its neighbour."""
        chroot = Chroot("/app")
        self.assertEqual(chroot.add("/", sequence=True), "/app/")
        self.assertEqual(chroot.add("/a-", sequence=True), "/app/a-")
        self.assertEqual(Chroot().add("/", sequence=True), "/")
        made = chroot.add("/", sequence=True) + "0000000001"
        self.assertEqual(chroot.strip(made), "/0000000001")

    def test_strip(self) -> None:
        """What comes back loses the prefix; what is outside stays as it is."""
        chroot = Chroot("/app")
        for server, client in [
            ("/app", "/"),
            ("/app/a", "/a"),
            ("/application", "/application"),
            ("/zookeeper/config", "/zookeeper/config"),
            ("/", "/"),
            ("", ""),
        ]:
            self.assertEqual(chroot.strip(server), client)

    def test_none(self) -> None:
        """Without a chroot paths stay as they are."""
        for chroot in (Chroot(), Chroot("/"), Chroot("")):
            self.assertEqual(chroot.prefix, "")
            self.assertEqual((chroot.add("/a"), chroot.strip("/a")), ("/a", "/a"))

    def test_bad(self) -> None:
        """A chroot is a path."""
        with self.assertRaises(InvalidPathError):
            Chroot("app")

    @given(st.sampled_from(["/", "/a", "/a/b"]), st.text(characters, max_size=8).map("/".__add__))
    def test_round_trip(self, prefix: str, path: str) -> None:
        """Adding and stripping is nothing, and what is added is a path if it was one."""
        chroot = Chroot(prefix)
        if java(path):
            self.assertEqual(chroot.strip(validate(chroot.add(path))), path)
