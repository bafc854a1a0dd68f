"""Resolve all links of a tree in memory, and find those that lead in a loop.

`zkservice.tree.links` resolves one path at a time on a server.  Here the whole tree is
known, so each link is followed once, whatever leads to it, and the time is proportional to
the size of the tree.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from zkservice.errors import InvalidPathError, LinkLoopError
from zkservice.tree.links import MAX_LINKS, link_target
from zkservice.tree.model import PROPERTY_LINK, SYMLINK, TreeNode, is_property_link, is_symlink
from zkservice.znodes import join, normalize


class Loop(NamedTuple):
    """A link that leads back to itself, or to such a link."""

    path: str  #: of the node that holds it
    name: str  #: as it is stored: ``main ->``, ``color =>``
    problem: str
    node: TreeNode

    def __str__(self) -> str:
        return f"{self.path} {self.name}: {self.problem}"


@dataclass(frozen=True)
class Destination:
    """Where a path leads: ``path`` is None if nowhere, ``problem`` describes a loop."""

    path: str | None
    links: int = 0  #: followed on the way
    problem: str = ""


#: Yields the paths of links, and receives their destinations.
_Steps: TypeAlias = Generator[str, Destination, Destination]
#: The path of a node and the name of a property.
_Property: TypeAlias = "tuple[str, str]"

_NOWHERE: Final = Destination(None)
_TOO_MANY: Final = f"more than {MAX_LINKS} links have to be followed, or they form a loop"


def loops(root: TreeNode, at: str = "/") -> Iterator[Loop]:
    """Find the links of a tree that lead in a loop.

    Args:
        root: the top of the tree.
        at: where the tree is going to be; links out of it are not followed.
    """
    tree = LinkedTree(root, at)
    for path, node in root.walk(tree.at):
        for name, value in node.properties.items():
            problem = ""
            if is_symlink(name, value):
                problem = tree.destination(join(path, name.removesuffix(SYMLINK))).problem
            elif is_property_link(name, value):
                problem = tree.property_problem(path, name.removesuffix(PROPERTY_LINK))
            if problem:
                yield Loop(path, name, problem, node)


class LinkedTree:
    """A tree that follows each of its links once."""

    def __init__(self, root: TreeNode, at: str = "/") -> None:
        """Follow no link yet.

        Args:
            root: the top of the tree; it must not change meanwhile.
            at: the path of the root.

        Raises:
            InvalidPathError: ``at`` is invalid.
        """
        self.root = root
        self.at = normalize(at)
        self._prefix = self.at.rstrip("/")
        self._known: dict[str, Destination] = {}  # by the paths of links
        self._problems: dict[_Property, str] = {}

    def destination(self, path: str, base: str = "/") -> Destination:
        """The node that a path means; the rules are those of `zkservice.tree.links.resolve`."""
        try:
            steps = self._walk(normalize(path, base))
        except InvalidPathError:
            return _NOWHERE
        return self._run(steps)

    def property_problem(self, path: str, name: str) -> str:
        """A description of the loop that a property's link leads in; empty without one."""
        here: _Property | None = (path, name)
        way: dict[_Property, None] = {}
        problem = ""
        while here is not None and not problem:
            if here in self._problems:
                problem = self._problems[here]
                break
            if here in way:
                shown = [" ".join(one) for one in way]
                problem = _loop(shown[shown.index(" ".join(here)) :])
                break
            way[here] = None
            here, problem = self._next_property(*here)
        self._problems.update(dict.fromkeys(way, problem))
        return problem

    # -- how --------------------------------------------------------------------------

    def _next_property(self, path: str, name: str) -> tuple[_Property | None, str]:
        """The property that a property link leads to, or a description of the loop."""
        node = self._find(path)[0]
        stored = None if node is None else node.properties.get(name + PROPERTY_LINK)
        if node is None or name in node.properties or not isinstance(stored, str):
            return None, ""
        try:
            target = link_target(stored)
        except InvalidPathError:
            return None, ""
        way = self.destination(target.path, path)
        return (None if way.path is None else (way.path, target.name or name)), way.problem

    def _run(self, steps: _Steps) -> Destination:
        """Follow links until a path ends; iterative: links nest deeper than Python recurses."""
        stack = [("", steps)]
        active = {"": 0}  # links that are being followed, and their places in the stack
        answer: Destination | None = None
        while True:
            try:
                link = next(stack[-1][1]) if answer is None else stack[-1][1].send(answer)
            except StopIteration as end:
                answer = end.value
                assert answer is not None
                done, _ = stack.pop()
                if not stack:
                    return answer
                del active[done]
                self._known[done] = answer
                continue
            answer = self._known.get(link)
            if answer is None and link in active:
                answer = Destination(None, 0, _loop([one for one, _ in stack[active[link] :]]))
            elif answer is None:
                active[link] = len(stack)
                stack.append((link, self._follow(link)))

    def _walk(self, path: str) -> _Steps:
        """Resolve a normalized path: down the nodes, and on from each link."""
        names = self._names(path)
        if names is None:
            return _NOWHERE
        node, passed, links = self.root, [self._prefix], 0
        for name in names:
            child = node.children.get(name)
            if child is not None:
                node = child
                passed.append(name)
                continue
            if not isinstance(node.properties.get(name + SYMLINK), str):
                return _NOWHERE
            found = yield "/".join((*passed, name))
            links += found.links
            if found.path is None:
                return found
            if links > MAX_LINKS:
                return Destination(None, links, _TOO_MANY)
            node, passed = self._find(found.path)[0] or self.root, [found.path.rstrip("/")]
        return Destination("/".join(passed) or "/", links)

    def _follow(self, link: str) -> _Steps:
        """Resolve a link, whose name is not that of a child of its holder."""
        node, (name,) = self._find(link)
        assert node is not None
        holder = link[: -len(name) - 1] or "/"
        try:
            target = normalize(node.properties[name + SYMLINK], holder)
        except InvalidPathError:
            return _NOWHERE
        found = yield from self._walk(target)
        if found.path is not None and found.links >= MAX_LINKS:
            return Destination(None, found.links, _TOO_MANY)
        return Destination(found.path, found.links + 1, found.problem)

    def _find(self, path: str) -> tuple[TreeNode | None, list[str]]:
        """The deepest node on a path, and the names that are missing below it.

        None if the path is not in the tree.
        """
        names = self._names(path)
        if names is None:
            return None, []
        node = self.root
        for place, name in enumerate(names):
            child = node.children.get(name)
            if child is None:
                return node, names[place:]
            node = child
        return node, []

    def _names(self, path: str) -> list[str] | None:
        """The names on the way from the root of the tree; None if it is not in the tree."""
        if path != self.at and not path.startswith(f"{self._prefix}/"):
            return None
        return [name for name in path[len(self._prefix) :].split("/") if name]


def _loop(way: list[str]) -> str:
    return str(LinkLoopError((*way, way[0])))
