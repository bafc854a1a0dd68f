"""The configuration of a service: immutable values, checked before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from twisted.internet.endpoints import quoteStringArgument

from zkservice.security import Security
from zkservice.supervisor import RecyclingSettings
from zkservice.web import Limits, TrustedProxies


class Owner(NamedTuple):
    """A user id and a group id; -1: unchanged."""

    user: int
    group: int


@dataclass(frozen=True)
class ListenAddress:
    """One place to listen at.

    Attributes:
        endpoint: a Twisted server endpoint string.
        host: the host to register.  None: the address that the socket is bound to.  Blank: every
            address of this machine.
    """

    endpoint: str
    host: str | None = None

    @property
    def tls(self) -> bool:
        """Whether clients must speak TLS."""
        return self.endpoint.removeprefix("haproxy:").startswith(("ssl:", "mtls:"))

    @classmethod
    def tcp(cls, host: str, port: int) -> ListenAddress:
        """Listen on a TCP port.  A blank host: all addresses.  Port 0: the system picks one."""
        interface = f":interface={quoteStringArgument(host)}" if host else ""
        return cls(f"tcp:{port}{interface}", host)


@dataclass(frozen=True)
class ZooKeeperTarget:
    """The ZooKeeper to connect to: an ensemble, or the embedded server.

    Attributes:
        hosts: ``h1:p,h2:p/chroot``, or None for the embedded server.
        data_dir: where the embedded server keeps its data; None: in memory.
        assumed: whether this is the default because no option named one.
    """

    hosts: str | None
    data_dir: str | None = None
    assumed: bool = False


@dataclass(frozen=True)
class Manhole:
    """A Python prompt in the process.

    Attributes:
        address: ``HOST:PORT`` or a socket's path.
        authorized_keys: a file of public keys for SSH; None: telnet, for this machine only.
        host_key: the file with the SSH server's own key; created if it is missing.
        token_file: the file with the token for telnet over TCP; created if it is missing.
        telnet: whether the user has allowed telnet over TCP.
    """

    address: str
    authorized_keys: str | None = None
    host_key: str = "zkserve_host_key"
    token_file: str = "zkserve_manhole_token"
    telnet: bool = False


@dataclass(frozen=True)
class HealthSettings:
    """What to check and how often.  Times are in seconds."""

    #: an HTTP path that must return 2xx or 3xx, or None: a TCP connection is enough
    path: str | None
    #: the ``Host`` of the request; empty: the registered address
    host: str = ""
    interval: float = 2.0
    timeout: float = 1.0
    #: successes in a row that make an unhealthy service healthy
    rise: int = 2
    #: failures in a row that make a healthy service unhealthy
    fall: int = 3


@dataclass(frozen=True)
class AdminViews:
    """The ports of the views for operators, and the clients that may see them.

    Attributes:
        listen: endpoints of separate ports for the views; without one the application's ports
            have them.
        allow: clients that are allowed beside this machine, as addresses or in CIDR notation.
        hosts: allowed values of the ``Host`` field, beside ``localhost`` and addresses.
    """

    listen: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class DiscoverSettings:
    """Which services ``/-/discover/FORMAT`` shows.

    Attributes:
        enabled: whether the view exists.  It shows this service and its siblings.
        below: other paths to show, with everything below them.
    """

    enabled: bool = False
    below: tuple[str, ...] = ()


@dataclass(frozen=True)
class FrontEnd:
    """The settings of the front end, beside those of the application.

    Attributes:
        views: pairs of a raw path and the dotted name of a WSGI callable that runs in the reactor.
        status_views: whether the application's ports have the status page, ``/-/health``,
            ``/-/ready`` and ``/-/threads``.
        admin: access to the views for operators.
        metrics: whether there is ``/-/metrics``, for Prometheus.
        discover: the services that ``/-/discover/FORMAT`` shows.
        access_log, trace_log: a file's path, ``-`` for standard output, None for no log.
        access_style: ``combined``, ``json`` or ``otel``.
        request_ids: whether each request gets an id.
        slow_request: seconds after which a request is logged with its stack; 0 is never.
    """

    limits: Limits = field(default_factory=Limits)
    views: tuple[tuple[str, str], ...] = ()
    status_views: bool = False
    metrics: bool = False
    admin: AdminViews = field(default_factory=AdminViews)
    discover: DiscoverSettings = field(default_factory=DiscoverSettings)
    proxies: TrustedProxies | None = None
    access_log: str | None = None
    access_style: str = "combined"
    trace_log: str | None = None
    request_ids: bool = False
    slow_request: float = 0.0


@dataclass(frozen=True)
class Processes:
    """Worker processes.  Times are seconds.

    Attributes:
        count: the number of processes; 1: the application runs in the process that registers it.
        worker_timeout: a worker whose reactor does not run for so long is killed; 0: never.
        recycling: when workers are replaced by fresh ones.
        recycle_together: members of the fleet that may be recycled at a time; 0: any number.
        reload: whether to load the code again when it changes, for development.
        reload_extra: globs of more files whose changes count.
    """

    count: int = 1
    worker_timeout: float = 30.0
    recycling: RecyclingSettings = field(default_factory=RecyclingSettings)
    recycle_together: int = 0
    reload: bool = False
    reload_extra: tuple[str, ...] = ()

    @property
    def supervised(self) -> bool:
        """Whether the application runs in worker processes."""
        return self.count > 1 or self.reload


@dataclass(frozen=True)
class Config:
    """The configuration of ``twistd zkserve``.  Times are in seconds."""

    #: a ``.wsgi`` file, ``module:callable``, ``module:factory()`` or ``config:file.ini#name``
    application: str
    #: the znode under which to register
    path: str
    zookeeper: ZooKeeperTarget
    listen: tuple[ListenAddress, ...]
    #: addresses to register instead of those in ``listen``, as behind a proxy
    advertise: tuple[str, ...] = ()
    #: the owner of the files of Unix sockets
    socket_owner: Owner | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    #: the format of the znode: a name in `zkservice.formats.FORMATS`
    format: str = "properties"
    #: None: no checks; the service counts as healthy while it listens
    health: HealthSettings | None = None
    #: TLS, credentials and the ACL for ZooKeeper
    security: Security = field(default_factory=Security)
    front_end: FrontEnd = field(default_factory=FrontEnd)
    #: worker threads for the application, in each process
    threads: int = 4
    processes: Processes = field(default_factory=Processes)
    #: how long ZooKeeper keeps the address of a process that has died
    session_timeout: float = 10.0
    #: ``HOST:PORT`` or a socket's path for the line protocol; None: no monitor
    monitor: str | None = None
    #: additional monitor commands: their names, and the dotted names of their functions
    monitor_commands: tuple[tuple[str, str], ...] = ()
    manhole: Manhole | None = None
    #: of twistd's own log: ``text`` or ``json``; ``logging`` where the service logs to `logging`
    log_format: str = "text"
    #: how to configure `logging`; see `zkservice.service.process.loggers`
    loggers: str = ""
    #: the time from deregistering to closing the ports
    drain_wait: float = 0.5
    #: how long running requests may take after that
    drain_timeout: float = 30.0
    #: how long the new program of an upgrade (SIGUSR2) may take to become ready
    upgrade_timeout: float = 60.0
