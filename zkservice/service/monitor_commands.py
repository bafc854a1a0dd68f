"""The monitor's commands: the registration, its state, and to change it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from zkservice.errors import ConfigurationError
from zkservice.monitor import Command
from zkservice.monitor.protocol import BUILT_IN
from zkservice.registry import Registration, RegistrationState
from zkservice.service.availability import OPERATOR, Availability
from zkservice.service.import_by_name import accepts, load_callable
from zkservice.web import printable


def commands(
    registrations: Callable[[], Iterable[Registration]],
    status: Callable[[], Mapping[str, Any]],
    availability: Availability,
    clock: IReactorTime,
) -> dict[str, Command]:
    """The commands of a service.

    Args:
        registrations: returns the registrations of the service.
        status: returns what ``status`` shows, by name.
        availability: ``out`` blocks it, ``in`` unblocks it.
        clock: for how long these two wait for ZooKeeper.
    """

    def show_status(words: list[str]) -> str:
        """The state of the registration, the session and the workers, as JSON."""
        return json.dumps(status(), sort_keys=True, default=_plain)

    operator = _Operator(availability, clock)
    return {
        "servers": _Servers(registrations).show,
        "status": show_status,
        "out": operator.deregister,
        "in": operator.register,
    }


class _Servers:
    """Shows what is registered."""

    def __init__(self, registrations: Callable[[], Iterable[Registration]]) -> None:
        self._registrations = registrations

    def show(self, words: list[str]) -> str:
        """The registered servers as JSON; under PATH, their addresses."""
        if words:
            path = _words(" ".join(words))
            return " ".join(
                address
                for address, one in self._registered()
                if path in (_words(one.parent), _words(one.real_parent))
            )
        return json.dumps(
            [
                {**one.properties, "address": address, "path": one.parent}
                for address, one in self._registered()
            ],
            sort_keys=True,
        )

    def _registered(self) -> Iterator[tuple[str, Registration]]:
        """The addresses that are registered now, not those that will be."""
        for one in self._registrations():
            if one.state is RegistrationState.REGISTERED:
                yield from ((address, one) for address in one.addresses)


class _Operator:
    """Takes the service out, and puts it back."""

    def __init__(self, availability: Availability, clock: IReactorTime) -> None:
        self._availability = availability
        self._clock = clock

    def deregister(self, words: list[str]) -> Deferred[str]:
        """Deregister (the rest is the reason), but serve on, until 'in'.

        The reply comes when the address is gone from ZooKeeper, or marked as out of service.
        """
        # It is shown in replies and on pages, where ESC would command the reader's terminal.
        reason = printable(" ".join(words)) or "taken out through the monitor"
        return Deferred.fromCoroutine(self._deregister(reason))

    def register(self, words: list[str]) -> Deferred[str]:
        """Register again after 'out'.

        The reply comes when the address is in ZooKeeper.
        """
        return Deferred.fromCoroutine(self._register())

    async def _deregister(self, reason: str) -> str:
        self._availability.block(OPERATOR, reason)
        pending = await self._availability.confirmed(self._clock)
        return f"error: out is noted, but {pending}" if pending else f"out: {reason}"

    async def _register(self) -> str:
        self._availability.unblock(OPERATOR)
        reasons = self._availability.reasons
        if reasons:
            return "; ".join(["in", *(f"but {reason}" for reason in reasons.values())])
        pending = await self._availability.confirmed(self._clock)
        return f"error: in is noted, but {pending}" if pending else "in"


def command_pair(text: str) -> tuple[str, str]:
    """Split ``NAME=DOTTED.NAME`` into the name of a command and that of its function.

    Raises:
        ConfigurationError: the text is invalid.
    """
    name, equals, dotted = text.partition("=")
    if not equals or not dotted or name.split() != [name]:
        raise ConfigurationError(
            f"{text!r} is invalid: a command for the monitor is NAME=DOTTED.NAME"
        )
    return name, dotted


def with_added(
    known: Mapping[str, Command], added: Iterable[tuple[str, str]]
) -> dict[str, Command]:
    """Add commands by the dotted names of their functions.

    Raises:
        ConfigurationError: one cannot be loaded or called, or its name is taken.
    """
    whole = dict(known)
    for name, dotted in added:
        what = f"the monitor's command {name}, {dotted},"
        if name in whole or name in BUILT_IN:
            raise ConfigurationError(f"the monitor has a command {name} already")
        whole[name] = load_callable(dotted, what)
        if not accepts(whole[name], []):
            raise ConfigurationError(f"{what} does not take one argument, a list of words")
    return whole


def _words(path: str) -> list[str]:
    """Split a path at its blanks, as the monitor splits the words of a command."""
    return (path.rstrip("/") or "/").split()


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)
