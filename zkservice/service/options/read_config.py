"""Make a `Config` of the values of the options, and check them together."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from zkservice.client import TLS
from zkservice.errors import ConfigurationError
from zkservice.security import Security, identity, load_tls, sasl_user
from zkservice.service.application.load import absolute_spec
from zkservice.service.config import (
    AdminViews,
    Config,
    DiscoverSettings,
    FrontEnd,
    HealthSettings,
    ListenAddress,
    Manhole,
    Processes,
    ZooKeeperTarget,
)
from zkservice.service.options.option_table import Values
from zkservice.supervisor import RecyclingSettings
from zkservice.web import Limits, TrustedProxies
from zkservice.wire.hosts import parse_hosts

__all__ = ["CONNECTION_STRING", "read_config", "security_of", "zookeeper_target"]

#: The environment variable with the connection string that zc.zk reads.
CONNECTION_STRING: Final = "ZC_ZK_CONNECTION_STRING"

_FORWARDED: Final = ("x-forwarded-for", "x-forwarded-proto")


def read_config(values: Values, application: str | None, environ: Mapping[str, str]) -> Config:
    """The configuration that the values describe.

    Files with secrets are read now, because the process may be root now but not later.

    Args:
        values: the values of `zkservice.service.options.serve_table.OPTIONS`.
        application: what to serve, as the user wrote it; None if it is loaded already.
        environ: contains the variables that options name.

    Raises:
        ConfigurationError: something is missing, or two options contradict each other.
    """
    if values["path"] is None:
        raise ConfigurationError(
            f"{values.spelled('path')} is missing: the znode under which to register the address"
        )
    parts: dict[str, Any] = values.targets("")
    parts["monitor_commands"] = _monitor_commands(values)
    parts["socket_owner"] = _socket_owner(values)
    return Config(
        application="" if application is None else absolute_spec(application),
        zookeeper=zookeeper_target(values, environ),
        listen=_listen(values),
        properties=dict(values["property"]),
        health=_health(values),
        security=security_of(values, environ),
        front_end=_front_end(values),
        manhole=_manhole(values),
        processes=_processes(values),
        **parts,
    )


def reread_config(
    values: Values, config: Config, application: str | None, *, supervised: bool
) -> Config:
    """The configuration with what can change while the service runs.

    Args:
        values: the new values; options that need a restart are ignored.
        config: the configuration in force.
        application: what to serve from now on, as the user wrote it; None if it is unchanged.
        supervised: whether there are worker processes, because new ones can get new options.

    Raises:
        ConfigurationError: the values contradict each other.
    """
    return replace(
        config,
        application=config.application if application is None else absolute_spec(application),
        properties=dict(values["property"]),
        drain_wait=values["drain-wait"],
        drain_timeout=values["drain-timeout"],
        **(_parts_of_workers(values, config) if supervised else {}),
    )


def _parts_of_workers(values: Values, config: Config) -> dict[str, Any]:
    """The parts of a configuration that new worker processes get."""
    current = config.processes
    return {
        "front_end": _front_end(values),
        "processes": replace(
            _processes(values),
            recycle_together=current.recycle_together,
            reload=current.reload,
            reload_extra=current.reload_extra,
        ),
        "threads": values["threads"],
        "loggers": values["loggers"],
    }


def zookeeper_target(values: Values, environ: Mapping[str, str]) -> ZooKeeperTarget:
    """The ZooKeeper that the options name.

    Raises:
        ConfigurationError: the connection string is invalid.
    """
    given = values["zookeeper"] or environ.get(CONNECTION_STRING)
    if not given:
        return ZooKeeperTarget(None, assumed=True)
    name = values.spelled("zookeeper") if values["zookeeper"] else CONNECTION_STRING
    kind, colon, folder = given.partition(":")
    if kind == "embedded":
        if colon and not folder:
            raise ConfigurationError(
                f"{name} embedded: needs a directory after the colon; without one, leave out the "
                "colon"
            )
        return ZooKeeperTarget(None, os.path.abspath(folder) if colon else None)
    if name == CONNECTION_STRING:
        _check_hosts(name, given)
    else:
        values.read("zookeeper", parse_hosts, given)
    return ZooKeeperTarget(given)


def _check_hosts(name: str, hosts: str) -> None:
    try:
        parse_hosts(hosts)
    except ValueError as error:
        raise ConfigurationError(f"{name}: {error}") from None


def _listen(values: Values) -> tuple[ListenAddress, ...]:
    if not values["listen"]:
        return (ListenAddress.tcp(values["host"], values["port"]),)
    if values["host"] or values["port"]:
        raise ConfigurationError(
            f"give either {values.spelled('listen')}, "
            f"or {values.spelled('host')} and {values.spelled('port')}"
        )
    return tuple(ListenAddress(endpoint) for endpoint in values["listen"])


def _socket_owner(values: Values) -> Any:
    owner = values["socket-owner"]
    if owner is not None and not any("unix:" in endpoint for endpoint in values["listen"]):
        raise _needs(values, "socket-owner", f"{values.spelled('listen')} unix:...")
    return owner


def _health(values: Values) -> HealthSettings | None:
    settings = HealthSettings(**values.targets("health"))
    if settings.path is None and not values["health-tcp"]:
        return None
    if settings.path is not None and values["health-tcp"]:
        raise ConfigurationError(
            f"give either {values.spelled('health')} or {values.spelled('health-tcp')}"
        )
    return settings


def security_of(values: Values, environ: Mapping[str, str]) -> Security:
    """The TLS settings, credentials and ACL that the options describe; files are read now.

    Raises:
        ConfigurationError: a file cannot be read, or two options contradict each other.
    """
    tls = TLS(**values.targets("zookeeper_tls"))
    if not values["zookeeper-tls"] and tls != TLS():
        files = ("zookeeper-ca", "zookeeper-cert", "zookeeper-key", "zookeeper-server-name")
        given = next(name for name in files if values[name])
        raise _needs(values, given, values.spelled("zookeeper-tls"))
    sasl = values["zookeeper-sasl"]
    return Security(
        tls=values.read("zookeeper-tls", load_tls, tls) if values["zookeeper-tls"] else None,
        identities=tuple(
            values.read("zookeeper-auth", identity, text, environ)
            for text in values["zookeeper-auth"]
        ),
        sasl=None if sasl is None else values.read("zookeeper-sasl", sasl_user, sasl, environ),
        **values.targets("security"),
    )


def _front_end(values: Values) -> FrontEnd:
    views = values["view"]
    for number, (path, name) in enumerate(views):
        if path in dict(views[:number]):
            raise ConfigurationError(
                f"{values.spelled('view')} '{path}={name}': "
                f"{path} is {dict(views[:number])[path]} already"
            )
    limits = {**values.targets("limits"), **dict(values["limit"])}
    proxies = _made(
        lambda: TrustedProxies(
            values["trusted-proxy"], values["proxy-hops"], values["proxy-header"] or _FORWARDED
        )
    )
    admin = AdminViews(**values.targets("admin"))
    if not (admin.listen or values["status-views"] or values["metrics"] or values["discover"]):
        for name in ("admin-allow", "admin-host"):
            if values[name]:
                raise _needs(values, name, f"{values.spelled('status-views')} or --admin-listen")
    return FrontEnd(
        admin=admin,
        discover=_discover(values),
        limits=_made(lambda: Limits(**limits)),
        proxies=proxies if values["trusted-proxy"] else None,
        **values.targets("front_end"),
    )


def _discover(values: Values) -> DiscoverSettings:
    if values["discover-below"] and not values["discover"]:
        raise _needs(values, "discover-below", values.spelled("discover"))
    return DiscoverSettings(**values.targets("discover"))


def _made(make: Callable[[], Any]) -> Any:
    """What a constructor returns; its ValueError becomes a `ConfigurationError`."""
    try:
        return make()
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _monitor_commands(values: Values) -> Any:
    if values["monitor-command"] and values["monitor"] is None:
        raise _needs(values, "monitor-command", values.spelled("monitor"))
    return values["monitor-command"]


def _manhole(values: Values) -> Manhole | None:
    parts = values.targets("manhole")
    if parts["address"] is None:
        if parts["authorized_keys"] is not None:
            raise _needs(values, "manhole-keys", values.spelled("manhole"))
        if parts["telnet"]:
            raise _needs(values, "manhole-telnet", values.spelled("manhole"))
        return None
    is_port = "/" not in parts["address"]
    if is_port and parts["authorized_keys"] is None and not parts["telnet"]:
        raise ConfigurationError(
            f"{values.spelled('manhole')} {parts['address']} would be telnet, which sends the "
            f"token in clear text: add {values.spelled('manhole-keys')} FILE for SSH, name a "
            f"socket's path instead of the port, or allow it with "
            f"{values.spelled('manhole-telnet')}"
        )
    for name in ("host_key", "token_file"):
        parts[name] = os.path.abspath(parts[name])
    return Manhole(**parts)


def _processes(values: Values) -> Processes:
    if values["reload-extra"] and not values["reload"]:
        raise _needs(values, "reload-extra", values.spelled("reload"))
    recycling = RecyclingSettings(**values.targets("recycling"), max_rss=values["max-rss"] << 20)
    return Processes(**values.targets("processes"), recycling=recycling)


def _needs(values: Values, name: str, other: str) -> ConfigurationError:
    return ConfigurationError(f"{values.spelled(name)} needs {other}")
