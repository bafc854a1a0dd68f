"""Tests of the manual: it knows every option, and no other."""

from __future__ import annotations

import re
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

from twisted.trial.unittest import SynchronousTestCase

from zkservice.cli.ask_monitor import WITH_JSON
from zkservice.monitor.protocol import BUILT_IN
from zkservice.service.commands.monitor_commands import COMMANDS
from zkservice.service.options import follow_options, register_options
from zkservice.service.options.serve_table import OPTIONS

DOCS = Path(__file__).parents[3] / "docs"
#: zkserve has two pages: how to run it, and what it shows.
MANUAL = [DOCS / "operating.rst", DOCS / "monitoring.rst"]
EMBEDDED = DOCS / "protocol.rst"
REGISTER = DOCS / "registering.rst"
FOLLOW = DOCS / "following.rst"


def _load(path: Path) -> ModuleType:
    """A script as a module."""
    spec = spec_from_loader(path.stem, SourceFileLoader(path.stem, str(path)))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tables = _load(DOCS.parent / ".ci" / "option_tables.py")


class ManualTests(SynchronousTestCase):
    """docs/operating.rst and docs/monitoring.rst against the command line."""

    def test_every_option_is_in_the_manual(self) -> None:
        """Each option of zkserve is explained, and each that is explained exists."""
        named = set(re.findall(r"``--([a-z-]+)", self._text()))
        others = {"pidfile", "logfile", "logger", "syslog", "uid", "rundir", "json", "once"}
        # The names of other programs are not ours.
        self.assertEqual(named - others, {row.name for row in OPTIONS if not row.hidden})

    def test_tables_are_up_to_date(self) -> None:
        """Each table of options is what .ci/option_tables.py writes."""
        for name, table in tables.PAGES.items():
            page = (tables.DOCS / name).read_text()
            self.assertEqual(page, tables.rewritten(page, table), "run .ci/option_tables.py")

    def test_every_option_is_in_a_table(self) -> None:
        """Each section of a command has a table; that of the limits is a table of their names."""
        self.assertEqual(tables.sections(EMBEDDED.read_text()), ["Options"])
        self.assertEqual(
            tables.sections(REGISTER.read_text()), list(register_options.OPTIONS.sections())
        )
        self.assertEqual(
            tables.sections(FOLLOW.read_text()), list(follow_options.OPTIONS.sections())
        )
        shown = {section.removesuffix(", names") for section in tables.sections(self._text())}
        self.assertEqual(shown, set(OPTIONS.sections()))

    def test_the_reference_is_up_to_date(self) -> None:
        """docs/options.rst is what .ci/option_tables.py writes, and has every option."""
        page = (DOCS / tables.REFERENCE).read_text()
        self.assertEqual(page, tables.with_references(page), "run .ci/option_tables.py")
        for command, table in tables.COMMANDS.items():
            described = page.partition(f".. reference: {command}\n")[2]
            described = described.partition(".. end of reference")[0]
            for row in table:
                self.assertRegex(described, rf"(?m)^\.\. option:: .*(--|limit ){row.name}\b")

    def test_every_example_is_valid(self) -> None:
        """An option reads the example that the reference shows for it."""
        for command, table in tables.COMMANDS.items():
            for row in table:
                text = tables.example(row)
                self.assertEqual(row.kind.is_flag, text == "", (command, row.name))
                if row.name != "sasl-users":  # reads the file itself
                    row.kind.read(text or "true")

    def test_commands_of_the_monitor(self) -> None:
        """The table has each command, and no other."""
        section = self._sections()["The monitor"].partition(".. end of options")[2]
        table = re.search(r"\n(=+ =+)\n(.*?)\n\1\n", section, re.DOTALL)
        assert table is not None
        named = re.findall(r"^``([a-z]+)`` ", table[2], re.MULTILINE)
        self.assertEqual(len(named), len(set(named)))
        self.assertEqual(set(named), {*COMMANDS, *BUILT_IN})

    def test_commands_with_json(self) -> None:
        """``zkservice ask --json`` asks those for JSON that have it."""
        known = {name for name, command in COMMANDS.items() if "[--json]" in str(command.__doc__)}
        self.assertEqual(WITH_JSON, known)

    def test_every_section_of_the_help_is_in_the_manual(self) -> None:
        """Every section of the help is a section of the manual that names its options."""
        sections = self._sections()
        for title, rows in OPTIONS.sections().items():
            for row in rows:
                self.assertIn(f"``--{row.name}", sections[title], title)

    def _sections(self) -> dict[str, str]:
        return dict(re.findall(r"\n\n(.+)\n-+\n\n((?:.|\n)*?)(?=\n\n.+\n-+\n|$)", self._text()))

    def _text(self) -> str:
        return "\n".join(page.read_text() for page in MANUAL)
