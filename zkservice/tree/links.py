"""Where links lead, told apart from how nodes are read.

The functions here are generators: they yield the paths they want to know about and
are sent the properties found there (None for a path without a node).  ``answer``
drives one over a plain function; others drive them over a server, where one round
trip answers a whole list.
"""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from zkservice.errors import (
    BadPropertyLinkError,
    InvalidPathError,
    LinkLoopError,
    NoNodeError,
    NoPropertyError,
)
from zkservice.properties import Properties, Value
from zkservice.tree.model import PROPERTY_LINK, SYMLINK, is_property_link
from zkservice.znodes import join, normalize, split

T = TypeVar("T")
#: What a path holds: None where there is no node.
Found: TypeAlias = Mapping[str, "Properties | None"]
Lookup: TypeAlias = Generator[Sequence[str], Found, T]

#: Links followed for one path.  Links can multiply one another without a circle.
MAX_LINKS: Final = 100

#: Characters of a path, times its levels, that are looked up: a link's target of 1 MiB
#: could name 500,000 levels, whose paths would be 250 GB.
MAX_SIZE: Final = 8_000_000

WORDS: Final = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\S+""")


@dataclass(frozen=True)
class Resolution:
    """Where a path really is, and the links on the way there.

    ``links`` are paths that no node has: their parents hold the links.  A node that
    appears at one of them takes the link's place.  ``path`` is None where the path leads
    nowhere; ``error`` then says why, and ``missing`` is where a node or a link would be
    needed, if that is why; then ``place`` is where the whole path would be, if it were made.
    """

    path: str | None
    links: tuple[str, ...] = ()
    missing: str | None = None
    error: Exception | None = None
    place: str | None = None

    @property
    def real_path(self) -> str:
        """Where the path is; raises the error if that is nowhere."""
        if self.path is None:
            raise self.error or NoNodeError(self.missing)
        return self.path


@dataclass(frozen=True)
class Target:
    """What a property link names; ``name`` is None where it goes without saying."""

    path: str
    name: str | None


@dataclass(frozen=True)
class Followed:
    """What a property's link led to: its value, and everything that it depends on.

    ``nodes`` are the real paths of nodes whose properties were looked at, ``ways`` how
    they were found.
    """

    value: Value
    nodes: tuple[str, ...] = ()
    ways: tuple[Resolution, ...] = ()
    error: BadPropertyLinkError | None = None


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
    way = yield from trace(path, base)
    if way.error is not None:
        raise way.error
    return way


def trace(path: str, base: str = "/") -> Lookup[Resolution]:
    """As ``resolve``, but a path that leads nowhere is a result too, with its reason."""
    try:
        whole = normalize(path, base)
    except InvalidPathError as error:
        return Resolution(None, error=error)
    followed: list[str] = []
    active: list[tuple[str, int]] = []  # links whose target is not yet behind us
    while True:
        if len(whole) * whole.count("/") > MAX_SIZE:
            shown = f"{whole[:100]}..."
            too_deep = InvalidPathError(shown, "it has too many levels to be resolved")
            return Resolution(None, tuple(followed), None, too_deep)
        found = yield _ancestry(whole)
        if found[whole] is not None:
            return Resolution(whole, tuple(followed))
        holder, name, rest = _deepest(whole, found)
        link, target = join(holder, name), (found[holder] or {}).get(name + SYMLINK)
        if not isinstance(target, str):
            return Resolution(None, tuple(followed), link, NoNodeError(path), whole)
        while active and active[-1][1] > len(rest):
            active.pop()
        active.append((link, len(rest)))
        looped = any(link == other for other, _ in active[:-1])
        followed.append(link)
        if looped or len(followed) > MAX_LINKS:
            loop = LinkLoopError(tuple(other for other, _ in active))
            return Resolution(None, tuple(followed), None, loop)
        try:
            whole = normalize("/".join([normalize(target, holder), *rest]))
        except InvalidPathError as error:
            return Resolution(None, tuple(followed), None, error)


def follow(path: str, properties: Properties, name: str) -> Lookup[Followed]:
    """Find the value of a property, through property links.

    A property is preferred to a link of its name.

    Args:
        path: the real path of the node, where relative links start.
        properties: its properties.
        name: without an arrow.

    Returns:
        With ``error`` set where the link leads nowhere or in a circle.

    Raises:
        KeyError: the node has neither such a property nor such a link.
    """
    link = name + PROPERTY_LINK
    if name not in properties and not is_property_link(link, properties.get(link)):
        raise KeyError(name)
    nodes: list[str] = []
    ways: list[Resolution] = []
    value, error = None, None
    try:
        value = yield from _chain(path, properties, name, nodes, ways)
    except (NoNodeError, LinkLoopError, InvalidPathError, NoPropertyError) as cause:
        error = BadPropertyLinkError(path, link, properties[link], cause)
    return Followed(value, tuple(nodes), tuple(ways), error)


def _chain(
    path: str, properties: Properties, name: str, nodes: list[str], ways: list[Resolution]
) -> Lookup[Value]:
    """Go from link to link until a node has the property itself; note nodes and ways."""
    seen = {(path, name): None}  # in order
    while name not in properties:
        stored = properties.get(name + PROPERTY_LINK)
        if not isinstance(stored, str):
            raise NoPropertyError(path, f"it has no property {name!r}")
        target = link_target(stored)
        way = yield from trace(target.path, path)
        ways.append(way)
        path, name = way.real_path, target.name or name
        nodes.append(path)
        properties = (yield [path])[path] or {}
        if (path, name) in seen:
            raise LinkLoopError(tuple(map(" ".join, [*seen, (path, name)])))
        seen[path, name] = None
    return properties[name]


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
