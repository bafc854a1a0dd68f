"""The commands of the line protocol: what this process serves and how it does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from zkservice.errors import ConfigurationError
from zkservice.monitor import Command
from zkservice.monitor.protocol import BUILT_IN
from zkservice.registry import Registration
from zkservice.service.availability import OPERATOR, Availability
from zkservice.service.dotted import can_be_called, load_callable


def commands(
    registrations: Callable[[], Iterable[Registration]],
    status: Callable[[], Mapping[str, Any]],
    availability: Availability,
) -> dict[str, Command]:
    """The commands of a service.

    Args:
        registrations: answers what is registered at the moment.
        status: answers what ``status`` shows, by name.
        availability: hears the operator's ``out`` and ``in``.
    """

    def servers(words: list[str]) -> str:
        """The registered servers as JSON; under PATH, their addresses."""
        if words:
            return " ".join(
                address
                for one in registrations()
                if one.parent == words[0]
                for address in one.addresses
            )
        return json.dumps(
            [
                {**one.properties, "address": address, "path": one.parent}
                for one in registrations()
                for address in one.addresses
            ],
            sort_keys=True,
        )

    def show_status(words: list[str]) -> str:
        """The state of the registration, the session and the workers, as JSON."""
        return json.dumps(status(), sort_keys=True, default=_plain)

    def out(words: list[str]) -> str:
        """Deregister (the rest is the reason), but serve on, until 'in'."""
        reason = " ".join(words) or "taken out through the monitor"
        availability.object(OPERATOR, reason)
        return f"out: {reason}"

    def put_in(words: list[str]) -> str:
        """Register again after 'out'."""
        availability.consent(OPERATOR)
        return "; ".join(["in", *(f"but {reason}" for reason in availability.reasons.values())])

    return {"servers": servers, "status": show_status, "out": out, "in": put_in}


def command_pair(text: str) -> tuple[str, str]:
    """The command's name and its function's of ``NAME=DOTTED.NAME``.

    Raises:
        ConfigurationError: it is none.
    """
    name, equals, dotted = text.partition("=")
    if not equals or not dotted or name.split() != [name]:
        raise ConfigurationError(f"{text!r} is no command for the monitor: write NAME=DOTTED.NAME")
    return name, dotted


def with_added(
    known: Mapping[str, Command], added: Iterable[tuple[str, str]]
) -> dict[str, Command]:
    """The known commands, and others by the dotted names of their functions.

    Raises:
        ConfigurationError: one cannot be loaded or called, or its name is taken.
    """
    whole = dict(known)
    for name, dotted in added:
        what = f"the monitor's command {name}, {dotted},"
        if name in whole or name in BUILT_IN:
            raise ConfigurationError(f"the monitor has a command {name} already")
        whole[name] = load_callable(dotted, what)
        if not can_be_called(whole[name], []):
            raise ConfigurationError(f"{what} does not take one argument, a list of words")
    return whole


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)
