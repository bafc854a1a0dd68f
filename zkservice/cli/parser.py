"""The command line of ``zkservice``: its commands, their options and their help.

Only the options that a user gives are passed on; `zkservice.cli.options` has the defaults.
"""

from __future__ import annotations

import os
import sys
from argparse import (
    SUPPRESS,
    ArgumentParser,
    ArgumentTypeError,
    RawDescriptionHelpFormatter,
)
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Protocol, TypeVar

from shtab import FILE

from zkservice.cli.ask_monitor import ask, check, get_addr
from zkservice.cli.completion import completion
from zkservice.cli.context import Context, Exit
from zkservice.cli.find_commands import ls, resolve
from zkservice.cli.graph import graph
from zkservice.cli.options import (
    AddressOptions,
    AskOptions,
    CommandOptions,
    CompletionOptions,
    ExportOptions,
    GraphOptions,
    ImportOptions,
    LinkOptions,
    ListOptions,
    RemoveOptions,
    ResolveOptions,
    SetPropertyOptions,
    TopOptions,
    ValidateOptions,
    WalkOptions,
)
from zkservice.cli.top import top
from zkservice.cli.tree_commands import export, import_, ln, rm, set_property, validate, walk
from zkservice.wire.acl import Permission

__all__ = [
    "CommandLine",
    "Invocation",
    "add_trim",
    "make_command_line",
    "parse_arguments",
    "permission_bits",
]

O = TypeVar("O", bound=CommandOptions)  # noqa: E741 - options

_EPILOG: Final = """\
'zkservice COMMAND --help' explains a command.  HOSTS is host:port,host:port/chroot; "-" is
the environment's ZC_ZK_CONNECTION_STRING, or 127.0.0.1:2181.  Exit codes: 0 done, 1 refused
or wrong, 2 wrong usage, 3 no ZooKeeper, 4 another client changed a node meanwhile, 130 stopped
by Ctrl-C."""
_HOSTS: Final = "the servers: host:port,host:port/chroot, or - for $ZC_ZK_CONNECTION_STRING"
_ADDR: Final = "the monitor: HOST:PORT, or a socket's path"
_MAX_INT: Final = 2**31 - 1  # the handshake has 32 bits for a session time-out


@dataclass(frozen=True)
class Invocation:
    """What a command line asks for.

    Attributes:
        options: of the command.
        run: runs the command with these options.
    """

    options: CommandOptions
    run: Callable[[Context], Awaitable[Exit]]


class CommandLine:
    """The parsers of all commands.

    Attributes:
        parser: of the whole command line.
        commands: the parser of each command, by name.
    """

    def __init__(self) -> None:
        self.parser = ArgumentParser(
            prog="zkservice",
            description="Find services in ZooKeeper, ask their monitors, and change their trees.",
            epilog=_EPILOG,
            formatter_class=RawDescriptionHelpFormatter,
        )
        self.parser.add_argument("--version", action="version", version=f"zkservice {_version()}")
        self.commands: dict[str, ArgumentParser] = {}
        self._subparsers = self.parser.add_subparsers(metavar="COMMAND", required=True)
        self._invocations: dict[str, Callable[[dict[str, Any]], Invocation]] = {}

    def add(
        self,
        name: str,
        what: str,
        run: Callable[[Context, O], Awaitable[Exit]],
        options: Callable[..., O],
    ) -> ArgumentParser:
        """Add a command.

        Args:
            name: what the user writes.
            what: what the command does, for the help.
            run: runs it.
            options: makes its options from those that were given.
        """
        parser = self._subparsers.add_parser(
            name,
            help=what,
            description=f"{what[0].upper()}{what[1:]}.",
            allow_abbrev=False,
            argument_default=SUPPRESS,
        )
        parser.add_argument("--json", action="store_true", help="print results for programs")
        parser.add_argument(
            "-q", "--quiet", action="store_true", help="print no summary and no progress"
        )

        def invoke(given: dict[str, Any]) -> Invocation:
            all_options = options(**given)
            return Invocation(all_options, lambda context: run(context, all_options))

        self.commands[name] = parser
        self._invocations[name] = invoke
        return parser

    def invocation(self, name: str, words: Sequence[str]) -> Invocation:
        """Read the words of one command.

        Raises:
            SystemExit: they are invalid, or help was asked for.
        """
        return self._invocations[name](vars(self.commands[name].parse_intermixed_args(words)))


def make_command_line() -> CommandLine:
    """The command line with all of its commands."""
    line = CommandLine()
    _add_reading_commands(line)
    _add_writing_commands(line)
    _add_monitor_and_other_commands(line)
    return line


def parse_arguments(words: Sequence[str]) -> Invocation:
    """Read a command line; options may stand before, between and behind other words.

    ``help COMMAND`` is ``COMMAND --help``.

    Raises:
        SystemExit: it is invalid, or help was asked for.
    """
    line = make_command_line()
    if not words:
        line.parser.print_help(sys.stderr)
        line.parser.exit(Exit.USAGE)
    if words[0] == "help":
        words = [*words[1:2], "--help"]
    at = next((index for index, word in enumerate(words) if word in line.commands), None)
    if at is None or not all(_may_be_options(words[:at])):
        line.parser.parse_args(words)  # shows help or the version, or what is wrong
        line.parser.error("a command is missing")
    return line.invocation(words[at], [*words[:at], *words[at + 1 :]])


