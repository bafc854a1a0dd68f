"""Tests of ``zkservice.tree.plan`` and of its words."""

from __future__ import annotations

from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from tests.tree.strategies import trees
from zkservice.errors import InvalidPathError
from zkservice.properties import decode, encode
from zkservice.tree.grammar import parse_tree
from zkservice.tree.model import TreeNode
from zkservice.tree.plan import (
    Create,
    Delete,
    Keep,
    Plan,
    SetACL,
    SetData,
    Stored,
    Trim,
    plan_delete,
    plan_import,
)
from zkservice.tree.plan_text import describe_dry_run, describe_kept
from zkservice.znodes import split

OPEN = ("open",)


def stored(tree: TreeNode, acl: tuple[str, ...] = OPEN) -> Stored:
    """A tree as a server would have it; nodes of type ``ephemeral`` are."""
    result = Stored(acl=acl, data=encode(tree.properties))
    pending = [(tree, result)]
    while pending:
        node, there = pending.pop()
        for name, child in node.children.items():
            ephemeral = child.properties.get("type") == "ephemeral"
            there.children[name] = Stored(encode(child.properties), 7, ephemeral, acl, 2)
            pending.append((child, there.children[name]))
    return result


def apply_plan(plan: Plan, there: Stored) -> None:
    """What a server does with a plan; refuses what a server would refuse."""

    def find(path: str) -> Stored:
        node = there
        for name in path.strip("/").split("/"):
            node = node.children[name] if name else node
        return node

    for change in plan.writes:
        above, name = split(change.path)
        if isinstance(change, Create):
            if name in find(above).children:
                raise ValueError(f"{change.path} exists")
            find(above).children[name] = Stored(change.data, acl=change.acl)
        elif isinstance(change, Delete):
            if find(change.path).children:
                raise ValueError(f"{change.path} has children")
            del find(above).children[name]
        elif isinstance(change, SetData):
            find(change.path).data = change.data
        else:
            find(change.path).acl = change.acl


def dry_run(text: str, there: str, trim: Trim = None, path: str = "/") -> list[str]:
    """The words for importing one text over another."""
    plan = plan_import(parse_tree(text), stored(parse_tree(there)), path, acl=OPEN, trim=trim)
    return list(describe_dry_run(plan))


class ImportTests(SynchronousTestCase):
    """Plans of imports."""

    @given(trees, trees)
    def test_reaches_the_tree(self, new: TreeNode, old: TreeNode) -> None:
        """After a trimming import the nodes are the tree's, and nothing is left to do."""
        there = stored(old)
        plan = plan_import(new, there, acl=OPEN, trim=True)
        apply_plan(plan, there)
        result = there.to_tree(ephemeral=True)
        for name, child in new.children.items():
            for path, node in child.walk("/" + name):
                found = result.get(path)
                assert found is not None
                self.assertEqual(TreeNode(found.properties), TreeNode(node.properties))
        again = plan_import(new, there, acl=OPEN, trim=True)
        self.assertEqual(again.writes, ())

    @given(trees)
    def test_unchanged_nodes_are_not_written(self, tree: TreeNode) -> None:
        """A tree that is there already gives an empty plan."""
        plan = plan_import(tree, stored(tree), acl=OPEN, trim=True)
        self.assertEqual(plan.changes, ())

    def test_bug_6_equal_properties_are_unchanged(self) -> None:
        """JSON with other blanks and another order is not written again; versions are kept."""
        there = Stored(children={"a": Stored(b'{ "y": 1,  "x": 2 }', 3, acl=OPEN)})
        tree = parse_tree("/a\n  x = 2\n  y = 1\n")
        self.assertEqual(plan_import(tree, there, acl=OPEN).changes, ())
        tree = parse_tree("/a\n  x = 2\n  y = 1.0\n")
        (change,) = plan_import(tree, there, acl=OPEN).changes
        assert isinstance(change, SetData)
        self.assertEqual(change.version, 3)

    def test_deletions_come_first_and_parents_before_children(self) -> None:
        """Extra nodes go first, children before parents; new nodes come parents first."""
        plan = plan_import(
            parse_tree("/a\n  x = 1\n  /n\n    /m\n"),
            stored(parse_tree("/a\n  /b\n    /c\n  /d\n")),
            "/p",
            acl=OPEN,
            trim=True,
        )
        self.assertEqual(
            [(type(change), change.path) for change in plan.changes],
            [
                (SetData, "/p/a"),
                (Delete, "/p/a/b/c"),
                (Delete, "/p/a/b"),
                (Delete, "/p/a/d"),
                (Create, "/p/a/n"),
                (Create, "/p/a/n/m"),
            ],
        )

    def test_different_acls_are_changed(self) -> None:
        """A node whose ACL differs gets the import's; the import's root keeps its own."""
        there = stored(parse_tree("/a\n"), ("other",))
        (change,) = plan_import(parse_tree("/a\n"), there, acl=OPEN).changes
        self.assertEqual(change, SetACL("/a", ("other",), OPEN, 2))

    def test_ephemeral_nodes_stay(self) -> None:
        """Neither an ephemeral node nor what is above it is trimmed; the rest is."""
        plan = plan_import(
            parse_tree("/a\n"),
            stored(parse_tree("/a\n  /b\n    /c : ephemeral\n    /d\n  /e : ephemeral\n")),
            acl=OPEN,
            trim=True,
        )
        self.assertEqual([write.path for write in plan.writes], ["/a/b/d"])
        self.assertEqual(
            list(describe_kept(plan)),
            [
                "Not deleting /a/b/c because it's ephemeral.",
                "/a/b not deleted due to ephemeral descendent.",
            ],
        )

    def test_the_root_is_written_but_never_trimmed(self) -> None:
        """The root's properties are set when the text has some; its nodes are never trimmed."""
        there = stored(parse_tree("/\n  a = 1\n/x\n"))
        self.assertEqual(plan_import(parse_tree("/y\n"), there, acl=OPEN, trim=True).count(Keep), 0)
        (change,) = plan_import(parse_tree("/\n  a = 2\n"), there, "/p", acl=OPEN, trim=True).writes
        self.assertEqual((type(change), change.path), (SetData, "/p"))

    def test_500_levels_need_no_recursion(self) -> None:
        """Plans of deep trees are made in both directions."""
        deep = deepest = TreeNode()
        for _ in range(500):
            deepest.children["d"] = deepest = TreeNode()
        self.assertEqual(len(plan_import(deep, Stored(), acl=OPEN).writes), 500)
        top = Stored(children={"d": stored(deep.children["d"])})
        self.assertEqual(len(plan_delete("/d", top.children["d"]).writes), 500)


