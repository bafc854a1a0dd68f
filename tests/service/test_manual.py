"""The manual knows every option, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from zkservice.service import embedded
from zkservice.service.options import Options
from zkservice.service.topics import TOPICS

MANUAL = Path(__file__).parents[2] / "docs" / "operating.rst"
EMBEDDED = MANUAL.with_name("protocol.rst")


class ManualTests(SynchronousTestCase):
    """docs/operating.rst against the command line."""

    def test_options(self) -> None:
        """Each option of zkserve is explained, and each that is explained exists."""
        named = set(re.findall(r"``--([a-z-]+)", MANUAL.read_text()))
        twistd = {"pidfile", "logfile", "uid", "rundir"}
        known = {name.rstrip("=") for name in Options().longOpt} - {"help", "version"}
        self.assertEqual(named - twistd, known)

    def test_zkembedded(self) -> None:
        """Each option of zkembedded is explained beside the server that it is for."""
        named = set(re.findall(r"^``--([a-z-]+)`` ", EMBEDDED.read_text(), re.MULTILINE))
        known = {name.rstrip("=") for name in embedded.Options().longOpt} - {"help", "version"}
        self.assertEqual(named, known)

    def test_topics(self) -> None:
        """Every option has a topic, which is a section of the manual that names the option."""
        sections = dict(
            re.findall(r"\n\n(.+)\n-+\n\n((?:.|\n)*?)(?=\n\n.+\n-+\n|$)", MANUAL.read_text())
        )
        for topic, names in TOPICS.items():
            for name in names:
                self.assertIn(f"``--{name}", sections[topic], topic)
        topical = [name for names in TOPICS.values() for name in names]
        self.assertEqual(len(topical), len(set(topical)))
        known = {name.rstrip("=") for name in Options().longOpt} - {"help", "version"}
        self.assertEqual(set(topical), known)

    def test_defaults(self) -> None:
        """The numbers that the tables tell are the options' own."""
        defaults = {row[0]: row[2] for row in Options.optParameters}
        rows = re.findall(r"(?m)^``--([a-z-]+)`` +(.*\n(?: +.*\n)*)", MANUAL.read_text())
        numbers = [(name, words) for name, words in rows if isinstance(defaults.get(name), int)]
        self.assertGreater(len(numbers), 20)
        for name, words in numbers:
            default = defaults[name]
            written = {1 << 20: "(1 MiB)", 1 << 30: "(1 GiB)", 0: "0 (the default)"}
            self.assertIn(written.get(default, f"({default})"), " ".join(words.split()), name)
