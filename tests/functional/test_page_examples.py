"""The examples of README.rst and docs, run as they are printed.

Examples with ``>>>`` are run in this process.  A whole program is run by its own Python
process, beside a real ``twistd zkserve``; that one's address replaces the page's.
"""

from __future__ import annotations

import subprocess
import sys

from sybil import Example, Sybil
from sybil.parsers.rest import CodeBlockParser, DocTestParser
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.functional.processes import TIMEOUT, EmbeddedProcess, Twistd
from tests.test_docs import PAGES, ROOT

#: Where the pages' ZooKeeper is, and the znode that their applications register under.
SHOWN_ADDRESS = "127.0.0.1:2181"
PROVIDERS = "/svc/providers"


class ExampleTests(SynchronousTestCase):
    """What can be carried out."""

    @override
    def setUp(self) -> None:
        server = EmbeddedProcess(self.mktemp())
        self.addCleanup(server.stop)
        server.start()
        self.zookeeper = server.connection_string
        words = ["--zookeeper", self.zookeeper, "--path", PROVIDERS, "--host", "127.0.0.1"]
        hello = str(ROOT / "examples" / "hello.wsgi")
        service = Twistd(self.mktemp(), "zkserve", *words, hello)
        self.addCleanup(service.end)
        self.address = service.wait_for_log(r"Serving on (\S+)").group(1)
        self.programs = 0

    def test_every_example_of_every_page_works(self) -> None:
        """Every example of every page works."""
        sybil = Sybil(
            parsers=[
                DocTestParser(),
                CodeBlockParser(language="python", evaluator=self.run_program),
            ],
            path=str(ROOT),
        )
        examples = 0
        for path in PAGES:
            if path.name == "tutorial.rst" or path.parent.name == "howto":
                continue  # test_tutorial.py and test_howto.py type them, in their order
            for example in sybil.parse(path).examples():
                example.evaluate()
                examples += 1
        self.assertGreater(examples, 0)
        self.assertGreater(self.programs, 0)

    def run_program(self, example: Example) -> None:
        """Run a whole program; it has to find the service that is registered."""
        program = str(example.parsed)
        if ">>>" in program:
            return  # what DocTestParser is for
        done = subprocess.run(
            [sys.executable, "-c", program.replace(SHOWN_ADDRESS, self.zookeeper)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        where = f"{example.path}, line {example.line}"
        self.assertEqual((done.returncode, done.stderr), (0, ""), where)
        if PROVIDERS in program:
            self.assertIn(self.address, done.stdout, where)
        self.programs += 1
