"""``zkservice``: ZooKeeper trees from the command line."""

from __future__ import annotations

import signal
import sys
from argparse import (
    ArgumentParser,
    ArgumentTypeError,
    Namespace,
    RawDescriptionHelpFormatter,
    _SubParsersAction,
)
from collections.abc import Awaitable, Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from io import TextIOWrapper
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from zkservice.cli.ask_monitor import ask, check, get_addr
from zkservice.cli.completion import commands_of, completion, options_of
from zkservice.cli.context import Context, Exit
from zkservice.cli.graph import graph
from zkservice.cli.terminal import Terminal
from zkservice.cli.tree_commands import (
    UserStopError,
    export,
    import_,
    ln,
    rm,
    set_property,
    validate,
    walk,
)
from zkservice.errors import (
    ConfigurationError,
    FailedConnectError,
    InvalidHostsError,
    NoNodeError,
    TreeChangedError,
    ZooKeeperError,
)
from zkservice.wire.acl import Permission
from zkservice.zookeeper import default_connection_string

Command = Callable[[Context], Awaitable[Exit]]

_EPILOG = """\
'zkservice COMMAND --help' explains a command.  HOSTS is host:port,host:port/chroot; "-" is
the environment's ZC_ZK_CONNECTION_STRING, or 127.0.0.1:2181.  Exit codes: 0 done, 1 refused
or wrong, 2 wrong usage, 3 no ZooKeeper, 4 somebody else changed a node meanwhile, 130 stopped
by Ctrl-C."""
_HOSTS = "the servers: host:port,host:port/chroot, or - for $ZC_ZK_CONNECTION_STRING"
_MAX_INT: Final = 2**31 - 1  # what fits into the handshake