def _may_be_options(words: Sequence[str]) -> Iterator[bool]:
    """Whether each of the words before a command can be an option of it, or an option's value.

    The program's own options cannot: they end it.
    """
    for previous, word in zip(["", *words], words, strict=False):
        is_own = word in ("-h", "--help", "--version")
        yield not is_own and (word.startswith("-") or previous.startswith("-"))


def _version() -> str:
    try:
        return version("zkservice")
    except PackageNotFoundError:
        return "(not installed)"


# -- the commands -----------------------------------------------------------------------


def _add_reading_commands(line: CommandLine) -> None:
    command = _server_command(line.add("export", "write a tree as text", export, ExportOptions))
    _add_path(command, "the node at the top; / if missing")
    _add_ephemeral(command)
    _add_file(command, "-o", "--output", help="write to FILE, not to the terminal")
    command.add_argument("--name", help="name the node at the top NAME")

    command = _server_command(line.add("walk", "list paths", walk, WalkOptions))
    _add_path(command, "where to begin; / if missing")
    _add_ephemeral(command)

    command = _server_command(line.add("ls", "list what is below a node", ls, ListOptions))
    _add_path(command, "the node; / if missing")
    command.add_argument(
        "-l", "--long", action="store_true", help="with what ZooKeeper knows of each"
    )

    command = line.add("resolve", "show the providers of a service", resolve, ResolveOptions)
    _add_connection_options(command)
    command.add_argument("hosts", metavar="HOSTS", nargs="?", help=f"{_HOSTS}; - if missing")
    command.add_argument("path", metavar="PATH", help="where the service is registered")
    command.add_argument(
        "-w", "--watch", action="store_true", help="print changes as well, until Ctrl-C"
    )

    command = line.add("graph", "draw which services use which", graph, GraphOptions)
    _add_connection_options(command)
    _add_file(
        command,
        "source",
        metavar="HOSTS PATH|FILE",
        nargs="?",
        help="a server and a node, or a tree's text; standard input if missing or -",
    )
    command.add_argument("path", metavar="", nargs="?")
    _add_file(command, "-o", "--output", help="a picture (.svg, .png) or text (.dot)")


def _add_writing_commands(line: CommandLine) -> None:
    command = _server_command(line.add("import", "make nodes match a tree", import_, ImportOptions))
    _add_file(command, "file", nargs="?", help="standard input if missing or -")
    _add_path(command, "below which node; it is created if it is missing; / if PATH is missing")
    command.add_argument(
        "-d", "--dry-run", action="store_true", help="only print what would be done"
    )
    add_trim(command)
    command.add_argument(
        "-p",
        "--permission",
        metavar="BITS",
        type=permission_bits,
        help="permissions of every client: 1 to 31",
    )
    command.add_argument("--acl", metavar="ACL", help="open, read, creator or scheme:id:perms,...")
    command.add_argument("--atomic", action="store_true", help="in one transaction, or not at all")
    _add_yes(command)

    command = _server_command(
        line.add("set-property", "change properties of a node", set_property, SetPropertyOptions)
    )
    command.add_argument("path", metavar="PATH", help="the node")
    command.add_argument(
        "properties",
        metavar="NAME=LITERAL",
        nargs="+",
        help="a string needs quotes: name='\"text\"'; also NAME->PATH and NAME=>PATH",
    )

    command = _server_command(line.add("rm", "delete a node", rm, RemoveOptions))
    command.add_argument("path", metavar="PATH", help="the node")
    command.add_argument("-r", "--recursive", action="store_true", help="and all below it")
    command.add_argument(
        "-n", "--dry-run", action="store_true", help="only print what would be done"
    )
    command.add_argument("-f", "--force", action="store_true", help="ephemeral nodes, too")
    _add_yes(command)

    command = _server_command(line.add("ln", "make a symbolic link", ln, LinkOptions))
    command.add_argument("target", metavar="TARGET", help="where it leads")
    command.add_argument("source", metavar="SOURCE", help="where it is")


def _add_monitor_and_other_commands(line: CommandLine) -> None:
    command = line.add("validate", "look for mistakes in a tree's text", validate, ValidateOptions)
    _add_file(command, "file", nargs="?", help="standard input if missing or -")
    command.add_argument("--at", metavar="PATH", help="where it will be imported (/)")

    command = line.add(
        "ask", "ask the monitor of a service: status, requests, help", ask, AskOptions
    )
    _add_file(command, "addr", metavar="ADDR", help=_ADDR)
    # An explicit default, because argparse takes the word for required without one.
    command.add_argument(
        "words", metavar="WORD", nargs="*", default=(), help="the command; help if missing"
    )
    command.add_argument("--text", action="store_true", help="status in words, to a pipe as well")
    _add_timeout(command)

    for name, run, what in (
        ("check", check, "check that a service accepts connections where it is registered"),
        ("get-addr", get_addr, "show where a service is registered"),
    ):
        command = line.add(name, what, run, AddressOptions)
        _add_file(command, "addr", metavar="ADDR", help=_ADDR)
        command.add_argument("path", metavar="PATH", help="where it is registered")
        _add_timeout(command)

    _add_top(line)

    async def complete(context: Context, options: CompletionOptions) -> Exit:
        return await completion(context, options, line.parser)

    command = line.add(
        "completion", "print a script for a shell's completion", complete, CompletionOptions
    )
    command.add_argument("shell", choices=["bash", "zsh", "fish"], help="the shell that reads it")


