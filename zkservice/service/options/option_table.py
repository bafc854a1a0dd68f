"""Tables of options: each row is the only definition of an option.

The command line, ``--help``, configuration files, environment variables, Paste files and the
manual's tables are made from the rows.  To add an option, add a row, and use its value where it
takes effect.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from zkservice.errors import ConfigurationError

__all__ = [
    "FILE",
    "FLAG",
    "LARGEST_INT",
    "LOG_FILE",
    "TEXT",
    "Given",
    "Kind",
    "Option",
    "OptionTable",
    "Values",
    "checked",
    "choice",
    "milliseconds",
    "seconds",
    "whole_number",
]

#: Errors of an option's reader whose messages are one line for the user.
_REFUSALS: Final = (ConfigurationError, ValueError)

#: The largest integer that a ZooKeeper record can carry; time-outs are milliseconds there.
LARGEST_INT: Final = 2**31 - 1


# -- kinds ---------------------------------------------------------------------------


#: A day: a longer time is a mistake, such as milliseconds.
_MOST_SECONDS: Final = 86_400


@dataclass(frozen=True)
class Kind:
    """How the text of an option becomes a value.

    Attributes:
        read: returns the value of a text; raises `ConfigurationError` that says what the text must
            be.
        placeholder: stands for the text in the help; empty for a flag.
        write: returns the text of a value, for defaults in the help.
        takes_json: whether a pair may also be ``NAME:=JSON``.
    """

    read: Callable[[str], Any]
    placeholder: str
    write: Callable[[Any], str] = str
    takes_json: bool = False

    @property
    def is_flag(self) -> bool:
        """Whether the option takes no text."""
        return not self.placeholder

    @property
    def is_pair(self) -> bool:
        """Whether the text is ``NAME=VALUE``, so that a file may have a table of them."""
        return "=" in self.placeholder


def checked(check: Callable[[str], object], placeholder: str) -> Kind:
    """A text that is kept unchanged if a check does not raise."""

    def read(text: str) -> str:
        check(text)
        return text

    return Kind(read, placeholder)


def choice(*names: str) -> Kind:
    """One of a few names."""

    def read(text: str) -> str:
        if text not in names:
            raise ConfigurationError(f"must be {_either(names)}, not {text!r}")
        return text

    return Kind(read, "|".join(names))


def whole_number(lowest: int = 0, highest: int | None = None, placeholder: str = "N") -> Kind:
    """A whole number within bounds."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ConfigurationError(f"must be a whole number, not {text!r}") from None
        if number < lowest:
            raise ConfigurationError(f"must be at least {lowest}, not {number}")
        if highest is not None and number > highest:
            raise ConfigurationError(f"must be at most {highest}, not {number}")
        return number

    return Kind(read, placeholder)


def milliseconds(lowest: int = 0, highest: int | None = None) -> Kind:
    """A time that users write in milliseconds; its value is in seconds."""
    number = whole_number(lowest, highest)
    return Kind(
        lambda text: number.read(text) / 1000, "MS", lambda seconds: str(round(seconds * 1000))
    )


