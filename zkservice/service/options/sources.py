"""The sources of a command's options: its command line, the environment, a file.

The command line wins, then the environment, then the file.  A repeatable option is taken from one
source only, not collected from several.  Each name after ``--limit`` counts as an option, so that a
command line can change one of several limits in the file.
"""

from __future__ import annotations

import difflib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from zkservice.errors import ConfigurationError
from zkservice.service.options.option_table import Given, Option, OptionTable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["APPLICATION", "Sources", "nearest", "read_environment", "read_file"]

#: A key that is not an option: the application to serve.
APPLICATION: Final = "application"
_CONFIG: Final = "config"


@dataclass
class Sources:
    """The command line, the environment and the file of one process.

    Attributes:
        table: the options.
        command_line: what was written there, by option.
        environ: the environment variables of the process.
        prefix: the prefix of variables that are options: ``ZKSERVE_``.
        others: allowed keys that are not options: `APPLICATION`.
        file: the file's absolute path; "" if there is none.
        warnings: probable mistakes.
    """

    table: OptionTable
    command_line: Mapping[str, Given]
    environ: Mapping[str, str]
    prefix: str
    others: tuple[str, ...] = ()
    file: str = field(init=False, default="")
    warnings: list[str] = field(init=False, default_factory=list)
    _variables: dict[str, Given] = field(init=False)
    _spelled: str = field(init=False, default="")  #: the file as the user wrote it

    def __post_init__(self) -> None:
        self._variables, self.warnings = read_environment(
            self.table, self.environ, self.prefix, self.others
        )
        named = self.command_line.get(_CONFIG) or self._variables.get(_CONFIG)
        if named is not None:
            self._spelled = named.texts[-1]
            self.file = os.path.abspath(os.path.expanduser(self._spelled))

    def read(self) -> dict[str, Given]:
        """Merge the sources, by option; the file is read now.

        Raises:
            ConfigurationError: the file cannot be read, or its contents are invalid.
        """
        found: dict[str, Given] = {}
        if self.file:
            written = read_file(self.file, self._spelled, self.table, self.others)
            found |= _with_synonyms(self.table, written)
        found |= _with_synonyms(self.table, self._variables)
        return found | dict(self.command_line)


# -- the environment -----------------------------------------------------------------


def read_environment(
    table: OptionTable, environ: Mapping[str, str], prefix: str, others: Iterable[str] = ()
) -> tuple[dict[str, Given], list[str]]:
    """The options among the environment variables of a process.

    An empty variable counts as missing.  An unknown one is not refused: Kubernetes sets
    ``ZKSERVE_SERVICE_HOST`` if a service is called zkserve.

    Args:
        table: the options.
        environ: the environment variables.
        prefix: the prefix of variables that are options: ``ZKSERVE_``.
        others: allowed names that are not options.

    Returns:
        What was written, by option, and a warning about each unknown variable.
    """
    rows = {_variable(prefix, row.name): row for row in table if _may_be_variable(row)}
    names = {_variable(prefix, name): name for name in others}
    found, warnings = {}, []
    for variable in sorted(environ):
        text = environ[variable]
        if not variable.startswith(prefix) or not text.strip():
            continue
        if variable in names:
            found[names[variable]] = Given(variable, (text,))
        elif variable in rows:
            row = rows[variable]
            lines = tuple(filter(None, map(str.strip, text.splitlines())))
            found[row.name] = Given(variable, lines if row.repeatable else (text,))
        else:
            suggestion = nearest(variable, [*rows, *names])
            warnings.append(f"the environment variable {variable} is not an option{suggestion}")
    return found, warnings


def _variable(prefix: str, name: str) -> str:
    return prefix + name.replace("-", "_").upper()


def _may_be_variable(row: Option) -> bool:
    return not row.command_line_only or row.name == _CONFIG


# -- the file ------------------------------------------------------------------------


def read_file(
    path: str, spelled: str, table: OptionTable, others: Iterable[str] = ()
) -> dict[str, Given]:
    """The options in a TOML file, by their long names.

    A value is a text, a number or a boolean; for a repeatable option also an array of them.
    ``NAME=VALUE`` options may be a table of names and values; the value of a property may be any
    value that JSON can express.

    Args:
        path: the file's path.
        spelled: the file's name in messages.
        table: the options.
        others: allowed keys that are not options; their values are texts.

    Raises:
        ConfigurationError: the file cannot be read or is invalid TOML, a key is unknown, or a
            value has another type.
    """
    written = _load(path, spelled)
    rows = {row.name: row for row in table if not row.command_line_only}
    known = [*rows, *others]
    for key in written:
        if key not in known:
            raise ConfigurationError(f"{spelled}: unknown key {key!r}{nearest(key, known)}")
    found = {}
    for key, value in written.items():
        row = rows.get(key) or Option(key, "", "")
        where = f"{key} in {spelled}"
        found[key] = Given(where, _texts(where, row, value))
    return found


def _load(path: str, spelled: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigurationError(f"{spelled} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{spelled} is invalid TOML: {error}") from None


def _texts(where: str, row: Option, value: Any) -> tuple[str, ...]:
    """The texts as they would be written on a command line."""
    if isinstance(value, list):
        if not row.repeatable:
            raise ConfigurationError(f"{where} must be one value, not an array")
        return tuple(_text(where, row, each) for each in value)
    if isinstance(value, dict) and row.kind.is_pair and row.repeatable:
        return tuple(_pair(where, row, name, each) for name, each in value.items())
    return (_text(where, row, value),)


def _text(where: str, row: Option, value: Any) -> str:
    if isinstance(value, bool):
        if not row.kind.is_flag and not row.kind.is_pair:
            raise ConfigurationError(f"{where} must be {row.kind.placeholder}, not a boolean")
        return str(value).lower()
    if isinstance(value, (str, int, float)):
        return str(value)
    raise ConfigurationError(
        f"{where} must be a text, a number or a boolean, not {_kind_of(value)}"
    )


def _kind_of(value: Any) -> str:
    if isinstance(value, list):
        return "an array"
    return "a table" if isinstance(value, dict) else f"a {type(value).__name__}"


def _pair(where: str, row: Option, name: str, value: Any) -> str:
    """A name and a value of a table, as one text."""
    if "=" in name or not name.strip():
        raise ConfigurationError(f"{where}: {name!r} must be a name without '='")
    if not row.kind.takes_json:
        return f"{name}={_text(f'{where}: {name}', row, value)}"
    try:
        return f"{name}:={json.dumps(value, allow_nan=False)}"
    except (TypeError, ValueError, RecursionError):
        raise ConfigurationError(
            f"{where}: {name} must be a value that JSON has, not {value!s}; write it as a text"
        ) from None


# -- both ----------------------------------------------------------------------------


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: a suggestion, or ""."""
    found = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {found[0]!r}?" if found else ""


def _with_synonyms(table: OptionTable, written: Mapping[str, Given]) -> dict[str, Given]:
    """Replace each ``NAME=VALUE`` of ``limit`` by the hidden option NAME, if there is one."""
    found = dict(written)
    for name, given in written.items():
        row = table.by_name.get(name)
        if row is None or not row.kind.is_pair:
            continue
        hidden = {each.name for each in table if each.hidden and each.section == row.section}
        others = []
        for text in given.texts:
            key, _, value = text.partition("=")
            if key.strip() in hidden:
                found[key.strip()] = Given(f"{given.spelled}: {key.strip()}", (value,))
            else:
                others.append(text)
        if others:
            found[name] = Given(given.spelled, tuple(others))
        else:
            del found[name]
    return found
