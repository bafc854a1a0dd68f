"""The command in this process: what the tests of `zkservice.cli` share."""

from __future__ import annotations

import io

from twisted.internet import reactor  # noqa: TID251
from typing_extensions import override

from tests.treesync.base import SocketTestCase
from zkservice.cli.context import Context, Exit
from zkservice.cli.main import run_command
from zkservice.cli.parser import parse_arguments
from zkservice.cli.terminal import Terminal

TREE = "/a : t\n  x = 1\n  /b\n    /c\n/d\n  l -> /a/b\n"


class Screen(io.StringIO):
    """A stream that may claim to be a terminal."""

    tty = False

    @override
    def isatty(self) -> bool:
        return self.tty


class Result:
    """What a command said."""

    def __init__(self, code: Exit, terminal: Terminal) -> None:
        self.code = code
        self.out = terminal.stdout.getvalue()  # type: ignore[attr-defined]
        self.err = terminal.stderr.getvalue()  # type: ignore[attr-defined]


class CommandTestCase(SocketTestCase):
    """Commands, run in this process."""

    async def run_(self, *words: str, stdin: str = "", tty: bool = False, **environ: str) -> Result:
        """Run ``zkservice`` with these words; HOSTS stands for the server."""
        hosts = self.zookeeper.connection_string
        invocation = parse_arguments([hosts if word == "HOSTS" else word for word in words])
        streams = Screen(stdin), Screen(), Screen()
        for stream in streams:
            stream.tty = tty
        terminal = Terminal(*streams, environ=environ, quiet=invocation.options.quiet)
        self.context = Context(reactor, terminal)
        return Result(await run_command(self.context, invocation.run), terminal)

    def file(self, text: str) -> str:
        """A file with a text."""
        name = self.mktemp()
        with open(name, "w", encoding="utf-8") as file:
            file.write(text)
        return str(name)
