"""Who uses whom: the services of a tree and the links between them, as a graph.

A service is a node with a child, or a link, called ``providers``.  A symbolic link
below it that leads to another service's ``providers`` makes it a user of that service.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from zkservice.errors import InvalidPathError, LinkLoopError, NoNodeError
from zkservice.tree.links import answer, resolve
from zkservice.tree.model import SYMLINK, Node, is_symlink
from zkservice.tree.paths import join, normalize, split
from zkservice.tree.values import Properties

PROVIDERS: Final = "providers"


def get_edges(root: Node) -> list[tuple[str, str]]:
    """Pairs of service and provider, in order, each once.

    Links are followed as far as the tree goes: a relative one, one through another link,
    and one with ``..`` in it lead to the service that they really mean.  A link out of
    the tree keeps the path it names.
    """
    services = {path for path, node in root.walk() if PROVIDERS in node.children}
    edges: set[tuple[str, str]] = set()
    for path, node in root.walk():
        user = _service_of(path, services)
        for name in node.properties if user is not None else ():
            if is_symlink(name, node.properties[name]):
                provider = _provider(root, path, name, str(node.properties[name]))
                if user is not None and provider not in (None, user):
                    edges.add((user, str(provider)))
    return sorted(edges)


def to_dot(edges: Iterable[tuple[str, str]]) -> str:
    """The graph in Graphviz's language."""
    lines = [f"  {_quoted(user)} -> {_quoted(provider)};" for user, provider in edges]
    return "\n".join(["digraph g {", *lines, "}"]) + "\n"


def _provider(root: Node, path: str, name: str, target: str) -> str | None:
    """The service whose providers a link leads to; None when it leads to something else."""

    def read(wanted: str) -> Properties | None:
        node = root.get(wanted)
        return None if node is None else node.properties

    try:
        real = answer(resolve(join(path, name[: -len(SYMLINK)])), read).path
    except NoNodeError:
        try:
            real = normalize(target, path)
        except InvalidPathError:
            return None
    except (LinkLoopError, InvalidPathError):
        return None
    service, last = split(real)
    return service if last == PROVIDERS else None


def _service_of(path: str, services: set[str]) -> str | None:
    """The nearest service that a node belongs to: itself, or one above it."""
    return next((above for above in _upwards(path) if above in services), None)


def _upwards(path: str) -> Iterator[str]:
    while True:
        yield path
        if path == "/":
            return
        path = split(path)[0]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
