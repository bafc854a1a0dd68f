"""Tests of ``zkservice.wire.paths``: the chroot."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zkservice.errors import InvalidPathError
from zkservice.wire.paths import Chroot
from zkservice.znodes import validate


class ChrootTests(SynchronousTestCase):
    """A prefix that callers never see."""

    def test_the_root_is_the_chroot(self) -> None:
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

    def test_strip_leaves_paths_outside_unchanged(self) -> None:
        """Paths inside the chroot lose the prefix; paths outside are unchanged."""
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

    def test_paths_are_unchanged_without_a_chroot(self) -> None:
        """Without a chroot, add and strip return the path itself."""
        for chroot in (Chroot(), Chroot("/"), Chroot("")):
            self.assertEqual(chroot.prefix, "")
            self.assertEqual((chroot.add("/a"), chroot.strip("/a")), ("/a", "/a"))

    def test_a_relative_chroot_is_refused(self) -> None:
        """A chroot must be an absolute path."""
        with self.assertRaises(InvalidPathError):
            Chroot("app")

    @given(
        st.sampled_from(["/", "/a", "/a/b"]),
        st.lists(st.text("ab.é", min_size=1).filter(lambda name: name not in (".", ".."))),
    )
    def test_strip_undoes_add(self, prefix: str, names: list[str]) -> None:
        """Stripping returns the path that was added, and that path is valid."""
        chroot, path = Chroot(prefix), "/" + "/".join(names)
        self.assertEqual(chroot.strip(validate(chroot.add(path))), path)
