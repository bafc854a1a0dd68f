"""The options of ``twistd zkserve``: one table, and the command line that is made from it.

Paste files (`zkservice.service.paste`) and the manual use the same table.  `read_config` checks
the values together and makes the configuration.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from typing import Any, Final

from twisted.python.usage import UsageError
from typing_extensions import override

from zkservice.errors import ConfigurationError
from zkservice.formats import FORMATS
from zkservice.formats.addresses import parse_address
from zkservice.http11 import Limit, limits_table, split_host
from zkservice.properties import read_property
from zkservice.security import parse_acl
from zkservice.service.commands.monitor_commands import command_pair
from zkservice.service.config import Config
from zkservice.service.options.check_config import check_config
from zkservice.service.options.option_table import (
    FILE,
    FLAG,
    LARGEST_INT,
    LOG_FILE,
    Given,
    Kind,
    Option,
    OptionTable,
    checked,
    choice,
    milliseconds,
    seconds,
    whole_number,
)
from zkservice.service.options.read_config import CONNECTION_STRING, read_config
from zkservice.service.options.sources import APPLICATION
from zkservice.service.options.twistd_options import CONFIGURATION, TableOptions, config_row
from zkservice.service.ports.endpoint_strings import check_endpoint, socket_owner
from zkservice.service.ports.inheritance import Inheritance, inherit
from zkservice.service.process.json_log import log_as_json
from zkservice.service.process.program import as_upgrade
from zkservice.service.views.readiness import READY
from zkservice.web import TrustedProxies
from zkservice.znodes import validate

__all__ = ["ADVERTISED", "OPTIONS", "Options"]

_SECONDS: Final = "seconds"


# -- kinds that only zkserve has -------------------------------------------------------


def _check_advertised(text: str) -> None:
    host, port = parse_address(text)
    if not host or "/" in host or port == 0:
        raise ConfigurationError(f"{text!r}: name a host and a port that it has")


def _read_view(text: str) -> tuple[str, str]:
    path, equals, name = text.partition("=")
    if not equals or not name or not path.startswith("/") or not path.isascii():
        raise ConfigurationError(f"{text!r}: write /PATH=DOTTED.NAME")
    if any(character in "?#" or character.isspace() for character in path):
        raise ConfigurationError(
            f"{text!r}: no request's path has a blank, '?' or '#'; write %20 for a blank"
        )
    return path, name


def _check_admin_endpoint(text: str) -> None:
    if text.startswith("haproxy:"):
        raise ConfigurationError(
            f"{text!r}: access is decided by the address of the connection, not by a PROXY header; "
            "leave out haproxy:"
        )
    check_endpoint(text)


def _check_host_name(text: str) -> None:
    parts = split_host(text)
    if parts is None or parts[1]:
        raise ConfigurationError(f"must be a host name without a port, not {text!r}")


def _check_health_path(text: str) -> None:
    if not re.fullmatch(r"/[!-~]*", text):
        raise ConfigurationError(f"must be an HTTP path that begins with a slash, not {text!r}")
    if text.partition("?")[0] == READY:
        raise ConfigurationError(f"{READY} depends on the health check: name another path")


def _read_side_port(text: str) -> str:
    if "/" in text:
        return os.path.abspath(text)
    parse_address(text)
    return text


def _read_loggers(text: str) -> str:
    return os.path.abspath(text) if os.path.isfile(text) else text


def _limit_kind(limit: Limit) -> Kind:
    return milliseconds() if limit.unit == _SECONDS else whole_number()


def _read_limit(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    known = {limit.option: limit for limit in limits_table()}
    limit = known.get(name.strip())
    if not equals or limit is None:
        raise ConfigurationError(f"{text!r}: write NAME=VALUE; the names are {', '.join(known)}")
    try:
        return limit.name, _limit_kind(limit).read(value)
    except ConfigurationError as error:
        raise ConfigurationError(f"{limit.option} {error}") from None


_PATH: Final = checked(validate, "PATH")
_ENDPOINT: Final = checked(check_endpoint, "ENDPOINT")
ADVERTISED: Final = checked(_check_advertised, "HOST:PORT")
_HEALTH_PATH: Final = checked(_check_health_path, "PATH")
_NETWORK: Final = checked(lambda text: TrustedProxies([text]), "CIDR")
_SIDE_PORT: Final = Kind(_read_side_port, "HOST:PORT")


# -- the rows ------------------------------------------------------------------------

_APPLICATION: Final = "The application"
_LISTENING: Final = "Where it listens, and what it registers"
_ZOOKEEPER: Final = "Which ZooKeeper"
_HEALTH: Final = "Health"
_MONITOR: Final = "The monitor"
_STOPPING: Final = "Stopping"
_LIMITS: Final = "Limits"
_VIEWS: Final = "Views"
_PROXIES: Final = "Behind a proxy"
_LOGS: Final = "Logs"
_DEVELOPMENT: Final = "Development"


def _limit_rows() -> Iterator[Option]:
    """A hidden option for each limit, for Paste files and older command lines."""
    for limit in limits_table():
        yield Option(
            limit.option,
            _LIMITS,
            limit.help,
            _limit_kind(limit),
            limit.default,
            f"limits.{limit.name}",
            hidden=True,
        )


OPTIONS: Final = OptionTable(
    (
        Option(
            *("threads", _APPLICATION, "Worker threads for the application.", whole_number(1), 4),
            target="threads",
            short="t",
        ),
        Option(
            "processes",
            _APPLICATION,
            "Worker processes, each with its own threads; 1: only this process.",
            whole_number(1, 1024),
            1,
            target="processes.count",
        ),
        Option(
            "worker-timeout",
            _APPLICATION,
            "Milliseconds after which a worker process whose reactor does not run is killed; "
            "0: never.",
            milliseconds(),
            30.0,
            target="processes.worker_timeout",
        ),
        Option(
            "max-requests",
            _APPLICATION,
            "Replace a worker process after so many requests; 0: never.",
            whole_number(),
            0,
            target="recycling.max_requests",
            example="10000",
        ),
        Option(
            "max-age",
            _APPLICATION,
            "Replace a worker process after so many seconds; 0: never.",
            whole_number(placeholder="S"),
            0,
            target="recycling.max_age",
            example="86400",
        ),
        Option(
            "max-rss",
            _APPLICATION,
            "Replace a worker process that has so many megabytes of memory; 0: never.",
            whole_number(placeholder="MB"),
            0,
            example="512",
        ),
        Option(
            "recycle-together",
            _APPLICATION,
            "How many of the processes registered at --path may be recycled at a time; "
            "0: any number.",
            whole_number(),
            0,
            target="processes.recycle_together",
            example="1",
        ),
        # -- where it listens --
        Option(
            "path",
            _LISTENING,
            "The znode under which to register; required.  It is created if it is missing.",
            _PATH,
            target="path",
            short="p",
            manual=(
                "the znode under which to register the addresses; required.  It is "
                "created if it is missing, and may lead through symbolic links"
            ),
            example="/svc/shop",
        ),
        Option(
            "host",
            _LISTENING,
            "The address to listen on and to register; blank: all addresses.",
            default="",
            manual=(
                "the address to listen on, registered as it is written; blank (the "
                "default) is all addresses of the machine, each of which is registered, "
                "loopback only if there is no other"
            ),
            example="10.0.0.5",
        ),
        Option(
            "port",
            _LISTENING,
            "The port; 0: the system picks one.",
            whole_number(0, 65535),
            0,
            manual="the port; with 0 the system picks one",
            example="8080",
        ),
        Option(
            "listen",
            _LISTENING,
            "A Twisted server endpoint, instead of --host and --port.",
            _ENDPOINT,
            repeatable=True,
            manual=(
                "any `Twisted server endpoint "
                "<https://docs.twisted.org/en/stable/core/howto/endpoints.html#servers>`_ "
                "instead: ``tcp:8080:interface=127.0.0.1``, "
                "``ssl:443:privateKey=site.pem``, ``unix:/run/app.sock:mode=660``, "
                "``systemd:domain=INET:index=0``, ``haproxy:tcp:8080``; and ``mtls:``, "
                "see `TLS <operating.rst#tls-and-clients-with-certificates>`__"
            ),
            example="tcp:8080:interface=127.0.0.1",
        ),
        Option(
            "socket-owner",
            _LISTENING,
            "The owner of the files of unix: sockets: USER, USER:GROUP or :GROUP.",
            Kind(socket_owner, "OWNER"),
            target="socket_owner",
            manual=(
                "the owner of the files of ``unix:`` sockets: ``USER``, ``USER:GROUP`` or "
                "``:GROUP``"
            ),
            example=":www-data",
        ),
        Option(
            "advertise",
            _LISTENING,
            "The address to register instead of those of the ports.",
            ADVERTISED,
            repeatable=True,
            target="advertise",
            manual=(
                "``HOST:PORT`` to register instead: for a Unix socket behind a proxy, "
                "or a container whose ports are mapped"
            ),
            example="web1.example:443",
        ),
        Option(
            "property",
            _LISTENING,
            "NAME=VALUE to store with the address, a string; NAME:=JSON stores any JSON value.",
            Kind(read_property, "NAME=VALUE", takes_json=True),
            repeatable=True,
            manual=(
                "``NAME=VALUE`` to store with the address, a string; ``NAME:=JSON`` "
                "stores any JSON value"
            ),
            example="version=1.10",
        ),
        Option(
            "format",
            _LISTENING,
            "The format of the znode, which decides which programs can read it.",
            choice(*FORMATS),
            "properties",
            target="format",
            manual=(
                "the format of the znode, which decides which programs can read it: "
                "``properties``, ``serverset``, ``curator``, ``spring`` or ``nerve``; see "
                "`formats.rst <formats.rst>`_"
            ),
        ),
        Option(
            "acl",
            _LISTENING,
            "The znode's ACL: read, open, creator, or scheme:id:perms,... as in zkCli.",
            Kind(parse_acl, "ACL"),
            parse_acl("read"),
            target="security.acl",
            default_text="read",
            manual=(
                "the znode's ACL: ``read`` (everybody may read), ``open``, ``creator``, "
                "or entries like ``world:anyone:r,digest:u:HASH:cdrwa``"
            ),
            example="creator",
        ),
        # -- ZooKeeper --
        Option(
            "zookeeper",
            _ZOOKEEPER,
            "HOST:PORT,.../CHROOT; 'embedded' for a ZooKeeper of one node in this process; "
            "'embedded:FOLDER' to keep its data.",
            Kind(str, "HOSTS"),
            short="z",
            default_text=f"${CONNECTION_STRING}, else embedded",
            manual=(
                "``host1:2181,host2:2181/chroot``; ``embedded`` for a ZooKeeper of one "
                "node in this process; ``embedded:FOLDER`` to keep its data"
            ),
            example="zk1:2181,zk2:2181,zk3:2181",
        ),
        Option(
            "session-timeout",
            _ZOOKEEPER,
            "How long ZooKeeper keeps the address of a process that has died.",
            milliseconds(1, LARGEST_INT),
            10.0,
            target="session_timeout",
        ),
        Option(
            "zookeeper-tls",
            _ZOOKEEPER,
            "Connect to ZooKeeper with TLS.",
            FLAG,
            False,
            manual=(
                "connect to ZooKeeper with TLS; the server's certificate must be for its host name"
            ),
        ),
        Option(
            "zookeeper-ca",
            _ZOOKEEPER,
            "PEM file of the CAs to trust, instead of the system's.",
            FILE,
            target="zookeeper_tls.ca",
            example="/etc/app/ca.pem",
        ),
        Option(
            "zookeeper-cert",
            _ZOOKEEPER,
            "PEM file of this client's certificate, for servers that ask for one.",
            FILE,
            target="zookeeper_tls.certificate",
            example="/etc/app/client.pem",
        ),
        Option(
            "zookeeper-key",
            _ZOOKEEPER,
            "PEM file of the client's key, if it is not in the certificate's file.",
            FILE,
            target="zookeeper_tls.key",
            example="/etc/app/client-key.pem",
        ),
        Option(
            "zookeeper-server-name",
            _ZOOKEEPER,
            "The name in ZooKeeper's certificate, if it is not the host name.",
            Kind(str, "NAME"),
            target="zookeeper_tls.server_name",
            example="zookeeper.example",
        ),
        Option(
            "zookeeper-auth",
            _ZOOKEEPER,
            "SCHEME:file:FILE or SCHEME:env:VARIABLE; for digest, it holds user:password.",
            Kind(str, "SCHEME:SECRET"),
            repeatable=True,
            manual=(
                "a credential: ``digest:file:FILE`` or ``digest:env:VARIABLE`` with "
                "``user:password``"
            ),
            example="digest:file:/etc/app/zookeeper",
        ),
        Option(
            "zookeeper-sasl",
            _ZOOKEEPER,
            "file:FILE or env:VARIABLE with user:password, for SASL DIGEST-MD5.",
            Kind(str, "SECRET"),
            manual=(
                "``file:FILE`` or ``env:VARIABLE`` with ``user:password``, for servers "
                "with SASL DIGEST-MD5"
            ),
            example="file:/etc/app/zookeeper",
        ),
        # -- health --
        Option(
            "health",
            _HEALTH,
            "Register only while this HTTP path of the application returns 2xx or 3xx.",
            _HEALTH_PATH,
            target="health.path",
            example="/healthy",
        ),
        Option(
            "health-tcp", _HEALTH, "Register only while a TCP connection succeeds.", FLAG, False
        ),
        Option(
            "health-interval",
            _HEALTH,
            "Milliseconds between two health checks.",
            milliseconds(1),
            2.0,
            target="health.interval",
        ),
        Option(
            "health-timeout",
            _HEALTH,
            "Milliseconds that a health check may take.",
            milliseconds(1),
            1.0,
            target="health.timeout",
        ),
        Option(
            "health-rise",
            _HEALTH,
            "Successful checks in a row that register the address again.",
            whole_number(1),
            2,
            target="health.rise",
        ),
        Option(
            "health-fall",
            _HEALTH,
            "Failed checks in a row that deregister the address.",
            whole_number(1),
            3,
            target="health.fall",
        ),
        # -- the monitor --
        Option(
            "monitor",
            _MONITOR,
            "[HOST]:PORT or a socket's path for the line protocol; without HOST on loopback.",
            _SIDE_PORT,
            target="monitor",
            short="m",
            paste="monitor_server",
            manual=(
                "``HOST:PORT`` or a socket's path for the line protocol; without "
                "``HOST``, as in ``:9001``, it listens on loopback only"
            ),
            example="127.0.0.1:9001",
        ),
        Option(
            "monitor-command",
            _MONITOR,
            "NAME=DOTTED.NAME: one more command of the monitor.",
            Kind(command_pair, "NAME=DOTTED.NAME"),
            repeatable=True,
            target="monitor_commands",
            paste="monitor_commands",
            manual=(
                "``NAME=DOTTED.NAME``: one more command of the monitor, see `Commands of your own "
                "<monitoring.rst#commands-of-your-own>`__"
            ),
            example="hello=mypackage.commands.hello",
        ),
        Option(
            "manhole",
            _MONITOR,
            "[HOST]:PORT for a Python prompt over SSH (with --manhole-keys) or telnet (with "
            "--manhole-telnet), or a socket's path; without HOST on loopback.  It knows `service` "
            "and `presence`.",
            _SIDE_PORT,
            target="manhole.address",
            manual=(
                "a Python prompt: ``[HOST]:PORT`` for SSH with ``--manhole-keys``, or for telnet "
                "with ``--manhole-telnet``, from this machine only, with a token; or a socket's "
                "path for telnet without a token: only the user that the process runs as, and "
                "root, can connect to it (mode 0600)"
            ),
            example="/run/app/manhole",
        ),
        Option(
            "manhole-telnet",
            _MONITOR,
            "Allow telnet at a port: the token and all that is typed are sent in clear text.",
            FLAG,
            False,
            target="manhole.telnet",
            manual=(
                "allow telnet at a port: the token, and all that is typed, are sent in clear text"
            ),
        ),
        Option(
            "manhole-keys",
            _MONITOR,
            "Use SSH for the manhole, with the public keys in this file; log in as the user that "
            "the process runs as.",
            FILE,
            target="manhole.authorized_keys",
            manual="use SSH for the manhole, with the public keys in this file, one on each line",
            example="/etc/app/operators.pub",
        ),
        Option(
            "manhole-host-key",
            _MONITOR,
            "The SSH manhole's own key; created if it is missing.",
            FILE,
            "zkserve_host_key",
            target="manhole.host_key",
            manual="the file with the SSH server's own key; created if it is missing",
        ),
        Option(
            "manhole-token",
            _MONITOR,
            "File with the token that the telnet manhole asks for at a port; created if it is "
            "missing.",
            FILE,
            "zkserve_manhole_token",
            target="manhole.token_file",
            manual="the file with the token, in its first line; created if it is missing",
        ),
        # -- stopping --
        Option(
            "drain-wait",
            _STOPPING,
            "Milliseconds to serve on after deregistering, so that no client is refused.",
            milliseconds(),
            0.5,
            target="drain_wait",
        ),
        Option(
            "drain-timeout",
            _STOPPING,
            "Milliseconds for running requests to finish.",
            milliseconds(),
            30.0,
            target="drain_timeout",
        ),
        Option(
            "upgrade-timeout",
            _STOPPING,
            "Milliseconds for the new program that SIGUSR2 starts to become ready.",
            milliseconds(1),
            60.0,
            target="upgrade_timeout",
        ),
        # -- limits --
        Option(
            "limit",
            _LIMITS,
            "NAME=VALUE: one of the limits below; times are milliseconds, sizes bytes.",
            Kind(_read_limit, "NAME=VALUE"),
            repeatable=True,
            example="request-timeout=30000",
        ),
        *_limit_rows(),
        # -- views --
        Option(
            "view",
            _VIEWS,
            "/PATH=DOTTED.NAME: a WSGI callable that is called in the reactor.",
            Kind(_read_view, "/PATH=NAME"),
            repeatable=True,
            target="front_end.views",
            manual=(
                "``/PATH=DOTTED.NAME``: the exact path as it is sent, and a WSGI "
                "callable; ``zkservice.web.TextView`` makes one of a function that "
                "returns text"
            ),
            example="/-/count=mysite.views.threads",
        ),
        Option(
            "status-views",
            _VIEWS,
            "Serve /-/health, /-/ready, /-/threads and the status page /-/; see --admin-allow.",
            FLAG,
            False,
            target="front_end.status_views",
            manual=(
                "serve ``/-/health`` and ``/-/ready``, see `Probes <monitoring.rst#probes>`__, "
                "`the status page <monitoring.rst#the-status-page>`__ at "
                "``/-/``, and ``/-/threads`` with the stack and the request of every "
                "worker: what an application that hangs is doing"
            ),
        ),
        Option(
            "discover",
            _VIEWS,
            "Serve /-/discover/FORMAT?path=PATH: the providers at --path or beside it, in formats "
            "of proxies and Prometheus; see --admin-allow.",
            FLAG,
            False,
            target="discover.enabled",
            manual=(
                "serve ``/-/discover/FORMAT?path=PATH``: the providers at ``--path`` or "
                "beside it, in the formats of `zkfollow <following.rst>`_"
            ),
        ),
        Option(
            "discover-below",
            _VIEWS,
            "Let --discover show the service at this path and all below it, too.",
            _PATH,
            repeatable=True,
            target="discover.below",
            example="/svc",
        ),
        Option(
            "admin-listen",
            _VIEWS,
            "Any Twisted server endpoint: a port of its own for the views of --status-views and "
            "--metrics.",
            checked(_check_admin_endpoint, "ENDPOINT"),
            repeatable=True,
            target="admin.listen",
            manual=(
                "a port of its own for ``/-/``, any Twisted server endpoint: "
                "``tcp:9100:interface=127.0.0.1``, ``unix:/run/app/admin.sock:mode=660``, "
                "``mtls:``; see `Who may ask <monitoring.rst#who-may-ask>`__"
            ),
            example="tcp:9100:interface=127.0.0.1",
        ),
        Option(
            "admin-allow",
            _VIEWS,
            "Address or network whose clients may see the views for operators.",
            _NETWORK,
            repeatable=True,
            target="admin.allow",
            manual=(
                "address or network whose clients may see the views for operators, beside this "
                "machine: ``10.1.0.0/16``, ``fd00::/8``"
            ),
            example="10.1.0.0/16",
        ),
        Option(
            "admin-host",
            _VIEWS,
            "Host name by which the views for operators may be asked for.",
            checked(_check_host_name, "NAME"),
            repeatable=True,
            target="admin.hosts",
            manual=(
                "host name by which the views for operators may be asked for, beside "
                "``localhost`` and addresses"
            ),
            example="web1.example",
        ),
        Option(
            "metrics",
            _VIEWS,
            "Serve /-/metrics for Prometheus; needs zkservice[metrics].",
            FLAG,
            False,
            target="front_end.metrics",
            manual=(
                "serve ``/-/metrics`` for Prometheus (``pip install "
                "'zkservice[metrics]'``): responses by method and status, the times "
                "that requests waited and took, connections, threads, the registration, "
                "the session, the process"
            ),
        ),
        # -- proxies --
        Option(
            "trusted-proxy",
            _PROXIES,
            "Address or network of proxies whose X-Forwarded-* headers are trusted.",
            _NETWORK,
            repeatable=True,
            manual=(
                "address or network of proxies whose ``X-Forwarded-*`` headers are "
                "trusted: ``10.0.0.0/8``"
            ),
            example="10.0.0.0/8",
        ),
        Option(
            "proxy-hops",
            _PROXIES,
            "How many trusted proxies a request comes through.",
            whole_number(1),
            1,
        ),
        Option(
            "proxy-header",
            _PROXIES,
            "A field that the proxies set, instead of X-Forwarded-For and X-Forwarded-Proto.",
            Kind(str.lower, "NAME"),
            repeatable=True,
            manual=(
                "a field that the proxies set, instead of ``X-Forwarded-For`` and "
                "``X-Forwarded-Proto``"
            ),
            example="X-Real-IP",
        ),
        # -- logs --
        Option(
            "access-log",
            _LOGS,
            "A file for a line about each response; - is standard output.",
            LOG_FILE,
            target="front_end.access_log",
            manual=(
                "a file for a line about each response, ``-`` for standard output; with "
                "the request's id, the seconds it waited, was worked on and was sent, "
                "and ``complete``, or ``aborted`` if the client left before it had all "
                "of the response or the application failed in the middle"
            ),
            example="/var/log/app/access.log",
        ),
        Option(
            "access-log-format",
            _LOGS,
            "The format of the access log.",
            choice("combined", "json", "otel"),
            "combined",
            target="front_end.access_style",
            manual=(
                "``combined`` (as Apache's, with these figures added), ``json``, or ``otel``: JSON "
                "with OpenTelemetry's names for HTTP"
            ),
        ),
        Option(
            "request-ids",
            _LOGS,
            "Give each request an id, or keep that of X-Request-ID, for the logs, the application "
            "and the client.  With --access-log it has one in any case.",
            FLAG,
            False,
            target="front_end.request_ids",
            manual=(
                "give each request an id, or keep that of ``X-Request-ID``, for the logs, the "
                "application and the client; with ``--access-log`` it has one in any case"
            ),
        ),
        Option(
            "slow-request",
            _LOGS,
            "Log requests that run longer than so many seconds, with their stack; 0: none.",
            seconds(),
            0.0,
            target="front_end.slow_request",
            manual=(
                "log requests that run longer than so many seconds (``0.5``), with the stack of "
                "their thread, at most ten a minute; 0: none"
            ),
            example="2",
        ),
        Option(
            "trace-log",
            _LOGS,
            "A file for zc.zservertracelog's records; - is standard output.",
            LOG_FILE,
            target="front_end.trace_log",
            manual=(
                "a file for zc.zservertracelog's records, which its ``tracereport`` "
                "reads; ``-`` for standard output"
            ),
            example="/var/log/app/trace.log",
        ),
        Option(
            "log-format",
            _LOGS,
            "The format of twistd's own log.",
            choice("text", "json"),
            "text",
            target="log_format",
            manual="the format of twistd's own log: ``text``, or ``json``, one object a line",
        ),
        Option(
            "loggers",
            _LOGS,
            "A level for the standard library's logging, or a file with a ZConfig text.",
            Kind(_read_loggers, "LEVEL|FILE"),
            "",
            target="loggers",
            manual=(
                "a level, which lets the standard library's ``logging`` through to "
                "twistd's log, or a file with a ZConfig text"
            ),
            example="INFO",
        ),
        # -- development --
        Option(
            "reload",
            _DEVELOPMENT,
            "Load the application again as soon as its code changes; if that fails, serve a page "
            "with the error.  Only in the foreground, with twistd -n.",
            FLAG,
            False,
            target="processes.reload",
            manual=(
                "load the application again as soon as its code changes; if that fails, serve a "
                "page with the error; only in the foreground, with twistd's ``-n``"
            ),
        ),
        Option(
            "reload-extra",
            _DEVELOPMENT,
            "A glob of more files whose changes count, such as 'templates/**/*.html'.",
            Kind(FILE.read, "GLOB"),
            repeatable=True,
            target="processes.reload_extra",
            manual=(
                "a glob of more files whose changes count: ``'templates/**/*.html'``; quote it, so "
                "that the shell does not expand it"
            ),
            example="templates/**/*.html",
        ),
        # -- a file --
        config_row(CONFIGURATION, "ZKSERVE_"),
        Option(
            "check-config",
            CONFIGURATION,
            "Load everything, print what would be opened and registered, and exit with 0 or 1.",
            FLAG,
            False,
            command_line_only=True,
            manual=(
                "load everything, print what would be opened and registered, and exit with 0; or "
                "print what is wrong, and exit with 1"
            ),
        ),
    )
)


def worker_rows() -> list[Option]:
    """The options that a worker process gets."""
    others = ("property", "acl", "format", "advertise", "socket-owner", "zookeeper", "monitor")
    return [
        row
        for row in OPTIONS
        if row.section not in (_ZOOKEEPER, _HEALTH, _MONITOR) and row.name not in others
    ]


#: Options that take effect at SIGHUP in every service.
_RELOADED: Final = ("property", "drain-wait", "drain-timeout")


def reloadable(supervised: bool) -> frozenset[str]:
    """The names of the options that SIGHUP reads again; others need a restart.

    Args:
        supervised: whether there are worker processes, because new ones can get new options.
    """
    names = set(_RELOADED)
    if supervised:
        names.update(row.name for row in worker_rows() if row.section != _LISTENING)
        names.add(APPLICATION)
        # These take effect only when the parent starts.
        names -= {"log-format", "recycle-together", "reload", "reload-extra"}
        names -= {"admin-listen", "admin-allow", "admin-host"}
    return frozenset(names)


def _inherit() -> Inheritance | None:
    try:
        return inherit(os.environ)
    except ConfigurationError as error:
        raise UsageError(str(error)) from None


class Options(TableOptions):
    """Command line of ``twistd zkserve``; ``config`` is the configuration that it describes."""

    synopsis = "[options] --path PATH APP"
    other_keys = (APPLICATION,)
    longdesc = (
        "Serve a WSGI application and keep its address in ZooKeeper.  APP is a .wsgi file "
        "with a global named 'application', 'module:callable', 'module:factory()' with literals as "
        "arguments, or 'config:deploy.ini#name'."
    )
    table = OPTIONS

    def __init__(self) -> None:
        super().__init__()
        #: What this program inherits in an upgrade; None otherwise.
        self.inheritance = _inherit()

    def parseArgs(self, *words: str) -> None:  # noqa: N802
        """Take the application."""
        if misplaced := [word for word in words if word.startswith("-")]:
            raise UsageError(f"options go before the application: {misplaced[0]}")
        if len(words) > 1:
            raise UsageError(f"expected one application, got {len(words)}: {' '.join(words)}")
        if words:
            self.given[APPLICATION] = Given("APP", words)

    @override
    def accept(self) -> None:
        """Check the options together, before anything starts."""
        if APPLICATION not in self.given:
            raise ConfigurationError(
                "APP is missing: a .wsgi file, module:callable, 'module:factory()', "
                "or config:deploy.ini#name"
            )
        self["application"] = self.given[APPLICATION].texts[-1]
        self["config"] = read_config(self.values_read, self["application"], os.environ)
        if self.values_read["check-config"]:
            # Exit now: later twistd refuses to go on while a running service has the pid file.
            sys.exit(check_config(self.config, self.sources.warnings))
        if self.values_read["reload"] and self.parent and not self.parent.get("nodaemon"):
            raise ConfigurationError(
                f"{self.values_read.spelled('reload')} is for development, and shows tracebacks to "
                "clients: run it in the foreground, with twistd -n zkserve"
            )
        if self.inheritance is not None and self.parent is not None:
            as_upgrade(self.parent)
        if self["config"].log_format == "json" and self.parent is not None:
            self.values_read.read("log-format", log_as_json, self.parent)

    @override
    def postOptions(self) -> None:
        try:
            super().postOptions()
        except UsageError as error:
            if self.inheritance is not None:
                self.inheritance.report_failure(str(error))
            raise

    @override
    def section_lines(self, section: str) -> Iterator[tuple[str, str]]:
        yield from super().section_lines(section)
        if section == _LIMITS:
            for row in self.table:
                if row.section == _LIMITS and row.hidden:
                    yield (
                        f"      {row.name}",
                        f"{row.help} [default: {row.kind.write(row.default)}]",
                    )

    @property
    def config(self) -> Config:
        """The configuration that the options describe."""
        config: Config = self["config"]
        return config
