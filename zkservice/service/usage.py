"""Commands of twistd's that answer mistakes with a line, and ``--help`` by topic.

Twisted's own ``Options`` answer a mistake with all of the help, which pushes the line that says
what is wrong off the screen; they show every option in one alphabet; and they do not name the
option whose value is no number.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any, ClassVar

from twisted.python.usage import Options, UsageError
from typing_extensions import override


class CommandOptions(Options):
    """The options of a command.

    Attributes:
        topics: titles, and the names of the options that belong under them, in order.  All
            others come last.
    """

    topics: ClassVar[Mapping[str, Sequence[str]]] = {}
    synopsis: ClassVar[str]
    longdesc: ClassVar[str]
    optParameters: ClassVar[list[Any]] = []

    @override
    def __init_subclass__(cls) -> None:
        """Let those who read numbers name their option where there is none."""
        super().__init_subclass__()
        cls.optParameters = [
            [*row[:4], partial(_whole_number, row[0])] if row[4:] == [int] else row
            for row in cls.optParameters
        ]

    @override
    def __str__(self) -> str:
        """What ``--help`` shows."""
        width = max(40, int(os.environ.get("COLUMNS") or 80))
        parts = [self.getSynopsis(), textwrap.fill(self.longdesc, width)]
        rest = [name.rstrip("=") for name in self.longOpt]
        for title, names in self.topics.items():
            parts.append("\n".join([f"{title}:", *self._lines(names, width)]))
            rest = [name for name in rest if name not in names]
        title = "Others" if self.topics else "Options"
        parts.append("\n".join([f"{title}:", *self._lines(rest, width)]))
        return "\n\n".join(parts)

    @override
    def getUsage(self, width: int | None = None) -> str:
        """What twistd shows above a mistake."""
        name = "" if self.parent is None else str(self.parent.subCommand)
        return f"       {name} {self.synopsis}\n\n'twistd {name} --help' explains the options.\n"

    def opt_version(self) -> None:
        """Show the versions of zkservice and Twisted, and exit."""
        print(f"zkservice {version('zkservice')}, Twisted {version('twisted')}")
        sys.exit(0)

    def _lines(self, names: Sequence[str], width: int) -> Iterable[str]:
        column = max(len(self._spelled(name.rstrip("="))) for name in self.longOpt) + 4
        for name in names:
            text = textwrap.wrap(self._explained(name), max(20, width - column))
            yield f"  {self._spelled(name):{column - 2}}{text[0]}"
            yield from (" " * column + line for line in text[1:])

    def _spelled(self, name: str) -> str:
        short = [key for key, meant in self.synonyms.items() if meant == name and len(key) == 1]
        start = f"-{short[0]}, " if short else "    "
        return f"{start}--{name}{'=' if f'{name}=' in self.longOpt else ''}"

    def _explained(self, name: str) -> str:
        text, default = str(self.docs[name]).strip(), self.defaults.get(name)
        shown = f"{name}=" in self.longOpt and default not in (None, "")
        return f"{text} [default: {default}]" if shown else text


def _whole_number(option: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"--{option} takes a whole number, not {text!r}") from None
