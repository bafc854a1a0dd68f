"""twistd commands with a table of options: one-line errors, and ``--help`` by section.

After a mistake, Twisted's own ``Options`` print the whole help, so that the error scrolls off the
screen.  And they sort all options alphabetically, without sections.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, ClassVar, Final, cast

from twisted.python.usage import Options, UsageError
from typing_extensions import override

from zkservice.errors import ConfigurationError
from zkservice.service.options.option_table import (
    FILE,
    Given,
    Option,
    OptionTable,
    Values,
)
from zkservice.service.options.sources import Sources, nearest
from zkservice.service.process.loggers import escape_other_logs

__all__ = ["CONFIGURATION", "TableOptions", "config_row"]

CONFIGURATION = "A configuration file"

#: What `getopt` says of an option that is not in the table.
_UNKNOWN: Final = re.compile(r"option --(\S+) not recognized")


def config_row(
    section: str,
    prefix: str,
    example: str = "PORT=8080",
    see: str = "see `A configuration file <operating.rst#a-configuration-file>`__",
) -> Option:
    """The option that names the file.

    Args:
        section: the title in the help.
        prefix: the prefix of environment variables that are options.
        example: the rest of such a variable, and its value.
        see: where the manual explains the file.
    """
    return Option(
        "config",
        section,
        "A TOML file whose keys are the long options.  The command line wins, then the "
        f"environment ({prefix}{example}), then the file.",
        FILE,
        short="c",
        command_line_only=True,
        manual=f"a TOML file whose keys are the long options, {see}",
        example=f"{prefix.lower().rstrip('_')}.toml",
    )


class TableOptions(Options):
    """The options of a command, from its table.

    Attributes:
        table: the options.
        variables: the prefix of environment variables that are options.
        elsewhere: what to write for options of other servers, by their names.
        other_keys: allowed names in the environment and the file that are not options.
        sources: where the options were written; set when the command line was parsed.
        given: what was written, by option.
        values_read: the values of all options.
    """

    table: ClassVar[OptionTable]
    variables: ClassVar[str] = "ZKSERVE_"
    elsewhere: ClassVar[Mapping[str, str]] = MappingProxyType({})
    other_keys: ClassVar[tuple[str, ...]] = ()
    sources: Sources
    synopsis: ClassVar[str]
    longdesc: ClassVar[str]
    values_read: Values

    @override
    def __init_subclass__(cls) -> None:
        """Give Twisted a handler for each row."""
        super().__init_subclass__()
        for row in cls.table:
            name = f"opt_{row.name.replace('-', '_')}"
            setattr(cls, name, _handler(row))
            if row.short:
                setattr(cls, f"opt_{row.short}", getattr(cls, name))

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, Given] = {}

    def give(self, row: Option, text: str) -> None:
        """Take one option from the command line."""
        before = self.given[row.name].texts if row.name in self.given else ()
        self.given[row.name] = Given(f"--{row.name}", (*before, text))

    def accept(self) -> None:
        """Check the values together; for subclasses.

        Raises:
            ConfigurationError: the options are missing or contradict each other.
        """

    @override
    def parseOptions(self, options: Any = None) -> None:
        try:
            super().parseOptions(options)
        except UsageError as error:
            unknown = _UNKNOWN.fullmatch(str(error))
            raise UsageError(f"{error}{self._suggestion(unknown[1]) if unknown else ''}") from None

    def _suggestion(self, name: str) -> str:
        """The end of the message about an unknown option."""
        if name in self.elsewhere:
            return f"; write {self.elsewhere[name]}"
        return nearest(name, [row.name for row in self.table if not row.hidden])

    @override
    def postOptions(self) -> None:
        try:
            self.sources = Sources(
                self.table, dict(self.given), os.environ, self.variables, self.other_keys
            )
            self.given = self.sources.read()
            self.values_read = Values(self.table, self.given)
            if self.parent is not None and "logger" in self.parent:  # it is twistd
                escape_other_logs(self.parent)
            self.accept()
        except ConfigurationError as error:
            raise UsageError(str(error)) from None

    # -- what is shown --

    @override
    def __str__(self) -> str:
        """The text of ``--help``."""
        width = max(40, int(os.environ.get("COLUMNS") or 80))
        parts = [self.getSynopsis(), textwrap.fill(self.longdesc, width)]
        sections = {title: list(self.section_lines(title)) for title in self.table.sections()}
        sections["Others"] = [
            ("      --help", "Display this help and exit."),
            ("      --version", "Show the versions of zkservice and Twisted, and exit."),
        ]
        column = 2 + max(len(start) for lines in sections.values() for start, _ in lines)
        for title, lines in sections.items():
            parts.append("\n".join([f"{title}:", *_in_columns(lines, column, width)]))
        return "\n\n".join(parts)

    def section_lines(self, section: str) -> Iterator[tuple[str, str]]:
        """The options of a section, each with its help."""
        for row in self.table.sections()[section]:
            start = f"  -{row.short}, " if row.short else "      "
            default = row.shown_default
            text = f"{row.help} [default: {default}]" if default else row.help
            if row.repeatable:
                text = f"{text} (repeatable)"
            yield f"{start}--{row.name}{'' if row.kind.is_flag else '='}", text

    @override
    def getUsage(self, width: int | None = None) -> str:
        """The usage that twistd prints above an error."""
        name = "" if self.parent is None else str(self.parent.subCommand)
        return f"       {name} {self.synopsis}\n\n'twistd {name} --help' explains the options.\n"

    def opt_version(self) -> None:
        """Show the versions of zkservice and Twisted, and exit."""
        print(f"zkservice {version('zkservice')}, Twisted {version('twisted')}")
        sys.exit(0)


def _handler(row: Option) -> Callable[..., None]:
    """The method that Twisted calls for an option; without a second parameter it is a flag."""

    def take_flag(self: Any) -> None:
        cast(TableOptions, self).give(row, "true")

    def take_text(self: Any, text: str) -> None:
        cast(TableOptions, self).give(row, text)

    handler = take_flag if row.kind.is_flag else take_text
    handler.__doc__ = row.help
    return handler


def _in_columns(lines: list[tuple[str, str]], column: int, width: int) -> Iterator[str]:
    for start, text in lines:
        first, *others = textwrap.wrap(text, max(20, width - column))
        yield f"{start:{column}}{first}"
        yield from (" " * column + line for line in others)
