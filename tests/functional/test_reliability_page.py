"""docs/reliability.rst and what it tells of."""

from __future__ import annotations

import os
import re

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.functional import test_reliability, test_upgrade
from tests.functional.reliability import ROOT
from zkservice.registry import RegistrationState
from zkservice.service.options.serve_options import Options


class PageTests(SynchronousTestCase):
    """docs/reliability.rst tells of what there is."""

    @override
    def setUp(self) -> None:
        """The page's text."""
        with open(os.path.join(ROOT, "docs", "reliability.rst")) as file:
            self.page = file.read()

    def test_rows(self) -> None:
        """Every test is a row of the table, and every row is a test."""
        named = re.findall(r"``(test_\w+)``", self.page)
        cases = (
            test_reliability.ReliabilityTests,
            test_reliability.ZooKeeperFaultTests,
            test_reliability.EnsembleTests,
            test_upgrade.LoadTests,
        )
        tests = {name for case in cases for name in vars(case) if name.startswith("test_")}
        self.assertEqual(sorted(named), sorted(tests))

    def test_states(self) -> None:
        """Every state of a registration is drawn, and told of in the words of the log."""
        drawn = self.page[self.page.index("code-block:: text") :]
        text = " ".join(drawn.split())
        for state in RegistrationState:
            self.assertIn(state.name, drawn)
            self.assertIn(f"``{state.name}``", drawn)
            for word in state.value.split():
                self.assertIn(word, text)

    def test_unit(self) -> None:
        """The unit's command is one that zkserve accepts."""
        (command,) = re.findall(r"ExecStart=((?:.*\\\n)*.*)", self.page)
        words = command.replace("\\\n", " ").split()
        listen = words.index("--listen")
        # Only a process that systemd has started can read this one.
        self.assertEqual(words[listen : listen + 2], ["--listen", "systemd:domain=INET:index=0"])
        del words[listen : listen + 2]
        options = Options()
        options.parseOptions(words[words.index("zkserve") + 1 :])
        self.assertEqual(options.config.path, "/svc/providers")
