"""What a service is to do: values that cannot change any more, checked before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.endpoints import quoteStringArgument

from zkservice.security import Security
from zkservice.service.front_end import FrontEnd
from zkservice.service.health import HealthSettings
from zkservice.service.ports import Owner
from zkservice.supervisor import RecyclingSettings


@dataclass(frozen=True)
class ListenAddress:
    """One place to listen at.

    Attributes:
        endpoint: a Twisted server endpoint string.
        host: what to register as the host; None is what the bound socket says, and
            blank every address of this machine.
    """

    endpoint: str
    host: str | None = None

    @property
    def tls(self) -> bool:
        """Whether clients must speak TLS."""
        return self.endpoint.removeprefix("haproxy:").startswith(("ssl:", "mtls:"))

    @classmethod
    def tcp(cls, host: str, port: int) -> ListenAddress:
        """Listen on a TCP port; a blank host is all addresses, port 0 one the system picks."""
        interface = f":interface={quoteStringArgument(host)}" if host else ""
        return cls(f"tcp:{port}{interface}", host)


@dataclass(frozen=True)
class ZooKeeperTarget:
    """Which ZooKeeper: servers somewhere, or the embedded one.

    Attributes:
        hosts: ``h1:p,h2:p/chroot``, or None for the embedded server.
        data_dir: where the embedded server keeps its data; None is in memory.
        assumed: it is the default; no option named it.
    """

    hosts: str | None
    data_dir: str | None = None
    assumed: bool = False


@dataclass(frozen=True)
class Manhole:
    """A Python prompt in the process.

    Attributes:
        address: ``HOST:PORT`` or a socket's path.
        authorized_keys: a file of public keys for SSH; None is telnet, for this machine only.
        host_key: the file of our own SSH key, made if it is missing.
        token_file: the file of the token that telnet over TCP asks for, made if it is missing.
        telnet: whether telnet over TCP was asked for by name.
    """

    address: str
    authorized_keys: str | None = None
    host_key: str = "zkserve_host_key"
    token_file: str = "zkserve_manhole_token"
    telnet: bool = False


@dataclass(frozen=True)
class Processes:
    """Worker processes.  Times are seconds.

    Attributes:
        count: how many; with one the application is in the process that registers it.
        worker_timeout: without a turn of its reactor after which a worker is killed; 0 is never.
        recycling: when workers are replaced by fresh ones.
        recycle_together: how many members of the fleet may be recycled at a time; 0 is any number.
        reload: whether changes of the code are served at once, for development.
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
        """Whether the application is in processes of its own."""
        return self.count > 1 or self.reload


@dataclass(frozen=True)
class Config:
    """A whole `twistd zkserve`.  Times are in seconds."""

    #: a ``.wsgi`` file, ``module:callable``, ``module:factory()`` or ``config:file.ini#name``
    application: str
    #: the znode under which to register
    path: str
    zookeeper: ZooKeeperTarget
    listen: tuple[ListenAddress, ...]
    #: registered instead of what ``listen`` says, where others see another address
    advertise: tuple[str, ...] = ()
    #: who gets the files of Unix sockets
    socket_owner: Owner | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    #: what the znode is called and holds: a name in `zkservice.formats.FORMATS`
    format: str = "properties"
    #: None: it is taken to be well as long as it listens
    health: HealthSettings | None = None
    #: how to be let in by ZooKeeper
    security: Security = field(default_factory=Security)
    front_end: FrontEnd = field(default_factory=FrontEnd)
    #: worker threads for the application, in each process
    threads: int = 4
    processes: Processes = field(default_factory=Processes)
    #: how long ZooKeeper keeps the address of a process that is silent
    session_timeout: float = 10.0
    #: ``HOST:PORT`` or a socket's path for the line protocol; None: no monitor
    monitor: str | None = None
    #: names of more commands of the monitor, and the dotted names of their functions
    monitor_commands: tuple[tuple[str, str], ...] = ()
    manhole: Manhole | None = None
    #: of twistd's own log: ``text`` or ``json``
    log_format: str = "text"
    #: how to configure `logging`; see `zkservice.service.loggers`
    loggers: str = ""
    #: between the removal of the address and the end of listening
    drain_wait: float = 0.5
    #: how long running requests may take after that
    drain_timeout: float = 30.0
    #: how long a new program, which SIGUSR2 starts, may take to become ready
    upgrade_timeout: float = 60.0
