"""The how-to pages, typed into a shell: files are saved, commands run, their output compared."""

from __future__ import annotations

import re
from importlib.util import find_spec
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.functional.pages import DOCS, follow
from tests.functional.processes import EmbeddedProcess, free_port

#: What the pages call the reader's ensemble, or one server of it.
ENSEMBLE = re.compile(r"zk1:2181(,zk2:2181)?")


class HowToTests(SynchronousTestCase):
    """One test a page: each begins in an empty folder, with a ZooKeeper."""

    @override
    def setUp(self) -> None:
        self.zookeeper = EmbeddedProcess(self.mktemp())
        self.addCleanup(self.zookeeper.stop)
        self.zookeeper.start()

    def check(self, name: str, commands: int, **replaced: str) -> None:
        """Follow a page, with other ports, on loopback only.

        Args:
            commands: at least so many are on the page.
            replaced: words of the page, and what stands for them here.
        """
        page = (DOCS / "howto" / f"{name}.rst").read_text()
        page = ENSEMBLE.sub(self.zookeeper.connection_string, page)
        page = page.replace("--port 8080 --", "--host 127.0.0.1 --port 8080 --")
        page = page.replace("port = 8080", "port = 8080\n    host = 127.0.0.1")
        page = page.replace("8080", str(free_port()))
        self.assertGreaterEqual(follow(self, page, self.mktemp()), commands)

    def test_flask(self) -> None:
        """A Flask application is served, registered and logged."""
        self.check("flask", 5)

    def test_django(self) -> None:
        """A Django project is served with settings for production and its static files."""
        self.check("django", 9)

    def test_pyramid(self) -> None:
        """A PasteDeploy file is served by pserve and by twistd."""
        self.check("pyramid", 8)

    @skipUnless(find_spec("uvicorn") and find_spec("a2wsgi"), "there is no uvicorn or no a2wsgi")
    def test_asgi(self) -> None:
        """A FastAPI application runs under zkregister, and wrapped by a2wsgi."""
        self.check("asgi", 10)
