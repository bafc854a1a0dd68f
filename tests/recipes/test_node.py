"""Tests for `zkservice.recipes.node`."""

from __future__ import annotations

from typing_extensions import override

from tests.recipes.base import RecipeTestCase
from zkservice.errors import BadVersionError, InvalidPathError, NoNodeError, NotEmptyError
from zkservice.recipes import Node
from zkservice.wire.acl import ACL, ANYONE, READ_ACL_UNSAFE, Permission
from zkservice.wire.watches import EventType

ALL = ACL(int(Permission.ALL), ANYONE)


class NodeTests(RecipeTestCase):
    """A node object remembers the versions that it has read."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.one = self.connected()
        self.node = Node(self.one, "/a")

    def test_node_is_created_read_written_and_deleted(self) -> None:
        """Each method works on the node, and fails if it is missing."""
        self.assertFalse(self.result(self.node.exists()))
        self.failure(self.node.get_data(), NoNodeError)
        self.assertEqual(self.result(self.node.create(b"1")), "/a")
        self.assertTrue(self.result(self.node.exists()))
        self.assertIs(self.result(self.node.set_data(b"2")), self.node)
        self.assertEqual(self.result(self.node.get_data()), b"2")
        self.result(self.node.delete())
        self.assertFalse(self.result(self.node.exists()))
        self.assertEqual((self.node.name, repr(self.node)), ("a", "<Node /a>"))
        self.assertRaises(InvalidPathError, Node, self.one, "a")

    def test_version_is_not_checked_before_a_read(self) -> None:
        """A node that was never read may be written, whatever its version."""
        self.result(self.bystander.create("/a"))
        self.result(self.bystander.set("/a", b"x"))
        self.result(self.node.set_data(b"1"))
        self.assertEqual(self.result(self.node.get_data()), b"1")

    def test_changed_node_is_not_overwritten(self) -> None:
        """Another client's write must be read before the node can be written or deleted."""
        self.result(self.node.create())
        self.result(self.bystander.set("/a", b"theirs"))
        self.failure(self.node.delete(), BadVersionError)
        self.assertEqual(self.result(self.node.get_data()), b"theirs")
        self.result(self.bystander.set("/a", b"again"))
        self.failure(self.node.set_data(b"1"), BadVersionError)
        self.assertIs(self.result(self.node.set_data(b"2")), self.node)  # unconditional now
        self.assertEqual(self.result(self.bystander.get("/a"))[0], b"2")

    def test_exists_remembers_the_versions(self) -> None:
        """`exists` and its watch remember the versions; a deletion forgets them."""
        self.result(self.bystander.create("/a"))
        self.result(self.bystander.set("/a", b"1"))
        self.assertTrue(self.result(self.node.exists()))
        self.result(self.bystander.set("/a", b"theirs"))
        self.result(self.bystander.set_acl("/a", [ALL]))
        self.failure(self.node.set_data(b"1"), BadVersionError)
        self.failure(self.node.set_acl([ALL]), BadVersionError)
        self.result(self.node.set_acl([ALL]))
        there, changed = self.node.exists_and_watch()
        self.assertTrue(self.result(there))
        self.result(self.bystander.set("/a", b"theirs"))
        self.assertTrue(changed.called)
        self.failure(self.node.set_data(b"1"), BadVersionError)
        self.result(self.node.get_data())
        self.result(self.bystander.delete("/a"))
        self.assertFalse(self.result(self.node.exists()))
        self.result(self.bystander.create("/a"))
        self.result(self.node.set_data(b"1"))
        self.result(self.node.delete())
        self.result(self.bystander.create("/a"))
        self.result(self.node.set_data(b"1"))
        self.result(self.node.set_acl([ALL]))

    def test_acl_has_a_version_of_its_own(self) -> None:
        """Writing data does not change the version of the ACL."""
        self.result(self.node.create())
        self.result(self.node.set_data(b"1"))
        self.assertEqual(self.result(self.node.get_acl()), [ALL])
        self.assertIs(self.result(self.node.set_acl([ALL])), self.node)
        self.result(self.bystander.set_acl("/a", [ALL]))
        self.failure(self.node.set_acl(READ_ACL_UNSAFE), BadVersionError)
        self.result(self.node.get_acl())
        self.result(self.node.set_acl(READ_ACL_UNSAFE))

    def test_sequence_node_takes_the_actual_path(self) -> None:
        """After the creation the object has the actual path."""
        node = Node(self.one, "/s-")
        self.result(node.create(sequence=True, ephemeral=True))
        self.assertEqual(node.path, "/s-0000000000")
        self.expire(self.one)
        self.assertFalse(self.result(node.exists()))

    def test_children_are_nodes_in_order(self) -> None:
        """The children are sorted by name, and may be selected by a prefix."""
        for path in ("/a", "/a/y2", "/a/x", "/a/y1"):
            self.result(self.bystander.create(path))
        names = [child.name for child in self.result(self.node.get_children())]
        self.assertEqual(names, ["x", "y1", "y2"])
        found = self.result(self.node.get_children("y"))
        self.assertEqual([child.path for child in found], ["/a/y1", "/a/y2"])
        self.assertLess(*found)
        self.failure(self.node.delete(), NotEmptyError)

    def test_reads_can_come_with_a_watch(self) -> None:
        """Each read has a variant with a watch."""
        there, created = self.node.exists_and_watch()
        self.assertFalse(self.result(there))
        self.result(self.bystander.create("/a", b"1"))
        self.assertIs(self.result(created).type, EventType.CREATED)
        data, changed = self.node.get_data_and_watch()
        self.assertEqual(self.result(data), b"1")
        children, grown = self.node.get_children_and_watch("b")
        self.assertEqual(self.result(children), [])
        self.result(self.bystander.create("/a/b"))
        self.assertIs(self.result(grown).type, EventType.CHILDREN_CHANGED)
        self.result(self.bystander.set("/a", b"2"))
        self.assertIs(self.result(changed).type, EventType.DATA_CHANGED)
        self.failure(self.node.set_data(b"3"), BadVersionError)
