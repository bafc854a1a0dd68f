"""``--check-config``: load what a start would load, without listening or connecting."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from zkservice.errors import AddressError, ConfigurationError, TreeValueError
from zkservice.registry import advertised_addresses
from zkservice.registry.contents import Contents
from zkservice.service.application.http_factory import load_views
from zkservice.service.application.load import load_application
from zkservice.service.commands.monitor_commands import known_commands, with_added
from zkservice.service.config import Config, ListenAddress
from zkservice.service.ports.listening import NO_ADDRESS, NO_PLAIN_PORT, speaks_plain
from zkservice.service.process.loggers import configure_loggers
from zkservice.service.views.built_in import load_metrics

__all__ = ["check_config", "problems"]

#: Errors of a check whose messages are one line for the user.
_REFUSALS: Final = (ConfigurationError, AddressError, TreeValueError, ValueError)
#: Stands for an address that is known only when the port is open.
_SOME_ADDRESS: Final = "127.0.0.1:1"


def check_config(config: Config, warnings: Sequence[str] = ()) -> int:
    """Load everything, and print what is wrong, or what would be done.

    Args:
        config: the configuration; its values are valid by themselves.
        warnings: printed in any case.

    Returns:
        The exit code: 0, or 1 if a start would fail.
    """
    for warning in warnings:
        sys.stderr.write(f"zkserve: warning: {warning}\n")
    found = list(problems(config))
    for problem in found:
        sys.stderr.write(f"zkserve: {problem}\n")
    if found:
        return 1
    for line in _plan(config):
        print(line)
    return 0


def problems(config: Config) -> Iterator[str]:
    """The problems that would make a start fail, one line each."""
    checks: list[Callable[[Config], object]] = [
        lambda config: configure_loggers(config.loggers),
        lambda config: load_application(config.application),
        lambda config: load_views(config.front_end.views),
        lambda config: config.front_end.metrics and load_metrics(),
        lambda config: with_added(known_commands(), config.monitor_commands),
        _check_log_files,
        _check_manhole,
        _check_health,
        _check_addresses,
        _check_contents,
    ]
    for check in checks:
        try:
            check(config)
        except _REFUSALS as error:
            yield str(error)


def _check_log_files(config: Config) -> None:
    """Check that the log files can be written, without creating them."""
    for path in (config.front_end.access_log, config.front_end.trace_log):
        if path is None or path == "-":
            continue
        folder = os.path.dirname(path)
        if os.path.isdir(path) or not os.access(path if os.path.exists(path) else folder, os.W_OK):
            raise ConfigurationError(f"the log file {path} cannot be written")


def _check_manhole(config: Config) -> None:
    keys = None if config.manhole is None else config.manhole.authorized_keys
    if keys is not None and not os.access(keys, os.R_OK):
        raise ConfigurationError(f"the manhole cannot be opened: {keys} cannot be read")


def _check_health(config: Config) -> None:
    if config.health is None or config.health.path is None:
        return
    if not any(map(speaks_plain, config.listen)):
        raise ConfigurationError(NO_PLAIN_PORT)


def _check_addresses(config: Config) -> None:
    if not config.advertise and not _registered(config):
        raise ConfigurationError(NO_ADDRESS)


def _registered(config: Config) -> list[ListenAddress]:
    """The endpoints with an address for others: the path of a Unix socket is none."""
    return [listen for listen in config.listen if not listen.endpoint.startswith("unix:")]


def _check_contents(config: Config) -> None:
    """Check that the format can hold the properties."""
    addresses = config.advertise or (_SOME_ADDRESS,)
    Contents(
        *(config.path, addresses, config.properties),
        format=config.format,
        tls=frozenset(),
        since=0,
    )


# -- what would be done --------------------------------------------------------------


def _plan(config: Config) -> Iterator[str]:
    processes = config.processes.count
    yield f"serve {config.application}"
    yield f"  {processes} process{'es' * (processes > 1)}, {config.threads} threads each"
    yield from (f"listen at {listen.endpoint}" for listen in config.listen)
    yield f"register {_addresses(config)}"
    yield f"  below {config.path} in ZooKeeper {config.zookeeper.hosts or 'embedded'}"
    yield f"  in the format {config.format}"
    for name, value in config.properties.items():
        yield f"  {name}: {json.dumps(value)}"
    if config.health is not None:
        yield f"  while {config.health.path or 'a TCP connection'} is healthy"
    if config.monitor is not None:
        yield f"monitor at {config.monitor}"
    for endpoint in config.front_end.admin.listen:
        yield f"views for operators at {endpoint}"
    if config.manhole is not None:
        yield f"manhole at {config.manhole.address}"


def _addresses(config: Config) -> str:
    if config.advertise:
        return ", ".join(config.advertise)
    return ", ".join(map(_address, _registered(config)))


def _address(listen: ListenAddress) -> str:
    if listen.host is None:
        return f"the address of {listen.endpoint}"
    port = int(listen.endpoint.split(":")[1])
    known = ", ".join(advertised_addresses(listen.host, port))
    return known if port else f"{known} (the system picks the port)"
