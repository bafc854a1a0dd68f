"""``[server:main] use = egg:zkservice``: the service as a PasteDeploy server.

The keys are zc.zkzopeserver's; all are strings, times are milliseconds.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from twisted.logger import STDLibLogObserver, globalLogPublisher

from zkservice.errors import (
    AddressError,
    ConfigurationError,
    InvalidHostsError,
    InvalidPathError,
    StartError,
)
from zkservice.registry import parse_address
from zkservice.service.commands import command_pair
from zkservice.service.config import Config, Listen, ZooKeeperAt
from zkservice.service.ending import ExitCode
from zkservice.service.front_end import TRACE_LOGGER, FrontEnd
from zkservice.service.lifecycle import ServeService
from zkservice.service.limits import limit_names, limits_from
from zkservice.service.loggers import EscapeRecords
from zkservice.web import Limits
from zkservice.wire.hosts import parse_hosts
from zkservice.wire.paths import validate

T = TypeVar("T")

_KEYS: Final = frozenset(
    [
        "access_log",
        "host",
        "loggers",
        "monitor_commands",
        "monitor_server",
        "name",  # what zc.zkzopeserver called itself in the field Server; ours does not change
        "path",
        "port",
        "session_timeout",
        "threads",
        "trace_log",
        "zookeeper",
        "zservertracelog",
    ]
)


def server_runner(app: Any, global_conf: Mapping[str, str], **keys: str) -> None:
    """Serve an application until a signal ends the process (entry point paste.server_runner).

    What cannot be started is told in one line, and the exit code is 1.
    """
    try:
        config = config_of(keys)
        from twisted.internet import reactor  # noqa: TID251 - the process is ours from here

        run(ServeService(config, reactor, lambda: app), reactor)
    except ConfigurationError as error:
        _give_up(f"zkservice: {error}")
    except StartError as error:
        _give_up(str(error))


def _give_up(reason: str) -> None:
    """End the process; pserve takes every `SystemExit` for a success."""
    sys.stderr.write(f"{reason}\n")
    ExitCode().code = 1
    raise StartError(reason)


def run(service: ServeService, reactor: Any) -> None:
    """Run a service and the reactor, logging through `logging`."""
    logger, escape = logging.getLogger("zkservice"), EscapeRecords()
    logger.addFilter(escape)
    observer = STDLibLogObserver("zkservice")
    globalLogPublisher.addObserver(observer)
    service.privilegedStartService()
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()
    globalLogPublisher.removeObserver(observer)
    logger.removeFilter(escape)


def config_of(keys: Mapping[str, str]) -> Config:
    """What the keys of the section mean.

    Raises:
        ConfigurationError: a key is unknown, missing or wrong.
    """
    all_keys = _KEYS | limit_names()
    unknown = sorted(set(keys) - all_keys)
    if unknown:
        known = ", ".join(sorted(all_keys))
        raise ConfigurationError(f"unknown key {', '.join(unknown)}; there are {known}")
    for key in ("zookeeper", "path"):
        if not keys.get(key):
            raise ConfigurationError(f"the key {key!r} is missing")
    return Config(
        application="the Paste application",
        path=_read("path", validate, keys["path"]),
        zookeeper=_read("zookeeper", _zookeeper, keys["zookeeper"]),
        listen=(Listen.tcp(keys.get("host", ""), _port(keys)),),
        front_end=_front_end(keys),
        threads=_positive(keys, "threads", 1),
        session_timeout=_positive(keys, "session_timeout", 10_000) / 1000,
        monitor=_read("monitor_server", _monitor, keys.get("monitor_server", "")),
        monitor_commands=_commands(keys.get("monitor_commands", "")),
        loggers=keys.get("loggers", ""),
    )


def _read(key: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except (InvalidPathError, InvalidHostsError, AddressError) as error:
        raise ConfigurationError(f"{key}: {error}") from None


def _front_end(keys: Mapping[str, str]) -> FrontEnd:
    # Only this exact text switches zc.zkzopeserver's trace log on.
    traced = TRACE_LOGGER if keys.get("zservertracelog") == "true" else None
    return FrontEnd(
        _limits(keys),
        access_log=keys.get("access_log") or None,
        trace_log=keys.get("trace_log") or traced,
    )


def _limits(keys: Mapping[str, str]) -> Limits:
    written = {name: _number(keys, name, 0) for name in limit_names() if keys.get(name)}
    try:
        return limits_from({name.replace("_", "-"): value for name, value in written.items()})
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _commands(text: str) -> tuple[tuple[str, str], ...]:
    try:
        return tuple(map(command_pair, text.split()))
    except ConfigurationError as error:
        raise ConfigurationError(f"monitor_commands: {error}") from None


def _zookeeper(text: str) -> ZooKeeperAt:
    kind, colon, folder = text.partition(":")
    if kind == "embedded":
        if colon and not folder:
            raise InvalidHostsError(None, f"{text!r} names no folder")
        return ZooKeeperAt(None, os.path.abspath(folder) if colon else None)
    parse_hosts(text)
    return ZooKeeperAt(text)


def _number(keys: Mapping[str, str], key: str, default: int) -> int:
    text = keys.get(key) or str(default)
    try:
        return int(text)
    except ValueError:
        raise ConfigurationError(f"{key} = {text!r} is no whole number") from None


def _port(keys: Mapping[str, str]) -> int:
    number = _number(keys, "port", 0)
    if not 0 <= number <= 65535:
        raise ConfigurationError(f"port = {number} must be from 0 to 65535")
    return number


def _positive(keys: Mapping[str, str], key: str, default: int) -> int:
    number = _number(keys, key, default)
    if number < 1:
        raise ConfigurationError(f"{key} = {number} must be at least 1")
    return number


def _monitor(text: str) -> str | None:
    if not text:
        return None
    if "/" not in text:
        parse_address(text)
    return text
