"""Who uses whom: the services of a tree and the links between them, as a graph.

A service is a node with a child called ``providers``.  A symbolic link that leads to a
service, or to its ``providers``, makes a user of it: the service that the link is in,
or the node that holds the link, where that is in none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from zkservice.errors import InvalidPathError
from zkservice.tree.links import answer, trace
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
        links = [name for name, value in node.properties.items() if is_symlink(name, value)]
        user = _service_of(path, services) if links else path
        for name in links:
            provider = _provider(root, path, name, services)
            if provider not in (None, user):
                edges.add((user, str(provider)))
    return sorted(edges)


def to_dot(edges: Iterable[tuple[str, str]]) -> str:
    """The graph in Graphviz's language."""
    lines = [f"  {_quoted(user)} -> {_quoted(provider)};" for user, provider in edges]
    return "\n".join(["digraph g {", *lines, "}"]) + "\n"


def _provider(root: Node, path: str, name: str, services: set[str]) -> str | None:
    """The service that a link leads to; None when it leads to something else."""

    def read(wanted: str) -> Properties | None:
        node = root.get(wanted)
        return None if node is None else node.properties

    way = answer(trace(join(path, name.removesuffix(SYMLINK))), read)
    real = _named(path, root.get(path), name) if way.missing is not None else way.path
    if real is None:
        return None
    service, last = split(real)
    if last == PROVIDERS:
        return service
    return real if real in services else None


def _named(path: str, holder: Node | None, name: str) -> str:
    """The path that a link names, wherever that may be."""
    target = "" if holder is None else holder.properties[name]
    try:
        return normalize(target, path)
    except InvalidPathError:
        return ""


def _service_of(path: str, services: set[str]) -> str:
    """The nearest service at or above a node; the node itself where there is none."""
    return next((above for above in _upwards(path) if above in services), path)


def _upwards(path: str) -> Iterator[str]:
    while True:
        yield path
        if path == "/":
            return
        path = split(path)[0]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
