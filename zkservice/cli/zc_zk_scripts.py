"""The predecessor's four scripts: their names, their arguments, their output.

``zkservice`` does the same and more; these are for those who have scripts of their own.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any, Final

from zkservice.cli.completion import defaults_of
from zkservice.cli.main import make_parser, permission_bits, run_on_the_reactor
from zkservice.cli.terminal import Terminal

_CONNECTION: Final = "the servers: host:port,host:port/chroot"


def export(arguments: Sequence[str] | None = None) -> int:
    """``zookeeper_export [-e] [-o FILE] connection [path]``."""
    parser = _parser("zookeeper_export", "Export a tree from a ZooKeeper server.")
    parser.add_argument("-e", "--ephemeral", action="store_true", help="include ephemeral nodes")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the tree to FILE")
    parser.add_argument("hosts", metavar="connection", help=_CONNECTION)
    parser.add_argument("path", nargs="?", default="/", help="the node at the top")
    return _run(parser, arguments, "export")


def import_(arguments: Sequence[str] | None = None) -> int:
    """``zookeeper_import [-d] [-t] [-p BITS] connection [file [path]]``."""
    parser = _parser("zookeeper_import", "Import a tree into a ZooKeeper server.")
    parser.add_argument("-d", "--dry-run", action="store_true", help="only say what would be done")
    trim = parser.add_mutually_exclusive_group()
    trim.add_argument(
        "-t", "--trim", action="store_true", default=None, help="delete what the tree has not"
    )
    trim.add_argument(
        "--no-trim", dest="trim", action="store_false", help="leave it, and say nothing of it"
    )
    parser.add_argument(
        "-p",
        "--permission",
        type=permission_bits,
        metavar="BITS",
        help="what everybody may do: 1 to 31",
    )
    parser.add_argument("hosts", metavar="connection", help=_CONNECTION)
    parser.add_argument("file", nargs="?", help="standard input if missing or -")
    parser.add_argument("path", nargs="?", default="/", help="below which node")
    return _run(parser, arguments, "import")


def set_property(arguments: Sequence[str] | None = None) -> int:
    """``zookeeper_set_property connection path name=literal ...``."""
    parser = _parser("zookeeper_set_property", "Set properties of a ZooKeeper node.")
    parser.add_argument("hosts", metavar="connection", help=_CONNECTION)
    parser.add_argument("path", help="the node")
    parser.add_argument(
        "properties", nargs="+", metavar="name=literal", help="a string needs quotes: x='\"text\"'"
    )
    return _run(parser, arguments, "set-property")


def validate(arguments: Sequence[str] | None = None) -> int:
    """``zookeeper_validate [file]``."""
    parser = _parser("zookeeper_validate", "Look for mistakes in a tree's text.")
    parser.add_argument("file", nargs="?", help="standard input if missing or -")
    return _run(parser, arguments, "validate")


def _parser(name: str, what: str) -> ArgumentParser:
    return ArgumentParser(prog=name, description=what, allow_abbrev=False)


def _run(parser: ArgumentParser, arguments: Sequence[str] | None, command: str) -> int:
    """Run a command of ``zkservice``; options that the script does not have keep their defaults."""
    given: dict[str, Any] = vars(parser.parse_intermixed_args(arguments))
    options = Namespace(**{**defaults_of(make_parser(), command), "yes": True, **given})
    terminal = Terminal(program=parser.prog, quiet=True)
    return run_on_the_reactor(terminal, options)
