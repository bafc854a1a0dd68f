"""The manual knows every option, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from zkservice.service import zkembedded
from zkservice.service.options import OPTIONS

MANUAL = Path(__file__).parents[2] / "docs" / "operating.rst"
EMBEDDED = MANUAL.with_name("protocol.rst")


class ManualTests(SynchronousTestCase):
    """docs/operating.rst against the command line."""

    def test_options(self) -> None:
        """Each option of zkserve is explained, and each that is explained exists."""
        named = set(re.findall(r"``--([a-z-]+)", MANUAL.read_text()))
        twistd = {"pidfile", "logfile", "uid", "rundir"}
        self.assertEqual(named - twistd, {row.name for row in OPTIONS if not row.hidden})

    def test_limits(self) -> None:
        """Each limit is a row of the table in its section, and nothing else is."""
        section = self._sections()["Limits"]
        named = set(re.findall(r"^``([a-z-]+)`` ", section, re.MULTILINE))
        self.assertEqual(named, {row.name for row in OPTIONS if row.hidden})

    def test_zkembedded(self) -> None:
        """Each option of zkembedded is explained beside the server that it is for."""
        named = set(re.findall(r"^``--([a-z-]+)`` ", EMBEDDED.read_text(), re.MULTILINE))
        self.assertEqual(named, {row.name for row in zkembedded.OPTIONS})

    def test_sections(self) -> None:
        """Every section of the help is a section of the manual that names its options."""
        sections = self._sections()
        for title, rows in OPTIONS.sections().items():
            for row in rows:
                self.assertIn(f"``--{row.name}", sections[title], title)

    def test_defaults(self) -> None:
        """The numbers that the tables tell are the options' own."""
        rows = re.findall(r"(?m)^``(?:--)?([a-z-]+)`` +(.*\n(?: +.*\n)*)", MANUAL.read_text())
        numbers = [
            (OPTIONS.by_name[name], words)
            for name, words in rows
            if name in OPTIONS.by_name and _is_number(OPTIONS.by_name[name].default)
        ]
        self.assertGreater(len(numbers), 20)
        for row, words in numbers:
            default = row.kind.write(row.default)
            written = {
                str(1 << 20): "(1 MiB)",
                str(1 << 30): "(1 GiB)",
                str(4 << 30): "(4 GiB)",
                "0": "0 (the default)",
            }
            self.assertIn(written.get(default, f"({default})"), " ".join(words.split()), row.name)

    def _sections(self) -> dict[str, str]:
        return dict(
            re.findall(r"\n\n(.+)\n-+\n\n((?:.|\n)*?)(?=\n\n.+\n-+\n|$)", MANUAL.read_text())
        )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
