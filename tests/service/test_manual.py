"""The manual knows every option, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from zkservice.service.options import Options

MANUAL = Path(__file__).parents[2] / "docs" / "operating.rst"


class ManualTests(SynchronousTestCase):
    """docs/operating.rst against the command line."""

    def test_options(self) -> None:
        """Each option of zkserve is explained, and each that is explained exists."""
        named = set(re.findall(r"``--([a-z-]+)", MANUAL.read_text()))
        twistd = {"pidfile", "logfile", "uid"}
        known = {name.rstrip("=") for name in Options().longOpt} - {"help", "version"}
        self.assertEqual(named - twistd, known)