def seconds() -> Kind:
    """A time that users write in seconds, with a fraction if they like."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise ConfigurationError(f"must be a number of seconds, not {text!r}") from None
        if not 0 <= number <= _MOST_SECONDS:  # NaN is not either
            raise ConfigurationError(f"must be from 0 to {_MOST_SECONDS} seconds, not {text!r}")
        return number

    return Kind(read, "S", "{:g}".format)


def _read_flag(text: str) -> bool:
    found = {"true": True, "yes": True, "on": True, "1": True}
    found |= {"false": False, "no": False, "off": False, "0": False}
    try:
        return found[text.strip().lower()]
    except KeyError:
        raise ConfigurationError(f"must be true or false, not {text!r}") from None


def _read_file(text: str) -> str:
    # Absolute, because a daemon changes its directory before it uses the file.
    return os.path.abspath(os.path.expanduser(text))


def _read_log_file(text: str) -> str:
    return text if text == "-" else _read_file(text)


def _either(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


TEXT: Final = Kind(str, "TEXT")
FLAG: Final = Kind(_read_flag, "")
FILE: Final = Kind(_read_file, "FILE")
LOG_FILE: Final = Kind(_read_log_file, "FILE")


# -- rows ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Option:
    """A row of the table.

    Attributes:
        name: the long option, without its dashes.
        section: the title in ``--help`` and in the manual.
        help: one or two sentences that say what it does, with the unit of a number.
        kind: how its text is read.
        default: the value if the option is not given; None if there is none.
        target: the field of the configuration that gets the value, such as ``health.interval``.
            Without one, `read_config` looks the value up by the option's name.
        short: a letter.
        repeatable: whether it may be given several times; then its value is a tuple.
        paste: its key in a Paste file, if that is not its name with underscores.
        default_text: a description of the default, if the value does not explain itself.
        hidden: whether it is accepted but shown nowhere, as a synonym is.
        command_line_only: whether it is invalid in configuration files and Paste files.
        manual: the manual's text instead of ``help``, in reStructuredText, if it says more.
        example: a text that ``kind`` reads, for the reference; without one it shows the default.
    """

    name: str
    section: str
    help: str
    kind: Kind = TEXT
    default: Any = None
    target: str = ""
    short: str = ""
    repeatable: bool = False
    paste: str = ""
    default_text: str = ""
    hidden: bool = False
    command_line_only: bool = False
    manual: str = ""
    example: str = ""

    @property
    def key(self) -> str:
        """Its name in a Paste file."""
        return self.paste or self.name.replace("-", "_")

    @property
    def shown_default(self) -> str:
        """The default for the help; empty if there is nothing to say."""
        if self.default_text:
            return self.default_text
        if self.kind.is_flag or self.default in (None, "", ()):
            return ""
        return self.kind.write(self.default)


@dataclass(frozen=True)
class OptionTable:
    """All rows of a command, in the order of the help."""

    rows: tuple[Option, ...]
    by_name: Mapping[str, Option] = field(init=False)

    def __post_init__(self) -> None:
        by_name = {row.name: row for row in self.rows}
        if len(by_name) != len(self.rows):
            raise ValueError("two options have the same name")
        object.__setattr__(self, "by_name", by_name)

    def __iter__(self) -> Iterator[Option]:
        return iter(self.rows)

    def sections(self) -> dict[str, list[Option]]:
        """The rows that are not hidden, by section."""
        found: dict[str, list[Option]] = {}
        for row in self.rows:
            if not row.hidden:
                found.setdefault(row.section, []).append(row)
        return found


# -- values --------------------------------------------------------------------------


@dataclass(frozen=True)
class Given:
    """What a user wrote for one option.

    Attributes:
        spelled: the option as it was written: ``--port`` on a command line, ``port`` in a file.
        texts: one text, or several for a repeatable option.
    """

    spelled: str
    texts: tuple[str, ...]


class Values(Mapping[str, Any]):
    """The value of every option: what was given, else the default.

    Args:
        table: the options.
        given: what was written, by option.
        prefix: put before the names of options that were not given, in messages.

    Raises:
        ConfigurationError: a text is invalid; the message begins with the option as written.
    """

    def __init__(self, table: OptionTable, given: Mapping[str, Given], prefix: str = "--") -> None:
        self._given = given
        self._prefix = prefix
        self._table = table
        self._values = {row.name: self._read(row) for row in table}

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def is_given(self, name: str) -> bool:
        """Whether the user wrote it."""
        return name in self._given

    def spelled(self, name: str) -> str:
        """The option as the user wrote it; with the prefix if it was not given."""
        if name in self._given:
            return self._given[name].spelled
        row = self._table.by_name[name]
        return f"{self._prefix}{row.name if self._prefix else row.key}"

    def read(self, name: str, read: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function that reads the option's value; its error names the option.

        Raises:
            ConfigurationError: the function raised one, or another error about user input.
        """
        try:
            return read(*arguments)
        except _REFUSALS as error:
            raise ConfigurationError(self._named(self.spelled(name), str(error))) from None

    def targets(self, part: str) -> dict[str, Any]:
        """The values that go into one part of the configuration, by field.

        Args:
            part: the part of a target before the dot; empty for the configuration itself.
        """
        found = {}
        for row in self._table:
            holder, _, name = row.target.rpartition(".")
            if name and holder == part:
                found[name] = self[row.name]
        return found

    def _read(self, row: Option) -> Any:
        given = self._given.get(row.name)
        if given is None:
            return row.default if row.default is not None or not row.repeatable else ()
        read = [self.read(row.name, row.kind.read, text) for text in given.texts]
        return tuple(read) if row.repeatable else read[-1]

    @staticmethod
    def _named(spelled: str, problem: str) -> str:
        # "--port must be ..." is one sentence; other messages follow a colon.
        return f"{spelled} {problem}" if problem.startswith("must ") else f"{spelled}: {problem}"
