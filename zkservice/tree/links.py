"""Resolve links, independent of how nodes are read.

The functions here are generators, called lookups.  They yield lists of paths that they need, and
are sent the properties of these nodes (None for a path without a node).  ``run_lookup`` drives a
lookup with a plain function; ``zkservice.following.lookup`` drives one on a server, with one round
trip for each list of paths.
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
#: The properties of nodes by path; None for a node that does not exist.
FoundProperties: TypeAlias = Mapping[str, "Properties | None"]
#: Yields paths, is sent what was found at them, and returns a value.
Lookup: TypeAlias = Generator[Sequence[str], FoundProperties, T]

#: Links that are followed for one path.  Even without a loop there can be very many, because the
#: target of a link can lead through other links.
MAX_LINKS: Final = 100

#: Bound of a path's length times its levels: a link's target of 1 MiB could have 500,000
#: levels, and the paths of all its ancestors would take 250 GB.
MAX_SIZE: Final = 8_000_000

WORDS: Final = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\S+""")


@dataclass(frozen=True)
class Resolution:
    """Where a path really is, and the links on the way there.

    Attributes:
        path: the real path; None if the path leads nowhere.
        links: paths of the links that were followed.  A node that is created at one
            of these paths takes the link's place.
        missing: where a node or a link is missing, if that is why it leads nowhere.
        error: why it leads nowhere.
        missing_path: the real path of the node that is missing, if it were created; None if
            nothing is missing.
    """

    path: str | None
    links: tuple[str, ...] = ()
    missing: str | None = None
    error: Exception | None = None
    missing_path: str | None = None

    @property
    def real_path(self) -> str:
        """The real path; raises the error if there is none."""
        if self.path is None:
            raise self.error or NoNodeError(self.missing)
        return self.path


@dataclass(frozen=True)
class Target:
    """The target of a property link; ``name`` is None for the link's own name."""

    path: str
    name: str | None


@dataclass(frozen=True)
class LinkedValue:
    """The result of following a property link: the value, and everything it depends on.

    Attributes:
        value: of the property.
        nodes: real paths of the nodes whose properties were read.
        resolutions: how these paths were resolved.
        error: why there is no value; None if there is one.
    """

    value: Value
    nodes: tuple[str, ...] = ()
    resolutions: tuple[Resolution, ...] = ()
    error: BadPropertyLinkError | None = None


def resolve(path: str, base: str = "/") -> Lookup[Resolution]:
    """Find the node that a path means, through symbolic links.

    A node is preferred to a link of its name.  ``.`` and ``..`` are resolved as text,
    before any link is followed.  A relative target starts at the node that holds the link.

    Raises:
        NoNodeError: a part of the path is neither a node nor a link.
        LinkLoopError: a link's target leads through the link itself.
        InvalidPathError: the path or a link's target is invalid.
    """
    resolution = yield from trace(path, base)
    if resolution.error is not None:
        raise resolution.error
    return resolution


def trace(path: str, base: str = "/") -> Lookup[Resolution]:
    """Like ``resolve``, but a path that leads nowhere is a result, with its error."""
    try:
        current = normalize(path, base)
    except InvalidPathError as error:
        return Resolution(None, error=error)
    followed: list[str] = []
    # The links whose targets are being resolved, each with the number of names that come after it.
    # Once there are fewer names left than that, its target is resolved.
    active: list[tuple[str, int]] = []
    while True:
        if len(current) * current.count("/") > MAX_SIZE:
            shown = f"{current[:100]}..."
            too_deep = InvalidPathError(shown, "it has too many levels to be resolved")
            return Resolution(None, tuple(followed), None, too_deep)
        found = yield _ancestry(current)
        if found[current] is not None:
            return Resolution(current, tuple(followed))
        holder, name, rest = _split_at_missing(current, found)
        link, target = join(holder, name), (found[holder] or {}).get(name + SYMLINK)
        if not isinstance(target, str):
            return Resolution(None, tuple(followed), link, NoNodeError(path), current)
        while active and active[-1][1] > len(rest):
            active.pop()
        active.append((link, len(rest)))
        looped = any(link == other for other, _ in active[:-1])
        followed.append(link)
        if looped or len(followed) > MAX_LINKS:
            loop = LinkLoopError(tuple(other for other, _ in active))
            return Resolution(None, tuple(followed), None, loop)
        try:
            current = normalize("/".join([normalize(target, holder), *rest]))
        except InvalidPathError as error:
            return Resolution(None, tuple(followed), None, error)


def follow(path: str, properties: Properties, name: str) -> Lookup[LinkedValue]:
    """Find the value of a property, through property links.

    A property is preferred to a link of its name.

    Args:
        path: the real path of the node, where relative links start.
        properties: its properties.
        name: of the property, without an arrow.

    Returns:
        The value; ``error`` is set where the link leads nowhere or in a circle.

    Raises:
        KeyError: the node has neither such a property nor such a link.
    """
    link = name + PROPERTY_LINK
    if name not in properties and not is_property_link(link, properties.get(link)):
        raise KeyError(name)
    nodes: list[str] = []
    resolutions: list[Resolution] = []
    value, error = None, None
    try:
        value = yield from _chain(path, properties, name, nodes, resolutions)
    except (NoNodeError, LinkLoopError, InvalidPathError, NoPropertyError) as cause:
        error = BadPropertyLinkError(path, link, properties[link], cause)
    return LinkedValue(value, tuple(nodes), tuple(resolutions), error)


def _chain(
    path: str, properties: Properties, name: str, nodes: list[str], resolutions: list[Resolution]
) -> Lookup[Value]:
    """Follow links until a node has the property itself; append to both lists."""
    seen = {(path, name): None}  # in order
    while name not in properties:
        stored = properties.get(name + PROPERTY_LINK)
        if not isinstance(stored, str):
            raise NoPropertyError(path, f"it has no property {name!r}")
        target = link_target(stored)
        resolution = yield from trace(target.path, path)
        resolutions.append(resolution)
        path, name = resolution.real_path, target.name or name
        nodes.append(path)
        properties = (yield [path])[path] or {}
        if (path, name) in seen:
            raise LinkLoopError(tuple(map(" ".join, [*seen, (path, name)])))
        seen[path, name] = None
    return properties[name]


def link_target(text: str) -> Target:
    """Parse the stored text of a property link.

    Raises:
        InvalidPathError: it is not one or two words.
    """
    words = WORDS.findall(text)
    if not 1 <= len(words) <= 2:
        raise InvalidPathError(text, "a property link is a path and, perhaps, a name")
    path, *names = map(_unquoted, words)
    return Target(path, names[0] if names else None)


def run_lookup(lookup: Lookup[T], read: Callable[[str], Properties | None]) -> T:
    """Drive a lookup with a function that returns properties by path."""
    try:
        wanted = next(lookup)
        while True:
            wanted = lookup.send({path: read(path) for path in wanted})
    except StopIteration as end:
        result: T = end.value
        return result


def _ancestry(path: str) -> list[str]:
    """The path and its ancestors, up to the root."""
    result = [path]
    while path != "/":
        path = split(path)[0]
        result.append(path)
    return result


def _split_at_missing(path: str, found: FoundProperties) -> tuple[str, str, list[str]]:
    """Split a missing path: its nearest existing ancestor, the name missing there, the rest."""
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
