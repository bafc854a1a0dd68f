"""The test cases that docs/testing.rst shows are run as what they are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from twisted.trial.unittest import SynchronousTestCase

import zkservice

ROOT = Path(zkservice.__file__).parent.parent
PAGE = ROOT / "docs" / "testing.rst"


class PageTests(SynchronousTestCase):
    """What a user pastes."""

    def test_examples(self) -> None:
        """Each program is a module with one test that passes."""
        blocks = re.findall(r"code-block:: python\n\n((?:    .*\n|\n)+)", PAGE.read_text())
        self.assertEqual(len(blocks), 2)
        for number, block in enumerate(blocks):
            folder = Path(self.mktemp())
            folder.mkdir()
            (folder / f"test_pasted{number}.py").write_text(dedent(block))
            done = subprocess.run(
                [sys.executable, "-m", "twisted.trial", f"test_pasted{number}"],
                cwd=folder,
                env={"PYTHONPATH": f"{ROOT}:{folder.absolute()}"},
                capture_output=True,
                text=True,
                timeout=60,
            )
            self.assertIn("PASSED (successes=1)", done.stdout, done.stdout + done.stderr)
