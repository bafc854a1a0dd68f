"""The monitor's commands: all of them by name, and those of the registration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib.metadata import entry_points
from typing import Any, Final

from twisted.internet.task import deferLater
from twisted.logger import Logger

from zkservice.errors import ConfigurationError
from zkservice.monitor import Command, TwoForms
from zkservice.monitor.protocol import BUILT_IN
from zkservice.registry import Registration, RegistrationState
from zkservice.service.application.import_by_name import accepts, load_callable
from zkservice.service.commands import process_commands, zookeeper_commands
from zkservice.service.commands.operated import NoFront, Operated
from zkservice.service.commands.replies import is_for_programs, json_text
from zkservice.service.commands.status_text import status_text
from zkservice.service.state.availability import OPERATOR
from zkservice.web import printable

__all__ = ["COMMANDS", "command_pair", "commands", "known_commands", "with_added", "with_plugins"]

_log = Logger()

#: The entry points whose objects are commands of the monitor.
PLUGINS: Final = "zkservice.monitor"
#: Seconds that ``drain`` waits by default, and at most.
_DRAIN: Final = 30.0
_MAX_DRAIN: Final = 100.0
#: Seconds between two counts of the connections during ``drain``.
_POLL_INTERVAL: Final = 0.1
#: Seconds that ``drain`` leaves idle connections open, for requests that are under way.
_IDLE_GRACE: Final = 1.0


def servers(service: Operated, words: list[str]) -> str:
    """Show the registered addresses as JSON: servers [PATH].

    With PATH, show only the addresses below it, separated by blanks.
    """
    if words:
        path = _path_words(" ".join(words))
        return " ".join(
            address
            for address, one in _registered(service.registrations())
            if path in (_path_words(one.parent), _path_words(one.real_parent))
        )
    return json_text(
        [
            {**one.properties, "address": address, "path": one.parent}
            for address, one in _registered(service.registrations())
        ]
    )


def _registered(registrations: Iterable[Registration]) -> Iterator[tuple[str, Registration]]:
    """The addresses that are registered now."""
    for one in registrations:
        if one.state is RegistrationState.REGISTERED:
            yield from ((address, one) for address in one.addresses)


def status(service: Operated, words: list[str]) -> TwoForms | str:
    """Show the state of the service: status [--json|--text].

    Without an option the reply is text in an interactive session, else JSON.
    """
    values = service.status()
    if is_for_programs(words):
        return json_text(values)
    text = status_text(values)
    return text if "--text" in words else TwoForms(text, json_text(values))


async def out(service: Operated, words: list[str]) -> str:
    """Deregister until 'in', but go on serving: out [REASON].

    The reply comes when the address is deregistered.
    """
    # The reason is shown in terminals, where ESC would be a command.
    reason = printable(" ".join(words)) or "taken out through the monitor"
    pending = await _block(service, reason)
    return f"error: out is accepted, but {pending}" if pending else f"out: {reason}"


async def in_(service: Operated, words: list[str]) -> str:
    """Register again after 'out' or 'drain'.

    The reply comes when the address is registered.
    """
    availability = service.availability
    await service.front.inspect("drain connections", False)
    availability.unblock(OPERATOR)
    if availability.reasons:
        return "; ".join(["in", *(f"but {reason}" for reason in availability.reasons.values())])
    pending = await availability.confirmed(service.clock)
    return f"error: in is accepted, but {pending}" if pending else "in"


async def drain(service: Operated, words: list[str]) -> str:
    """Deregister, and wait until all clients have left: drain [SECONDS].

    Each connection is closed after its next response, or when it is idle; no request is cut off.
    The service goes on listening, so that no client is refused.  'in' registers it again.  After
    SECONDS (default 30) the reply says how many clients are left.
    """
    seconds = float(words[0]) if words and words[0].isdecimal() else _DRAIN
    if words[1:] or seconds > _MAX_DRAIN or (words and not words[0].isdecimal()):
        return f"error: write drain [SECONDS], at most {_MAX_DRAIN:g}"
    until = service.clock.seconds() + seconds
    pending = await _block(service, "draining")
    await service.front.inspect("drain connections", True)
    close_idle_at = service.clock.seconds() + _IDLE_GRACE
    while True:
        now = service.clock.seconds()
        reports = await service.front.inspect("connections", now >= close_idle_at)
        errors = [f"{one.title}: {one.error}" for one in reports if one.error]
        counts = [one.value for one in reports if not one.error]
        connections = sum(one["connections"] for one in counts)
        if not connections and not errors:
            return f"drained, but {pending}" if pending else "drained: no connection is left"
        if now >= until:
            running = sum(one["in_service"] for one in counts)
            left = [f"{connections} connections, {running} requests in service", *errors]
            return f"error: left after {seconds:g} s: {'; '.join(left)}"
        await deferLater(service.clock, _POLL_INTERVAL, lambda: None)


async def _block(service: Operated, reason: str) -> str:
    """Deregister for a reason; return why ZooKeeper has not confirmed it, or ""."""
    service.availability.block(OPERATOR, reason)
    return await service.availability.confirmed(service.clock)


#: The service's commands by name; every monitor has some of its own beside these.
COMMANDS: Final[Mapping[str, Callable[[Operated, list[str]], Any]]] = {
    "drain": drain,
    "gc": process_commands.collector,
    "in": in_,
    "loglevel": process_commands.loglevel,
    "out": out,
    "profile": process_commands.profile,
    "registrations": zookeeper_commands.registrations,
    "requests": process_commands.requests,
    "servers": servers,
    "stats": process_commands.stats,
    "status": status,
    "threads": process_commands.threads,
    "tracelog": process_commands.tracelog,
    "tree": zookeeper_commands.tree,
    "workers": process_commands.workers,
    "zookeeper": zookeeper_commands.zookeeper,
}


#: Commands about the processes that run the application; zkregister has no such process.
_OF_PROCESSES: Final = frozenset(
    ("drain", "gc", "loglevel", "profile", "requests", "threads", "tracelog", "workers")
)


def commands(service: Operated) -> dict[str, Command]:
    """The commands of a service."""
    left_out = _OF_PROCESSES if isinstance(service.front, NoFront) else frozenset()
    return {
        name: partial(command, service)
        for name, command in COMMANDS.items()
        if name not in left_out
    }


def known_commands() -> dict[str, Command]:
    """The names of all built-in commands, each with a function that does nothing."""
    return dict.fromkeys(COMMANDS, lambda words: "")


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
        ConfigurationError: a function cannot be loaded or called, or a name is in use.
    """
    combined = dict(known)
    for name, dotted in added:
        what = f"the monitor's command {name}, {dotted},"
        if name in combined or name in BUILT_IN:
            raise ConfigurationError(f"the monitor has a command {name} already")
        combined[name] = load_callable(dotted, what)
        if not accepts(combined[name], []):
            raise ConfigurationError(f"{what} does not take one argument, a list of words")
    return combined


def with_plugins(known: Mapping[str, Command]) -> dict[str, Command]:
    """Add the commands that installed packages have as entry points `PLUGINS`.

    A command that cannot be loaded, or whose name is in use, is left out with a log entry.
    """
    combined = dict(known)
    for point in entry_points(group=PLUGINS):
        if point.name in combined or point.name in BUILT_IN or point.name.split() != [point.name]:
            _log.error(
                "the monitor's plugin {name} is left out: its name is taken", name=point.name
            )
            continue
        try:
            command = point.load()
        except (Exception, SystemExit):  # noqa: BLE001 - the package's code may raise anything
            _log.failure("the monitor's plugin {name} cannot be loaded", name=point.name)
            continue
        if callable(command) and accepts(command, []):
            combined[point.name] = command
        else:
            _log.error(
                "the monitor's plugin {name} is left out: it does not take one argument, a list "
                "of words",
                name=point.name,
            )
    return combined


def _path_words(path: str) -> list[str]:
    """Split a path at its blanks, as the monitor has split the words of the command."""
    return (path.rstrip("/") or "/").split()
