"""Where links lead, told apart from how nodes are read.

The functions here are generators: they yield the paths they want to know about and
are sent the properties found there (None for a path without a node).  ``answer``
drives one over a plain function; others drive them over a server, where one round
trip answers a whole list.
"""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from zkservice.errors import (
    BadPropertyLinkError,
    InvalidPathError,
    LinkLoopError,
    NoNodeError,
    NoPropertyError,
)
from zkservice.tree.model import PROPERTY_LINK, SYMLINK, Node, is_property_link, is_symlink
from zkservice.tree.paths import join, normalize, split
from zkservice.tree.values import Properties, Value

T = TypeVar("T")
#: What a path holds: None where there is no node.
Found: TypeAlias = Mapping[str, "Properties | None"]
Lookup: TypeAlias = Generator[Sequence[str], Found, T]

#: Links followed for one path.  Links can multiply one another without a circle.
MAX_LINKS: Final = 100

WORDS: Final = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\S+""")


@dataclass(frozen=True)
class Resolution:
    """Where a path really is, and the links on the way there.

    ``links`` are paths that no node has: their parents hold the links.  A node that
    appears at one of them takes the link's place.
    """

    path: str
    links: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """What a property link names; ``name`` is None where it goes without saying."""

    path: str
    name: str | None


@dataclass(frozen=True)
class Followed:
    """What a property's link led to: its value, and everything that it depends on.

    ``nodes`` are the real paths of nodes whose properties were looked at, ``links``
    those of symbolic links on the way to them.
    """

    value: Value
    nodes: Sequence[str] = ()
    links: Sequence[str] = ()


def resolve(path: str, base: str = "/") -> Lookup[Resolution]:
    """Find the node that a path means, through symbolic links.

    A node is preferred to a link of its name.  ``.`` and ``..`` are taken as text,
    before any link is looked at; a relative target starts at the node that holds the
    link.

    Raises:
        NoNodeError: for the path that was asked, where a part of it is neither.
        LinkLoopError: a link's target leads through the link itself.
        InvalidPathError: the path, or a link's target, can be no path.
    """
    whole = normalize(path, base)
    followed: list[str] = []
    active: list[tuple[str, int]] = []  # links whose target is not yet behind us
    while True:
        found = yield _ancestry(whole)
        if found[whole] is not None:
            return Resolution(whole, tuple(followed))
        holder, name, rest = _deepest(whole, found)
        link, target = join(holder, name), (found[holder] or {}).get(name + SYMLINK)
        if not isinstance(target, str):
            raise NoNodeError(path)
        while active and active[-1][1] > len(rest):
            active.pop()
        active.append((link, len(rest)))
        if any(link == other for other, _ in active[:-1]) or len(followed) >= MAX_LINKS:
            raise LinkLoopError(tuple(other for other, _ in active))
        followed.append(link)
        whole = normalize("/".join([normalize(target, holder), *rest]))


def follow(path: str, properties: Properties, name: str) -> Lookup[Followed]:
    """Find the value of a property, through property links.

    A property is preferred to a link of its name.

    Args:
        path: the real path of the node, where relative links start.
        properties: its properties.
        name: without an arrow.

    Raises:
        KeyError: the node has neither such a property nor such a link.
        BadPropertyLinkError: the link leads nowhere or in a circle.
    """
    if name in properties:
        return Followed(properties[name])
    link = name + PROPERTY_LINK
    if not is_property_link(link, properties.get(link)):
        raise KeyError(name)
    try:
        return (yield from _chain(path, properties, name))
    except (NoNodeError, LinkLoopError, InvalidPathError, NoPropertyError) as error:
        raise BadPropertyLinkError(path, link, properties[link], error) from error


def _chain(path: str, properties: Properties, name: str) -> Lookup[Followed]:
    """Go from link to link until a node has the property itself."""
    nodes: list[str] = []
    links: list[str] = []
    seen = [f"{path} {name}"]
    while name not in properties:
        stored = properties.get(name + PROPERTY_LINK)
        if not isinstance(stored, str):
            raise NoPropertyError(path, f"it has no property {name!r}")
        target = link_target(stored)
        place = yield from resolve(target.path, path)
        links += place.links
        path, name = place.path, target.name or name
        found = yield [path]
        properties = found[path] or {}
        nodes.append(path)
        seen.append(f"{path} {name}")
        if seen[-1] in seen[:-1]:
            raise LinkLoopError(tuple(seen))
    return Followed(properties[name], nodes, links)


def link_target(text: str) -> Target:
    """What the stored text of a property link names.

    Raises:
        InvalidPathError: it is not one or two words.
    """
    words = WORDS.findall(text)
    if not 1 <= len(words) <= 2:
        raise InvalidPathError(text, "a property link is a path and, perhaps, a name")
    path, *names = map(_unquoted, words)
    return Target(path, names[0] if names else None)


def answer(lookup: Lookup[T], read: Callable[[str], Properties | None]) -> T:
    """Drive a lookup over whatever ``read`` knows."""
    try:
        wanted = next(lookup)
        while True:
            wanted = lookup.send({path: read(path) for path in wanted})
    except StopIteration as end:
        result: T = end.value
        return result


def loops(root: Node, at: str = "/") -> Iterator[tuple[Node, str, str]]:
    """Links of a tree that lead back to themselves: node, stored name, what is wrong.

    Args:
        root: the top of the tree.
        at: where the tree is going to be; links out of it are not judged.
    """
    place = normalize(at)

    def read(path: str) -> Properties | None:
        if path == place or path.startswith(place.rstrip("/") + "/"):
            node = root.get(path[len(place.rstrip("/")) :])
            return None if node is None else node.properties
        return {} if place.startswith(path.rstrip("/") + "/") else None

    for path, node in root.walk(place):
        for name, value in node.properties.items():
            problem = None
            if is_symlink(name, value):
                problem = _problem(resolve(join(path, name.removesuffix(SYMLINK))), read)
            elif is_property_link(name, value):
                target = name.removesuffix(PROPERTY_LINK)
                problem = _problem(follow(path, node.properties, target), read)
            if problem is not None:
                yield node, name, problem


def _problem(lookup: Lookup[object], read: Callable[[str], Properties | None]) -> str | None:
    """What a lookup runs into, if it is a loop; other ends may lie outside of the tree."""
    try:
        answer(lookup, read)
    except LinkLoopError as error:
        return str(error)
    except BadPropertyLinkError as error:
        return str(error) if isinstance(error.cause, LinkLoopError) else None
    except (NoNodeError, InvalidPathError, KeyError):
        pass
    return None


def _ancestry(path: str) -> list[str]:
    """The path, then those above it up to the root."""
    result = [path]
    while path != "/":
        path = split(path)[0]
        result.append(path)
    return result


def _deepest(path: str, found: Found) -> tuple[str, str, list[str]]:
    """The nearest node above a path that has none, the name missing there, and the rest."""
    rest: list[str] = []
    above, name = split(path)
    while found[above] is None and above != "/":
        rest.insert(0, name)
        above, name = split(above)
    return above, name, rest


def _unquoted(word: str) -> str:
    if word[0] in "'\"" and len(word) > 1 and word[-1] == word[0]:
        try:
            return str(literal_eval(word))
        except (ValueError, SyntaxError):
            return word
    return word
