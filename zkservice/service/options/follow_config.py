"""The configuration of ``twistd zkfollow``: the services, the outputs and the commands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from zkservice.errors import ConfigurationError
from zkservice.formats.addresses import parse_address
from zkservice.formats.consumers import CONSUMERS, Consumer, haproxy_runtime, template
from zkservice.security import Security
from zkservice.service.options.option_table import FILE, Values
from zkservice.service.options.read_config import security_of, zookeeper_target
from zkservice.znodes import split, validate

__all__ = [
    "FollowConfig",
    "FollowedService",
    "OutputSpec",
    "follow_config",
    "read_followed",
    "read_output",
]

#: Stands for a service's name in a target.
SERVICE: Final = "{service}"
TEMPLATE: Final = "template"

# Names that proxies accept for a backend or a cluster.
_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]+", re.ASCII)


@dataclass(frozen=True)
class FollowedService:
    """A service's path, and its name for consumers."""

    name: str
    path: str


@dataclass(frozen=True)
class OutputSpec:
    """One ``--to``.

    Attributes:
        consumer: the format.
        target: a file, or ``BACKEND@SOCKET``.
        services: the names of the services to write.
    """

    consumer: Consumer
    target: str
    services: tuple[str, ...] = ()


class OutputGroup(NamedTuple):
    """A shell command, "" for none, and the outputs whose changes make it run."""

    command: str
    outputs: tuple[OutputSpec, ...]


@dataclass(frozen=True)
class FollowConfig:
    """The configuration of ``twistd zkfollow``.  Times are in seconds.

    Attributes:
        hosts: ZooKeeper's connection string.
        security: TLS and credentials for ZooKeeper.
        followed: the services.
        groups: the outputs, by the commands that they need.
    """

    hosts: str
    security: Security
    followed: tuple[FollowedService, ...]
    groups: tuple[OutputGroup, ...]
    session_timeout: float = 10.0
    run_timeout: float = 30.0
    interval: float = 0.2
    keep_last: bool = False
    once: bool = False
    dry_run: bool = False
    timeout: float = 30.0


def read_followed(text: str) -> FollowedService:
    """Split ``PATH`` or ``NAME=PATH``.

    Raises:
        ConfigurationError: the name is invalid.
        InvalidPathError: the path is invalid.
    """
    name, equals, path = text.partition("=")
    if not equals or text.startswith("/"):
        path = validate(text)
        name = split(path)[1]
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{text!r}: consumers cannot call a service {name!r}; write NAME=PATH with a name of "
            "letters, digits, '.', ':', '_' and '-'"
        )
    return FollowedService(name, validate(path))


def read_output(text: str) -> OutputSpec:
    """Split ``FORMAT:TARGET`` or ``template:FILE:TARGET``; a template's file is read now.

    Raises:
        ConfigurationError: the format is unknown, the target is missing, or the template invalid.
    """
    name, _, target = text.partition(":")
    if name == TEMPLATE:
        file, _, target = target.partition(":")
        if not file or not target:
            raise ConfigurationError(f"{text!r}: write template:FILE:TARGET")
        return OutputSpec(_template(FILE.read(file)), FILE.read(target))
    if name == haproxy_runtime.NAME:
        return OutputSpec(haproxy_runtime.CONSUMER, _socket(text, target))
    if name not in CONSUMERS or not target:
        known = ", ".join((*CONSUMERS, haproxy_runtime.NAME, TEMPLATE))
        raise ConfigurationError(f"{text!r}: write FORMAT:TARGET; the formats are {known}")
    return OutputSpec(CONSUMERS[name], FILE.read(target))


def _socket(text: str, target: str) -> str:
    """``BACKEND@SOCKET``, checked and absolute."""
    backend, at, socket = target.partition("@")
    if not at or not socket or not _NAME.fullmatch(backend.replace(SERVICE, "x")):
        raise ConfigurationError(
            f"{text!r}: write {haproxy_runtime.NAME}:BACKEND@SOCKET, the path of HAProxy's socket "
            "or HOST:PORT"
        )
    if "/" in socket:
        return f"{backend}@{FILE.read(socket)}"
    parse_address(socket)
    return target


def _template(file: str) -> Consumer:
    try:
        with open(file, encoding="utf-8") as lines:
            return template(file, lines.read())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"{file} cannot be read: {reason}") from None


def follow_config(values: Values, environ: Mapping[str, str]) -> FollowConfig:
    """The configuration that the values describe.

    Raises:
        ConfigurationError: something is missing, or two options contradict each other.
    """
    for name in ("path", "to"):
        if not values[name]:
            raise ConfigurationError(f"{values.spelled(name)} is missing")
    target = zookeeper_target(values, environ)
    if target.hosts is None:
        raise ConfigurationError(
            f"{values.spelled('zookeeper')} must name the servers of a ZooKeeper: HOST:PORT,..."
        )
    followed: tuple[FollowedService, ...] = values["path"]
    names = tuple(each.name for each in followed)
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ConfigurationError(
                f"{values.spelled('path')}: two services are called {name!r}; write NAME=PATH"
            )
    return FollowConfig(
        hosts=target.hosts,
        security=security_of(values, environ),
        followed=followed,
        groups=_groups(values, names),
        **{
            name.replace("-", "_"): values[name]
            for name in (
                *("session-timeout", "run-timeout", "interval", "keep-last"),
                *("once", "dry-run", "timeout"),
            )
        },
    )


def _groups(values: Values, names: Sequence[str]) -> tuple[OutputGroup, ...]:
    outputs: tuple[OutputSpec, ...] = values["to"]
    commands: tuple[str, ...] = values["run"] or ("",)
    if len(commands) == 1:
        commands *= len(outputs)
    if len(commands) != len(outputs):
        raise ConfigurationError(
            f"{values.spelled('run')} is given {len(commands)} times and {values.spelled('to')} "
            f"{len(outputs)} times: give one command for all, or one for each in the same order"
        )
    groups: dict[str, list[OutputSpec]] = {}
    seen = set()
    for output, command in zip(outputs, commands, strict=True):
        for each in _for_services(output, names):
            if each.target in seen:
                raise ConfigurationError(
                    f"{values.spelled('to')}: {each.target} is named more than once"
                )
            seen.add(each.target)
            groups.setdefault(command.strip(), []).append(each)
    return tuple(OutputGroup(command, tuple(group)) for command, group in groups.items())


def _for_services(output: OutputSpec, names: Sequence[str]) -> list[OutputSpec]:
    """One output for each service if the target has ``{service}`` in it, else one for all."""
    if SERVICE in output.target:
        return [
            replace(output, target=output.target.replace(SERVICE, name), services=(name,))
            for name in names
        ]
    if output.consumer.single and len(names) > 1:
        raise ConfigurationError(
            f"{output.consumer.name}:{output.target} can have one service only: put {SERVICE} "
            "into its name, which makes one file for each"
        )
    return [replace(output, services=tuple(names))]
