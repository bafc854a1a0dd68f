"""``template``: users' own formats, by `string.Template` or Jinja2.

A template of `string.Template` is repeated for each service.  A line with a placeholder about a
server (``$host``, ``$port``, ...) is repeated for each server that may be used.

Both kinds see only properties whose values cannot end a word of a configuration file: any client
that may write to ZooKeeper chooses the values.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from typing import Any, Final

from zkservice.errors import ConfigurationError, RenderError
from zkservice.formats.consumers.haproxy import server_name
from zkservice.formats.consumers.model import (
    PLAIN,
    Consumer,
    Listing,
    safe_properties,
    whole_weights,
)
from zkservice.formats.model import Member

#: The suffix of Jinja2 templates.
JINJA_SUFFIX: Final = ".j2"
_HIGHEST: Final = 256
_OF_SERVICE: Final = ("service", "path", "count")
_OF_SERVER: Final = ("host", "port", "address", "name", "scheme", "weight")
_PROPERTY: Final = "property."


class _Text(string.Template):
    """``$host``, ``${host}``, ``${property.zone}``."""

    flags = re.ASCII
    idpattern = "[a-z]+"
    braceidpattern = r"[a-z]+(?:\.[^{}\s]+)?"

    def names(self) -> list[str]:
        """The names of the placeholders.

        Raises:
            ValueError: a ``$`` does not begin a placeholder.
        """
        found = []
        for match in self.pattern.finditer(self.template):
            if match["invalid"] is not None:
                raise ValueError("write $$ for a $ that does not begin a placeholder")
            if match["escaped"] is None:
                found.append(match["named"] or match["braced"])
        return found


class _Values(dict[str, str]):
    """Values in which a missing property is empty."""

    def __missing__(self, name: str) -> str:
        return ""


def template(name: str, text: str) -> Consumer:
    """A consumer that makes its texts with a template.

    Args:
        name: the file's name; with the suffix ``.j2`` it is a Jinja2 template.
        text: the file's contents.

    Raises:
        ConfigurationError: the template is invalid, or Jinja2 is not installed.
    """
    if name.endswith(JINJA_SUFFIX):
        return Consumer("template", _jinja(name, text), content_type=PLAIN)
    return Consumer("template", _lines(name, text), content_type=PLAIN)


def _values(member: Member, weight: int) -> dict[str, str]:
    return {
        "host": member.host,
        "port": str(member.port),
        "address": member.address,
        "name": server_name(member),
        "scheme": "https" if member.tls else "http",
        "weight": str(weight),
    }


# -- string.Template -----------------------------------------------------------------------


def _lines(name: str, text: str) -> Callable[[Sequence[Listing]], bytes]:
    lines = [_Text(line) for line in text.splitlines(keepends=True)]
    repeated = []
    for number, line in enumerate(lines, 1):
        try:
            repeated.append(_is_repeated(line.names()))
        except ValueError as error:
            raise ConfigurationError(f"{name}, line {number}: {error}") from None

    def render(listings: Sequence[Listing]) -> bytes:
        written = []
        for listing in listings:
            servers = [_values_of(listing, *pair) for pair in _weighted(listing)]
            once = [_of_service(listing)]
            for line, repeat in zip(lines, repeated, strict=True):
                written += [line.substitute(values) for values in (servers if repeat else once)]
        return "".join(written).encode("utf-8", "replace")

    return render


def _is_repeated(names: Sequence[str]) -> bool:
    of_server = [one for one in names if one in _OF_SERVER or one.startswith(_PROPERTY)]
    for one in names:
        if one not in (*_OF_SERVICE, *of_server):
            known = ", ".join((*_OF_SERVICE, *_OF_SERVER))
            raise ValueError(f"{one!r} is unknown; expected {known} or {_PROPERTY}NAME")
    return bool(of_server)


def _weighted(listing: Listing) -> list[tuple[Member, int]]:
    members = listing.available
    return list(zip(members, whole_weights(members, _HIGHEST), strict=True))


def _of_service(listing: Listing) -> _Values:
    return _Values(service=listing.name, path=listing.path, count=str(len(listing.available)))


def _values_of(listing: Listing, member: Member, weight: int) -> _Values:
    properties = safe_properties(member.properties)
    values = _Values({f"{_PROPERTY}{name}": text for name, text in properties.items()})
    values.update(_of_service(listing), **_values(member, weight))
    return values


# -- Jinja2 --------------------------------------------------------------------------------


def _jinja(name: str, text: str) -> Callable[[Sequence[Listing]], bytes]:
    try:
        # Only here: it is an extra.
        import jinja2
    except ImportError:
        raise ConfigurationError(f"{name} needs Jinja2: pip install 'zkservice[jinja]'") from None
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    try:
        compiled = environment.from_string(text)
    except jinja2.TemplateSyntaxError as error:
        raise ConfigurationError(f"{name}, line {error.lineno}: {error.message}") from None

    def render(listings: Sequence[Listing]) -> bytes:
        services = [_service(listing) for listing in listings]
        try:
            made: str = compiled.render(services=services, service=services[0])
        except Exception as error:
            # A template is a program, and may raise anything.
            raise RenderError(f"{name}: {type(error).__name__}: {error}") from error
        return made.encode("utf-8", "replace")

    return render


def _service(listing: Listing) -> dict[str, Any]:
    weighted = zip(listing.members, whole_weights(listing.members, _HIGHEST), strict=True)
    everyone = [_server(member, weight) for member, weight in weighted]
    return {
        "name": listing.name,
        "path": listing.path,
        "servers": [one for one in everyone if one["available"]],
        "stopping": [one for one in everyone if not one["available"]],
    }


def _server(member: Member, weight: int) -> dict[str, Any]:
    return {
        **_values(member, weight),
        "port": member.port,
        "weight": weight,
        "available": member.available,
        "properties": safe_properties(member.properties),
        "unsafe_properties": dict(member.properties),
    }
