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
    """Resolves links of a tree, each of them only once.

    Args:
        root: the top of the tree; it must not change meanwhile.
        at: the path of the root.

    Raises:
        InvalidPathError: ``at`` is invalid.
    """

    def __init__(self, root: TreeNode, at: str = "/") -> None:
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
        current: _Property | None = (path, name)
        chain: dict[_Property, None] = {}  # the properties so far, in order
        problem = ""
        while current is not None and not problem:
            if current in self._problems:
                problem = self._problems[current]
                break
            if current in chain:
                shown = [" ".join(one) for one in chain]
                problem = _loop(shown[shown.index(" ".join(current)) :])
                break
            chain[current] = None
            current, problem = self._next_property(*current)
        self._problems.update(dict.fromkeys(chain, problem))
        return problem

    # -- resolving one link or path -------------------------------------------------------

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
        found = self.destination(target.path, path)
        if found.path is None:
            return None, found.problem
        return (found.path, target.name or name), found.problem

    def _run(self, steps: _Steps) -> Destination:
        """Resolve a path, and each link on its way.

        A stack of generators takes the place of recursion, because links nest deeper than Python
        recurses.  The generator on top yields a link; it is resumed with the link's destination.
        """
        stack = [("", steps)]  # a link, and the steps that resolve it; first those of the path
        active = {"": 0}  # the links in the stack, and their positions
        result: Destination | None = None  # of the link that the generator on top has yielded
        while True:
            _, top = stack[-1]
            try:
                link = next(top) if result is None else top.send(result)
            except StopIteration as end:
                result = end.value
                assert result is not None
                resolved, _ = stack.pop()
                if not stack:
                    return result
                del active[resolved]
                self._known[resolved] = result
                continue
            result = self._known.get(link)
            if result is None and link in active:
                result = Destination(None, 0, _loop([one for one, _ in stack[active[link] :]]))
            elif result is None:
                active[link] = len(stack)
                stack.append((link, self._follow(link)))

    def _walk(self, path: str) -> _Steps:
        """Resolve a normalized path: go down the nodes, and continue at the target of each link."""
        names = self._names(path)
        if names is None:
            return _NOWHERE
        node, links = self.root, 0
        real = [self._prefix]  # the parts of the node's real path
        for name in names:
            child = node.children.get(name)
            if child is not None:
                node = child
                real.append(name)
                continue
            if not isinstance(node.properties.get(name + SYMLINK), str):
                return _NOWHERE
            found = yield "/".join((*real, name))
            links += found.links
            if found.path is None:
                return found
            if links > MAX_LINKS:
                return Destination(None, links, _TOO_MANY)
            node, real = self._find(found.path)[0] or self.root, [found.path.rstrip("/")]
        return Destination("/".join(real) or "/", links)

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

        The node is None if the path is outside of the tree.
        """
        names = self._names(path)
        if names is None:
            return None, []
        node = self.root
        for index, name in enumerate(names):
            child = node.children.get(name)
            if child is None:
                return node, names[index:]
            node = child
        return node, []

    def _names(self, path: str) -> list[str] | None:
        """The names from the root of the tree to a path; None if that is outside of the tree."""
        if path != self.at and not path.startswith(f"{self._prefix}/"):
            return None
        return [name for name in path[len(self._prefix) :].split("/") if name]


def _loop(links: list[str]) -> str:
    return str(LinkLoopError((*links, links[0])))
