"""zc.zk's four scripts: their names, arguments and output.

``zkservice`` does the same and more; these are for users who call them in scripts of their own.
"""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser
from collections.abc import Sequence
from typing import Any, Final

from zkservice.cli import tree_commands
from zkservice.cli.main import Command, run_on_the_reactor
from zkservice.cli.options import (
    ExportOptions,
    ImportOptions,
    SetPropertyOptions,
    ValidateOptions,
)
from zkservice.cli.parser import add_trim, permission_bits
from zkservice.cli.terminal import Terminal

_CONNECTION: Final = "the servers: host:port,host:port/chroot"


def export(arguments: Sequence[str] | None = None) -> int:
    """``zookeeper_export [-e] [-o FILE] connection [path]``."""
    parser = _parser("zookeeper_export", "Export a tree from a ZooKeeper server.")
    parser.add_argument("-e", "--ephemeral", action="store_true", help="include ephemeral nodes")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the tree to FILE")
    parser.add_argument("hosts", metavar="connection", help=_CONNECTION)
    parser.add_argument("path", nargs="?", help="the node at the top (/)")
    options = ExportOptions(**_given(parser, arguments))
    return _run(parser, lambda context: tree_commands.export(context, options))


def import_(arguments: Sequence[str] | None = None) -> int:
    """``zookeeper_import [-d] [-t] [-p BITS] connection [file [path]]``."""
    parser = _parser("zookeeper_import", "Import a tree into a ZooKeeper server.")
    parser.add_argument(
        "-d", "--dry-run", action="store_true", help="only print what would be done"
    )
    add_trim(parser)
    parser.add_argument(
        "-p",
        "--permission",
        type=permission_bits,
        metavar="BITS",
        help="permissions of every client: 1 to 31",
    )
    parser.add_argument("hosts", metavar="connection", help=_CONNECTION)
    parser.add_argument("file", nargs="?", help="standard input if missing or -")
    parser.add_argument("path", nargs="?", help="below which node (/)")
    options = ImportOptions(**_given(parser, arguments), yes=True)
    return _run(parser, lambda context: tree_commands.import_(context, options))


def set_property(arguments: Sequence[str] | None = None) -> int:
    """``zookeeper_set_property connection path name=literal ...``."""
    parser = _parser("zookeeper_set_property", "Set properties of a ZooKeeper node.")
    parser.add_argument("hosts", metavar="connection", help=_CONNECTION)
    parser.add_argument("path", help="the node")
    parser.add_argument(
        "properties", nargs="+", metavar="name=literal", help="a string needs quotes: x='\"text\"'"
    )
    options = SetPropertyOptions(**_given(parser, arguments))
    return _run(parser, lambda context: tree_commands.set_property(context, options))


def validate(arguments: Sequence[str] | None = None) -> int:
    """``zookeeper_validate [file]``."""
    parser = _parser("zookeeper_validate", "Look for mistakes in a tree's text.")
    parser.add_argument("file", nargs="?", help="standard input if missing or -")
    options = ValidateOptions(**_given(parser, arguments))
    return _run(parser, lambda context: tree_commands.validate(context, options))


def _parser(name: str, what: str) -> ArgumentParser:
    return ArgumentParser(
        prog=name, description=what, allow_abbrev=False, argument_default=SUPPRESS
    )


def _given(parser: ArgumentParser, arguments: Sequence[str] | None) -> dict[str, Any]:
    """The arguments that were given; the others have the defaults of the command."""
    return vars(parser.parse_intermixed_args(arguments))


def _run(parser: ArgumentParser, command: Command) -> int:
    return run_on_the_reactor(Terminal(program=parser.prog, quiet=True), command)
