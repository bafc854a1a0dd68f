"""The tutorial, typed line by line into a shell, with what it shows compared with what appears."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.functional.pages import DOCS, follow
from tests.functional.processes import free_port


class TutorialTests(SynchronousTestCase):
    """What a beginner does first."""

    def test_each_command_prints_what_the_tutorial_shows(self) -> None:
        """All blocks, in their order, on free ports."""
        page = (DOCS / "tutorial.rst").read_text()
        for port in ("2181", "9001"):
            page = page.replace(f":{port}", f":{free_port()}")
        # The address of a killed process is looked at before its session ends.
        environ = {"ZKSERVE_SESSION_TIMEOUT": "20000"}
        self.assertGreater(follow(self, page, self.mktemp(), **environ), 15)