def make_parser() -> ArgumentParser:
    """The command line's grammar."""
    parser = ArgumentParser(
        prog="zkservice",
        description="Export, import and change trees of services in ZooKeeper.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"zkservice {_version()}")
    commands: Any = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_reading(commands)
    _add_writing(commands)
    _add_asking(commands)
    return parser


def parse_arguments(words: Sequence[str]) -> Namespace:
    """Read a command line; options may stand before, between and behind other words.

    ``help COMMAND`` is ``COMMAND --help``.

    Raises:
        SystemExit: it is wrong, or help was asked for.
    """
    parser = make_parser()
    if not words:
        parser.print_help(sys.stderr)
        parser.exit(Exit.USAGE)
    if words[0] == "help":
        words = [*words[1:2], "--help"]
    commands = commands_of(parser)
    at = next((index for index, word in enumerate(words) if word in commands), None)
    if at is None or not all(_may_be_options(words[:at])):
        return parser.parse_args(words)
    return commands[words[at]].parse_intermixed_args([*words[:at], *words[at + 1 :]])


def _may_be_options(words: Sequence[str]) -> Iterator[bool]:
    """Whether each of the words before a command can be an option of it, or an option's value.

    Those of the program itself end it: they are no options of a command.
    """
    for before, word in zip(["", *words], words, strict=False):
        own = word in ("-h", "--help", "--version")
        yield not own and (word.startswith("-") or before.startswith("-"))


def _version() -> str:
    try:
        return version("zkservice")
    except PackageNotFoundError:
        return "that is not installed"


def _add_reading(commands: _SubParsersAction[Any]) -> None:
    one = _server_command(commands, "export", export, "write a tree as text")
    _place(one, "the node at the top; / if missing")
    _ephemeral(one)
    one.add_argument("-o", "--output", metavar="FILE", help="write to FILE, not to the terminal")
    one.add_argument("--name", help="name the node at the top NAME")

    one = _server_command(commands, "walk", walk, "list paths")
    _place(one, "where to begin; / if missing")
    _ephemeral(one)

    one = _server_command(commands, "graph", graph, "draw which services use which", hosts=False)
    one.add_argument(
        "source",
        metavar="HOSTS PATH|FILE",
        nargs="?",
        help="a server and a node, or a tree's text; standard input if missing or -",
    )
    one.add_argument("path", metavar="", nargs="?")
    one.add_argument("-o", "--output", metavar="FILE", help="a picture (.svg, .png) or text (.dot)")


def _add_writing(commands: _SubParsersAction[Any]) -> None:
    one = _server_command(commands, "import", import_, "make nodes those of a tree")
    one.add_argument("file", metavar="FILE", nargs="?", help="standard input if missing or -")
    _place(one, "below which node, which is made if needed; / if missing")
    one.add_argument("-d", "--dry-run", action="store_true", help="only say what would be done")
    trim = one.add_mutually_exclusive_group()
    trim.add_argument(
        "-t", "--trim", action="store_true", default=None, help="delete what the tree has not"
    )
    trim.add_argument(
        "--no-trim", dest="trim", action="store_false", help="leave it, and say nothing of it"
    )
    one.add_argument(
        "-p",
        "--permission",
        metavar="BITS",
        type=permission_bits,
        help="what everybody may do: 1 to 31",
    )
    one.add_argument("--acl", metavar="ACL", help="open, read, creator or scheme:id:perms,...")
    one.add_argument("--atomic", action="store_true", help="in one transaction, or not at all")
    one.add_argument("--yes", action="store_true", help="delete without asking")

    one = _server_command(commands, "set-property", set_property, "change properties of a node")
    one.add_argument("path", metavar="PATH", help="the node")
    one.add_argument(
        "properties",
        metavar="NAME=LITERAL",
        nargs="+",
        help="a string needs quotes: name='\"text\"'; also NAME->PATH and NAME=>PATH",
    )

    one = _server_command(commands, "rm", rm, "delete a node")
    one.add_argument("path", metavar="PATH", help="the node")
    one.add_argument("-r", "--recursive", action="store_true", help="and all below it")
    one.add_argument("-n", "--dry-run", action="store_true", help="only say what would be done")
    one.add_argument("-f", "--force", action="store_true", help="ephemeral nodes, too")
    one.add_argument("--yes", action="store_true", help="delete without asking")

    one = _server_command(commands, "ln", ln, "make a symbolic link")
    one.add_argument("target", metavar="TARGET", help="where it leads")
    one.add_argument("source", metavar="SOURCE", help="where it is")


def _add_asking(commands: _SubParsersAction[Any]) -> None:
    one = _command(commands, "validate", validate, "look for mistakes in a tree's text")
    one.add_argument("file", metavar="FILE", nargs="?", help="standard input if missing or -")
    one.add_argument("--at", metavar="PATH", default="/", help="where it will be imported")

    one = _command(commands, "ask", ask, "ask the monitor of a service: status, out, in, help")
    one.add_argument("addr", metavar="ADDR", help="the monitor: HOST:PORT, or a socket's path")
    one.add_argument(
        "words", metavar="WORD", nargs="*", default=[], help="the command; help if missing"
    )
    _timeout(one)

    for name, run, what in (
        ("check", check, "see whether a service listens where it is registered"),
        ("get-addr", get_addr, "show where a service is registered"),
    ):
        one = _command(commands, name, run, what)
        one.add_argument("addr", metavar="ADDR", help="its monitor: HOST:PORT, or a socket's path")
        one.add_argument("path", metavar="PATH", help="where it is registered")
        _timeout(one)

    one = _command(commands, "completion", completion, "print a script for a shell's completion")
    one.add_argument("shell", choices=["bash", "zsh", "fish"], help="whose completion")
    one.set_defaults(commands=lambda: options_of(make_parser()))


def _command(
    commands: _SubParsersAction[Any], name: str, run: Command, what: str
) -> ArgumentParser:
    one: ArgumentParser = commands.add_parser(
        name, help=what, description=f"{what[0].upper()}{what[1:]}.", allow_abbrev=False
    )
    one.add_argument("--json", action="store_true", help="results for programs")
    one.add_argument("-q", "--quiet", action="store_true", help="no summary, no progress")
    one.set_defaults(run=run)
    return one


def _server_command(
    commands: _SubParsersAction[Any], name: str, run: Command, what: str, *, hosts: bool = True
) -> ArgumentParser:
    one = _command(commands, name, run, what)
    if hosts:
        one.add_argument("hosts", metavar="HOSTS", help=_HOSTS)
    _timeout(one)
    server = one.add_argument_group("how to connect")
    server.add_argument(
        "--session-timeout",
        metavar="MS",
        type=_milliseconds,
        default=10_000,
        help="how long the servers keep a session without a word (10000)",
    )
    server.add_argument(
        "--auth",
        metavar="SCHEME:SECRET",
        action="append",
        default=[],
        help="a credential: digest:file:FILE or digest:env:VARIABLE with user:password",
    )
    server.add_argument(
        "--sasl", metavar="SECRET", help="file:FILE or env:VARIABLE, for SASL DIGEST-MD5"
    )
    server.add_argument("--tls", action="store_true", help="over TLS, with the system's CAs")
    server.add_argument("--tls-ca", metavar="FILE", help="certificates to trust")
    server.add_argument("--tls-certificate", metavar="FILE", help="our own certificate")
    server.add_argument("--tls-key", metavar="FILE", help="its key")
    server.add_argument(
        "--tls-server-name", metavar="NAME", help="the name in the servers' certificates"
    )
    return one


def _timeout(one: ArgumentParser) -> None:
    one.add_argument(
        "--timeout", metavar="SECONDS", type=_seconds, default=10.0, help="to connect within (10)"
    )


def _place(one: ArgumentParser, what: str) -> None:
    one.add_argument("path", metavar="PATH", nargs="?", default="/", help=what)


def _seconds(text: str) -> float:
    try:
        if 0 < float(text) < _MAX_INT:
            return float(text)
    except ValueError:
        pass
    raise ArgumentTypeError(f"seconds above zero, not {text!r}")


def permission_bits(text: str) -> int:
    """Read the sum of the permissions that everybody gets."""
    if text.isascii() and text.isdigit() and 0 < int(text) <= Permission.ALL:
        return int(text)
    raise ArgumentTypeError(
        f"1 to 31, the sum of 1 read, 2 write, 4 create, 8 delete and 16 admin, not {text!r}"
    )


def _milliseconds(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) <= _MAX_INT:
        return int(text)
    raise ArgumentTypeError(f"milliseconds, 1 to {_MAX_INT}, not {text!r}")


def _ephemeral(one: ArgumentParser) -> None:
    one.add_argument("-e", "--ephemeral", action="store_true", help="with ephemeral nodes")


# -- running ----------------------------------------------------------------------------


async def run_command(context: Context) -> Exit:
    """Run a command; what goes wrong is one line."""
    options, terminal = context.options, context.terminal
    if getattr(options, "hosts", None) == "-":
        options.hosts = default_connection_string(terminal.environ)
    try:
        code: Exit = await options.run(context)
    except FailedConnectError as error:
        terminal.error(str(error))
        return Exit.UNREACHABLE
    except TreeChangedError as error:
        terminal.error(f"{error}; try again")
        return Exit.CHANGED
    except UserStopError as error:
        terminal.note(str(error))
        return Exit.FAILED
    except NoNodeError as error:
        terminal.error(_missing(error, options))
        return Exit.FAILED
    except InvalidHostsError as error:
        terminal.error(str(error))
        return Exit.USAGE
    except (ZooKeeperError, ConfigurationError, ValueError) as error:
        terminal.error(str(error))
        return Exit.FAILED
    except CancelledError:
        rest = "; what was under way may still be done" if context.writing else ""
        terminal.note(f"stopped{rest}")
        return Exit.STOPPED
    return code


def _missing(error: NoNodeError, options: Namespace) -> str:
    """What does not exist: the root does, unless it is that of a chroot."""
    hosts = getattr(options, "hosts", None) or getattr(options, "source", None)
    return f"the chroot of {hosts} does not exist" if error.path == "/" else str(error)


def run(reactor: Any, terminal: Terminal, options: Namespace) -> Exit:
    """Run the reactor for as long as a command takes.

    The first Ctrl-C asks the command to stop: what is under way is finished, and the
    rest left.  The second one does not wait for that.
    """
    context = Context(reactor, terminal, options)
    codes: list[Exit] = []
    running: list[Deferred[Exit]] = []
    before: dict[signal.Signals, Any] = {}

    def start() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):  # after the reactor has set its own
            before[number] = signal.signal(number, interrupted)
        running.append(Deferred.fromCoroutine(run_command(context)))
        running[0].addErrback(crashed).addCallback(finish)

    def crashed(failure: Failure) -> Exit:
        failure.printTraceback(terminal.stderr)
        return Exit.FAILED

    def finish(code: Exit) -> None:
        codes.append(code)
        reactor.stop()

    def interrupted(*_: object) -> None:
        if terminal.blocked:
            raise CancelledError
        reactor.callFromThread(stop)

    def stop() -> None:
        if context.stopping or not context.writing:
            running[0].cancel()
        context.stopping = True

    reactor.callLater(0, start)
    try:
        reactor.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return codes[0] if codes else Exit.STOPPED


def main(arguments: Sequence[str] | None = None) -> int:
    """The program ``zkservice``; answers its exit code."""
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    terminal = Terminal(json=options.json, quiet=options.quiet)
    return run_on_the_reactor(terminal, options)


def run_on_the_reactor(terminal: Terminal, options: Namespace) -> int:
    """Run a command, and cope with a reader of our results that goes away."""
    from twisted.internet import reactor  # noqa: TID251 - a program chooses the reactor

    for stream in (terminal.stdout, terminal.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal may not know all characters
            stream.reconfigure(errors="backslashreplace")
    try:
        code = run(reactor, terminal, options)
        terminal.stdout.flush()
    except BrokenPipeError:
        sys.stderr.close()  # so that nothing is said when Python closes the streams
        return Exit.FAILED
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
