"""The test cases that docs/testing.rst shows are run as what they are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from twisted.trial.unittest import SynchronousTestCase

import zkservice
from tests.functional.processes import TIMEOUT

ROOT = Path(zkservice.__file__).parent.parent
PAGE = ROOT / "docs" / "testing.rst"


#: How a module of tests is run, and what is said when its one test passes.
TRIAL = ("twisted.trial", "", "PASSED (successes=1)")
UNITTEST = ("unittest", "", "Ran 1 test in ")
PYTEST = ("pytest", ".py", "1 passed")


class PageTests(SynchronousTestCase):
    """What a user pastes."""

    def test_each_example_is_a_test_that_passes(self) -> None:
        """Each program is a module with one test that passes, by all that it is written for."""
        shown = re.findall(r"code-block:: python\n\n((?:    .*\n|\n)+)", PAGE.read_text())
        blocks = [block for block in shown if "def test_" in block]  # others: test_page_examples
        self.assertEqual(len(blocks), 3)
        for block in blocks:
            if "import pytest" in block:
                self.run_with(PYTEST, block)
            elif "import unittest" in block:
                for runner in (TRIAL, UNITTEST, PYTEST):
                    self.run_with(runner, block)
            else:
                self.run_with(TRIAL, block)

    def run_with(self, runner: tuple[str, str, str], block: str) -> None:
        """Save the block, and run it."""
        module, ending, said = runner
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "test_pasted.py").write_text(dedent(block))
        done = subprocess.run(
            [sys.executable, "-m", module, f"test_pasted{ending}"],
            cwd=folder,
            env={"PYTHONPATH": f"{ROOT}:{folder.absolute()}"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn(said, done.stdout + done.stderr)
