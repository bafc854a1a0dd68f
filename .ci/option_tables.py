"""Write the tables of options in the manual from the tables that the commands are made from.

``python .ci/option_tables.py`` rewrites the lines between ``.. options: SECTION`` and
``.. end of options`` in the pages.  ``.. options: SECTION, names`` is a table of the synonyms that
a section hides: the names that ``--limit`` takes.  A test checks that the pages are up to date.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from zkservice.service import follow_options, register_options, zkembedded
from zkservice.service.option_table import Option, OptionTable
from zkservice.service.options import OPTIONS

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {
    "operating.rst": OPTIONS,
    "protocol.rst": zkembedded.OPTIONS,
    "registering.rst": register_options.OPTIONS,
    "following.rst": follow_options.OPTIONS,
}
WIDTH = 100

_BLOCK = re.compile(r"^(\.\. options: (.+)\n\n)(?:.*\n)*?(^\.\. end of options$)", re.MULTILINE)
_OPTION = re.compile(r"(?<!`)(--[a-z][a-z-]*)")
_UNITS = {1 << 30: "GiB", 1 << 20: "MiB"}


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
    text = row.manual or _OPTION.sub(r"``\1``", row.help)
    text = text[0].upper() + text[1:]
    notes = ["repeatable"] * row.repeatable
    if default := _default(row):
        notes.append(f"default: {default}")
    return f"{text.removesuffix('.')} ({'; '.join(notes)})" if notes else text.removesuffix(".")


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


def main() -> None:
    """Rewrite the pages."""
    for name, table in PAGES.items():
        page = DOCS / name
        page.write_text(rewritten(page.read_text(), table))


if __name__ == "__main__":
    main()
