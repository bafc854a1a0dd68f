"""What a user may choose for each command, with its defaults.

`zkservice.cli.parser` fills these in from a command line, `zkservice.cli.zc_zk_scripts` from that
of a script.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zkservice.client import TLS
from zkservice.tree.plan import Trim


@dataclass(frozen=True, kw_only=True)
class CommandOptions:
    """The options of every command.

    Attributes:
        json: print results for programs.
        quiet: print neither a summary nor progress.
    """

    json: bool = False
    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class ConnectOptions(CommandOptions):
    """How to connect to ZooKeeper.

    Attributes:
        timeout: seconds to connect.
        session_timeout: milliseconds.
        auth: credentials, as `zkservice.security.identity` reads them.
        sasl: where `zkservice.security.sasl_user` finds a user and a password.
        tls: connect with TLS although no other option asks for it.
    """

    timeout: float = 10.0
    session_timeout: int = 10_000
    auth: Sequence[str] = ()
    sasl: str | None = None
    tls: bool = False
    tls_ca: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    tls_server_name: str | None = None

    def tls_files(self) -> TLS | None:
        """How to use TLS; None without TLS."""
        files = TLS(self.tls_ca, self.tls_certificate, self.tls_key, self.tls_server_name)
        return files if self.tls or files != TLS() else None


@dataclass(frozen=True, kw_only=True)
class ServerOptions(ConnectOptions):
    """Which ZooKeeper to connect to.

    Attributes:
        hosts: a connection string, or ``-`` for that of the environment.
    """

    hosts: str


@dataclass(frozen=True, kw_only=True)
class ExportOptions(ServerOptions):
    """``zkservice export``."""

    path: str = "/"
    ephemeral: bool = False
    output: str | None = None
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class WalkOptions(ServerOptions):
    """``zkservice walk``."""

    path: str = "/"
    ephemeral: bool = False


@dataclass(frozen=True, kw_only=True)
class ListOptions(ServerOptions):
    """``zkservice ls``.

    Attributes:
        long: print the Stat of each node, too.
    """

    path: str = "/"
    long: bool = False


@dataclass(frozen=True, kw_only=True)
class ResolveOptions(ConnectOptions):
    """``zkservice resolve``.

    Attributes:
        watch: print changes as well, until the user stops it.
    """

    path: str
    hosts: str = "-"
    watch: bool = False


@dataclass(frozen=True, kw_only=True)
class GraphOptions(ConnectOptions):
    """``zkservice graph``.

    Attributes:
        source: a file; or a connection string if there is a ``path``.
    """

    source: str | None = None
    path: str | None = None
    output: str | None = None


@dataclass(frozen=True, kw_only=True)
class ConfirmOptions(ServerOptions):
    """A command that may delete nodes.

    Attributes:
        yes: delete without asking.
        dry_run: print what the command would do.
    """

    yes: bool = False
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class ImportOptions(ConfirmOptions):
    """``zkservice import``.

    Attributes:
        trim: delete nodes that the tree does not have; None only lists them.
        permission: of every client, as a sum of `zkservice.wire.acl.Permission`.
        acl: an ACL, as `zkservice.security.parse_acl` reads it; it takes precedence.
    """

    file: str | None = None
    path: str = "/"
    trim: Trim = None
    permission: int | None = None
    acl: str | None = None
    atomic: bool = False


@dataclass(frozen=True, kw_only=True)
class RemoveOptions(ConfirmOptions):
    """``zkservice rm``."""

    path: str
    recursive: bool = False
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class SetPropertyOptions(ServerOptions):
    """``zkservice set-property``."""

    path: str
    properties: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class LinkOptions(ServerOptions):
    """``zkservice ln``."""

    target: str
    source: str


@dataclass(frozen=True, kw_only=True)
class ValidateOptions(CommandOptions):
    """``zkservice validate``."""

    file: str | None = None
    at: str = "/"


@dataclass(frozen=True, kw_only=True)
class MonitorOptions(CommandOptions):
    """A command that asks the monitor of a service.

    Attributes:
        addr: ``HOST:PORT``, or the path of a socket.
        timeout: seconds, for each connection and each reply.
    """

    addr: str
    timeout: float = 10.0


@dataclass(frozen=True, kw_only=True)
class AskOptions(MonitorOptions):
    """``zkservice ask``."""

    words: Sequence[str] = ()
    text: bool = False


@dataclass(frozen=True, kw_only=True)
class AddressOptions(MonitorOptions):
    """``zkservice check`` and ``zkservice get-addr``."""

    path: str


@dataclass(frozen=True, kw_only=True)
class TopOptions(ConnectOptions):
    """``zkservice top``.

    Attributes:
        addresses: of monitors.
        path: where services are registered whose monitors are asked, too.
        zookeeper: the connection string for that.
        interval: seconds between two frames.
        once: print one frame.
    """

    addresses: Sequence[str] = ()
    path: str | None = None
    zookeeper: str = "-"
    interval: float = 1.0
    once: bool = False


@dataclass(frozen=True, kw_only=True)
class CompletionOptions(CommandOptions):
    """``zkservice completion``."""

    shell: str