def _add_top(line: CommandLine) -> None:
    command = line.add("top", "watch what services are doing", top, TopOptions)
    _add_file(
        command,
        "addresses",
        metavar="ADDR",
        nargs="*",
        default=(),
        help="monitors: HOST:PORT, or a socket's path",
    )
    command.add_argument("--path", metavar="PATH", help="all that is registered there, too")
    command.add_argument("--zookeeper", metavar="HOSTS", help=f"for --path; {_HOSTS}")
    command.add_argument(
        "--interval", metavar="SECONDS", type=_seconds, help="between two frames (1)"
    )
    command.add_argument("--once", action="store_true", help="print one frame, as to a pipe")
    _add_connection_options(command)


# -- options that several commands have ---------------------------------------------------


def _server_command(command: ArgumentParser) -> ArgumentParser:
    command.add_argument("hosts", metavar="HOSTS", help=_HOSTS)
    _add_connection_options(command)
    return command


def _add_connection_options(command: ArgumentParser) -> None:
    _add_timeout(command)
    server = command.add_argument_group("how to connect")
    server.add_argument(
        "--session-timeout",
        metavar="MS",
        type=_milliseconds,
        help="milliseconds after which the servers give up a silent session (10000)",
    )
    server.add_argument(
        "--auth",
        metavar="SCHEME:SECRET",
        action="append",
        help="a credential: digest:file:FILE or digest:env:VARIABLE with user:password",
    )
    server.add_argument(
        "--sasl",
        metavar="SECRET",
        help="file:FILE or env:VARIABLE with user:password, for SASL DIGEST-MD5",
    )
    server.add_argument("--tls", action="store_true", help="over TLS, with the system's CAs")
    _add_file(server, "--tls-ca", help="certificates to trust")
    _add_file(server, "--tls-certificate", help="this client's certificate")
    _add_file(server, "--tls-key", help="its key")
    server.add_argument(
        "--tls-server-name", metavar="NAME", help="the name in the servers' certificates"
    )


def _add_timeout(command: ArgumentParser) -> None:
    command.add_argument(
        "--timeout", metavar="SECONDS", type=_seconds, help="seconds to connect (10)"
    )


def _add_path(command: ArgumentParser, what: str) -> None:
    command.add_argument("path", metavar="PATH", nargs="?", help=what)


def _add_ephemeral(command: ArgumentParser) -> None:
    command.add_argument("-e", "--ephemeral", action="store_true", help="with ephemeral nodes")


def _add_yes(command: ArgumentParser) -> None:
    command.add_argument("--yes", action="store_true", help="delete without asking")


def add_trim(command: ArgumentParser) -> None:
    """Add the options that say what becomes of nodes that a tree does not have."""
    trim = command.add_mutually_exclusive_group()
    trim.add_argument(
        "-t", "--trim", action="store_true", help="delete nodes that the tree does not have"
    )
    trim.add_argument(
        "--no-trim", dest="trim", action="store_false", help="leave them, and do not list them"
    )


class _TakesArguments(Protocol):
    """A parser, or a group of its options."""

    def add_argument(self, *names: str, **keywords: Any) -> Any:
        """Add an argument or an option."""
        ...


def _add_file(
    command: _TakesArguments, *names: str, metavar: str = "FILE", **keywords: Any
) -> None:
    """Add an argument that is a file, which shells can complete."""
    action: Any = command.add_argument(*names, metavar=metavar, type=os.path.expanduser, **keywords)
    action.complete = FILE  # shtab's protocol


# -- kinds of values --------------------------------------------------------------------


def _seconds(text: str) -> float:
    try:
        if 0 < float(text) < _MAX_INT:
            return float(text)
    except ValueError:
        pass
    raise ArgumentTypeError(f"must be seconds above zero, not {text!r}")


def _milliseconds(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) <= _MAX_INT:
        return int(text)
    raise ArgumentTypeError(f"must be milliseconds, 1 to {_MAX_INT}, not {text!r}")


def permission_bits(text: str) -> int:
    """Read the sum of the permissions that every client gets."""
    if text.isascii() and text.isdigit() and 0 < int(text) <= Permission.ALL:
        return int(text)
    raise ArgumentTypeError(
        "must be 1 to 31, the sum of 1 read, 2 write, 4 create, 8 delete and 16 admin, "
        f"not {text!r}"
    )
