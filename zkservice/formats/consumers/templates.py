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
_SERVICE_NAMES: Final = ("service", "path", "count")
_SERVER_NAMES: Final = ("host", "port", "address", "name", "scheme", "weight")
_PROPERTY: Final = "property."


class _LineTemplate(string.Template):
    """A line with placeholders: ``$host``, ``${host}``, ``${property.zone}``."""

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


class _PlaceholderValues(dict[str, str]):
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
        return Consumer("template", _jinja_renderer(name, text), content_type=PLAIN)
    return Consumer("template", _line_renderer(name, text), content_type=PLAIN)


def _server_values(member: Member, weight: int) -> dict[str, str]:
    return {
        "host": member.host,
        "port": str(member.port),
        "address": member.address,
        "name": server_name(member),
        "scheme": "https" if member.tls else "http",
        "weight": str(weight),
    }


# -- string.Template -----------------------------------------------------------------------


def _line_renderer(name: str, text: str) -> Callable[[Sequence[Listing]], bytes]:
    lines = [_LineTemplate(line) for line in text.splitlines(keepends=True)]
    repeated = []  # for each line: whether it is repeated for each server
    for number, line in enumerate(lines, 1):
        try:
            repeated.append(_is_repeated(line.names()))
        except ValueError as error:
            raise ConfigurationError(f"{name}, line {number}: {error}") from None

    def render(listings: Sequence[Listing]) -> bytes:
        written = []
        for listing in listings:
            for_each_server = [
                _placeholder_values(listing, *pair) for pair in _members_with_weights(listing)
            ]
            once = [_service_values(listing)]
            for line, is_repeated in zip(lines, repeated, strict=True):
                rounds = for_each_server if is_repeated else once
                written += [line.substitute(values) for values in rounds]
        return "".join(written).encode("utf-8", "replace")

    return render


def _is_repeated(names: Sequence[str]) -> bool:
    of_server = [one for one in names if one in _SERVER_NAMES or one.startswith(_PROPERTY)]
    for one in names:
        if one not in (*_SERVICE_NAMES, *of_server):
            known = ", ".join((*_SERVICE_NAMES, *_SERVER_NAMES))
            raise ValueError(f"{one!r} is unknown; expected {known} or {_PROPERTY}NAME")
    return bool(of_server)


def _members_with_weights(listing: Listing) -> list[tuple[Member, int]]:
    members = listing.available
    return list(zip(members, whole_weights(members, _HIGHEST), strict=True))


def _service_values(listing: Listing) -> _PlaceholderValues:
    return _PlaceholderValues(
        service=listing.name, path=listing.path, count=str(len(listing.available))
    )


def _placeholder_values(listing: Listing, member: Member, weight: int) -> _PlaceholderValues:
    properties = safe_properties(member.properties)
    values = _PlaceholderValues({f"{_PROPERTY}{name}": text for name, text in properties.items()})
    values.update(_service_values(listing), **_server_values(member, weight))
    return values


# -- Jinja2 --------------------------------------------------------------------------------


def _jinja_renderer(name: str, text: str) -> Callable[[Sequence[Listing]], bytes]:
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
    servers = [_server(member, weight) for member, weight in weighted]
    return {
        "name": listing.name,
        "path": listing.path,
        "servers": [one for one in servers if one["available"]],
        "stopping": [one for one in servers if not one["available"]],
    }


def _server(member: Member, weight: int) -> dict[str, Any]:
    return {
        **_server_values(member, weight),
        "port": member.port,
        "weight": weight,
        "available": member.available,
        "properties": safe_properties(member.properties),
        "unsafe_properties": dict(member.properties),
    }
