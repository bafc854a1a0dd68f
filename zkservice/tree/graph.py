"""Which services use which: the symbolic links of a tree, as a graph.

A service is a node with a child called ``providers``.  A symbolic link makes its user
depend on its target.  The user is the service that contains the link, or the node that
holds the link if no service contains it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from zkservice.errors import InvalidPathError
from zkservice.tree.loops import LinkedTree
from zkservice.tree.model import SYMLINK, TreeNode, is_symlink
from zkservice.znodes import join, normalize, split

PROVIDERS: Final = "providers"


def get_edges(root: TreeNode) -> list[tuple[str, str]]:
    """Pairs of a user and the node or service that it uses, sorted, each once.

    Links are resolved within the tree: relative links, links through other links, and
    links with ``..`` in them.  A link to ``providers`` is a link to the service.  A link out
    of the tree, to a missing node or in a loop keeps the path that it names.
    """
    tree = LinkedTree(root)
    users: dict[str, str] = {}  # by path: the service that contains a node, or the node
    services: set[str] = set()
    edges: set[tuple[str, str]] = set()
    for path, node in root.walk():
        parent_user = users.get(split(path)[0], path)
        if PROVIDERS in node.children:
            services.add(path)
        in_service = parent_user in services and path not in services
        users[path] = user = parent_user if in_service else path
        for name, value in node.properties.items():
            if is_symlink(name, value):
                edges.update((user, used) for used in _used(tree, path, name, value))
    return sorted((user, used) for user, used in edges if user != used)


def to_dot(edges: Iterable[tuple[str, str]]) -> str:
    """The graph in Graphviz's language."""
    lines = [f"  {_quoted(user)} -> {_quoted(provider)};" for user, provider in edges]
    return "\n".join(["digraph g {", *lines, "}"]) + "\n"


def _used(tree: LinkedTree, path: str, name: str, target: str) -> Iterable[str]:
    """The node or service that a link leads to; nothing if its target is invalid."""
    try:
        target_path = normalize(target, path)
    except InvalidPathError:
        return
    used = tree.destination(join(path, name.removesuffix(SYMLINK))).path or target_path
    parent, last_name = split(used)
    yield parent if last_name == PROVIDERS else used


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
