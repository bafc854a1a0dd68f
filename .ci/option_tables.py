"""Write the tables of options in the manual from the tables that the commands are made from.

``python .ci/option_tables.py`` rewrites the lines between ``.. options: SECTION`` and
``.. end of options`` in the pages.  ``.. options: SECTION, names`` is a table of the synonyms that
a section hides: the names that ``--limit`` takes.  Between ``.. reference: COMMAND`` and
``.. end of reference`` it writes an entry for every option of a command.  A test checks that the
pages are up to date.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from zkservice.http11 import limits_table
from zkservice.service import zkembedded
from zkservice.service.options import follow_options, register_options
from zkservice.service.options.option_table import Option, OptionTable
from zkservice.service.options.serve_table import OPTIONS

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {
    "operating.rst": OPTIONS,
    "monitoring.rst": OPTIONS,
    "protocol.rst": zkembedded.OPTIONS,
    "registering.rst": register_options.OPTIONS,
    "following.rst": follow_options.OPTIONS,
}
REFERENCE = "options.rst"
COMMANDS = {
    "zkserve": OPTIONS,
    "zkregister": register_options.OPTIONS,
    "zkfollow": follow_options.OPTIONS,
    "zkembedded": zkembedded.OPTIONS,
}
WIDTH = 100

_BLOCK = re.compile(r"^(\.\. options: (.+)\n\n)(?:.*\n)*?(^\.\. end of options$)", re.MULTILINE)
_ENTRIES = re.compile(
    r"^(\.\. reference: (.+)\n\n)(?:.*\n)*?(^\.\. end of reference$)", re.MULTILINE
)
_OPTION = re.compile(r"(?<!`)(--[a-z][a-z-]*)")
_UNITS = {1 << 30: "GiB", 1 << 20: "MiB"}
_OF_PLACEHOLDER = {"MS": "milliseconds", "S": "seconds", "MB": "megabytes"}
_OF_LIMIT = {row.option: row.unit for row in limits_table()}


def rewritten(page: str, table: OptionTable) -> str:
    """Return the page with up-to-date tables."""
    return _BLOCK.sub(lambda found: f"{found[1]}{_rst(table, found[2])}\n{found[3]}", page)


def sections(page: str) -> list[str]:
    """Return the sections that have a table in the page."""
    return [found[2] for found in _BLOCK.finditer(page)]


def _rst(table: OptionTable, section: str) -> str:
    rows = [(_name(row), _text(row)) for row in table if _is_in(row, section)]
    if not rows:
        raise ValueError(f"there are no options in a section {section!r}")
    first = max(len(name) for name, _ in rows)
    second = WIDTH - first - 1
    border = f"{'=' * first} {'=' * second}\n"
    lines = "".join(line for name, text in rows for line in _lines(name, text, first, second))
    return border + lines + border


def _is_in(row: Option, section: str) -> bool:
    title, names, _ = section.partition(", names")
    return row.section == title and row.hidden is bool(names)


def _name(row: Option) -> str:
    return f"``{row.name}``" if row.hidden else f"``--{row.name}``"


def _text(row: Option) -> str:
    text = _sentence(row)
    notes = ["repeatable"] * row.repeatable
    if default := _default(row):
        notes.append(f"default: {default}")
    return f"{text} ({'; '.join(notes)})" if notes else text


def _sentence(row: Option) -> str:
    """What the option does, without the full stop."""
    text = row.manual or _OPTION.sub(r"``\1``", row.help)
    return (text[0].upper() + text[1:]).removesuffix(".")


def _default(row: Option) -> str:
    if row.default_text or not row.hidden:
        return row.shown_default
    # A hidden synonym shows its default even if that is zero.
    for size, unit in _UNITS.items():
        if row.default and row.default % size == 0:
            return f"{int(row.default) // size} {unit}"
    return row.kind.write(row.default)


def _lines(name: str, text: str, first: int, second: int) -> Iterator[str]:
    for line in textwrap.wrap(text, second, break_long_words=False, break_on_hyphens=False):
        yield f"{name:{first}} {line}\n"
        name = ""


# -- the reference -------------------------------------------------------------------


def with_references(page: str) -> str:
    """Return the page of the reference, up to date."""
    return _ENTRIES.sub(lambda found: f"{found[1]}{_reference(found[2])}{found[3]}", page)


def _reference(command: str) -> str:
    lines = [f".. program:: twistd {command}", ""]
    for section, rows in COMMANDS[command].sections().items():
        if section != "Options":  # the only section of a short command needs no title
            lines += [section, "~" * len(section), ""]
        limits = [row for row in COMMANDS[command] if row.section == section and row.hidden]
        for row in (*rows, *limits):
            lines += [*_entry(row, command), ""]
    return "\n".join(lines) + "\n"


def _entry(row: Option, command: str) -> Iterator[str]:
    names = [f"-{row.short}"] * bool(row.short) + [f"--{row.name}"]
    if row.hidden:
        names = [f"--limit {row.name}={row.kind.placeholder}"]
    elif not row.kind.is_flag:
        names = [f"{name} {row.kind.placeholder.replace('|', ' | ')}" for name in names]
    yield f".. option:: {', '.join(names)}"
    yield ""
    text = _sentence(row)
    yield from textwrap.wrap(
        f"{text}.",
        WIDTH,
        initial_indent="   ",
        subsequent_indent="   ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    yield ""
    for name, value in _facts(row, command):
        yield f"   :{name}: {value}"


def _facts(row: Option, command: str) -> Iterator[tuple[str, str]]:
    unit = _OF_PLACEHOLDER.get(row.kind.placeholder) or (_OF_LIMIT[row.name] if row.hidden else "")
    if unit:
        yield "Unit", unit
    if default := _default(row):
        yield "Default", default
    if row.repeatable:
        yield "Repeatable", "yes; a variable has one value a line"
    text = example(row)
    shown = f"'{text}'" if set(text) & set(" *{") else text
    word = f"--limit {row.name}={shown}" if row.hidden else f"--{row.name} {shown}".strip()
    yield "Command line", f"``{word}``"
    if not row.command_line_only or row.name == "config":
        variable = f"{command}_{row.name}".replace("-", "_").upper()
        yield "Environment", f"``{variable}={text or 'true'}``"
    if not row.command_line_only:
        yield "TOML", f"``{_toml(row, text)}``"


def example(row: Option) -> str:
    """A text that the option takes; empty for a flag."""
    if row.kind.is_flag:
        return ""
    return row.example or row.kind.write(row.default)


def _toml(row: Option, text: str) -> str:
    if row.kind.is_flag:
        value = "true"
    elif row.hidden or row.kind.placeholder in {"N", *_OF_PLACEHOLDER}:
        value = text
    else:
        value = f'"{text}"'
    if row.hidden:
        return f"limit = {{{row.name} = {value}}}"
    return f"{row.name} = [{value}]" if row.repeatable else f"{row.name} = {value}"


def main() -> None:
    """Rewrite the pages."""
    reference = DOCS / REFERENCE
    reference.write_text(with_references(reference.read_text()))
    for name, table in PAGES.items():
        page = DOCS / name
        page.write_text(rewritten(page.read_text(), table))


if __name__ == "__main__":
    main()