class DeleteTests(SynchronousTestCase):
    """Plans of deletions."""

    THERE = stored(parse_tree("/a\n  /b\n    /x : ephemeral\n    /y\n  /c\n")).children["a"]

    def test_ephemeral_nodes_and_their_ancestors_are_kept(self) -> None:
        """Nodes that are ephemeral, or above one, are kept and reported."""
        plan = plan_delete("/a", self.THERE)
        self.assertEqual([write.path for write in plan.writes], ["/a/b/y", "/a/c"])
        self.assertEqual(
            list(describe_dry_run(plan)),
            [
                "wouldn't delete /a/b/x because it's ephemeral.",
                "would delete /a/b/y.",
                "/a/b not deleted due to ephemeral descendent.",
                "would delete /a/c.",
                "/a not deleted due to ephemeral descendent.",
            ],
        )

    def test_force_deletes_children_first(self) -> None:
        """Force deletes everything, children first, each at the version that was read."""
        plan = plan_delete("/a", self.THERE, force=True)
        self.assertEqual(
            [write.path for write in plan.writes],
            ["/a/b/x", "/a/b/y", "/a/b", "/a/c", "/a"],
        )
        self.assertEqual({getattr(write, "version", None) for write in plan.writes}, {7})

    def test_the_root_cannot_be_deleted(self) -> None:
        """The root cannot be deleted."""
        self.assertRaises(InvalidPathError, plan_delete, "/", self.THERE)


class WordingTests(SynchronousTestCase):
    """A dry run in the predecessor's words."""

    def test_dry_runs_describe_changes_in_order(self) -> None:
        """Old properties in order, then new ones; a new node stands for those below it."""
        self.assertEqual(
            dry_run(
                "/a\n  b = 2\n  d = 'x'\n  l -> /1\n  n -> /2\n  p => /q\n"
                "/new\n  x = 1\n  /below\n/other\n",
                "/a\n  b = 1\n  c = 'y'\n  m -> /0\n  n -> /1\n",
            ),
            [
                "/a b change from 1 to 2",
                "/a remove property c = y",
                "/a remove link m -> /0",
                "/a n link change from /1 to /2",
                "/a add property d = x",
                "/a add link l -> /1",
                "/a add property p => = /q",
                "add /new",
                "add /other",
            ],
        )

    def test_extra_nodes_are_reported_deleted_or_ignored(self) -> None:
        """Extra nodes are reported, deleted or ignored, but never at the top."""
        new, old = "/a\n  /b\n", "/a\n  /b\n  /c\n    /d\n/top\n"
        self.assertEqual(dry_run(new, old), ["extra path not trimmed: /a/c"])
        self.assertEqual(dry_run(new, old, False), [])
        self.assertEqual(
            dry_run(new, old, True, "/p"), ["would delete /p/a/c/d.", "would delete /p/a/c."]
        )

    def test_a_change_of_type_alone_is_a_change(self) -> None:
        """``1`` and ``1.0`` are different values."""
        self.assertEqual(
            dry_run("/a\n  b = 1\n", "/a\n  b = True\n"), ["/a b change from True to 1"]
        )


class StoredTests(SynchronousTestCase):
    """What was read, as a tree."""

    def test_ephemeral_on_request(self) -> None:
        """Ephemeral nodes are left out unless they are asked for."""
        tree = parse_tree("/a\n  /b : ephemeral\n  /c\n")
        self.assertEqual(stored(tree).to_tree(), parse_tree("/a\n  /c\n"))
        self.assertEqual(stored(tree).to_tree(ephemeral=True), tree)
        self.assertEqual(decode(None), {})
