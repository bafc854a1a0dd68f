"""The status page in a real Chromium: what people see of a running service, and how soon."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from unittest import skipIf

from kazoo.client import KazooClient
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.functional.browser import MISSING, Browser
from tests.functional.processes import (
    EmbeddedProcess,
    Twistd,
    fetch,
    free_port,
    started_kazoo,
    wait_for,
)

PATH = "/svc/web/providers"

#: An application with a path that waits for something that does not come.
WAITING = """
import threading
event = threading.Event()
def application(environ, start_response):
    if environ["PATH_INFO"] == "/wait":
        wait_for_the_ledger()
    if environ["PATH_INFO"] == "/fail":
        raise KeyError("geheim")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
def wait_for_the_ledger():
    event.wait(300)
"""


class PageCase(SynchronousTestCase):
    """A service with its page."""

    @override
    def setUp(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        with open(os.path.join(self.folder, "app.wsgi"), "w") as file:
            file.write(WAITING)
        self.zookeeper = EmbeddedProcess(os.path.join(self.folder, "zk"))
        self.addCleanup(self.zookeeper.stop)
        self.zookeeper.start()
        self.kazoo: KazooClient = started_kazoo(self, self.zookeeper.connection_string)

    def serve(self, *words: str) -> str:
        """The address of a service that has started."""
        port = free_port()
        process = Twistd(
            self.folder,
            *("zkserve", "--path", PATH, "--zookeeper", self.zookeeper.connection_string),
            *("--host", "127.0.0.1", "--port", str(port), "--threads", "2", *words),
            *("--drain-timeout", "200", "app.wsgi"),
        )
        self.addCleanup(process.end)
        process.wait_for_log("Serving on")
        return f"127.0.0.1:{port}"

    def browser(self, *, script: bool = True) -> Browser:
        """A window."""
        browser = Browser(script=script)
        self.addCleanup(browser.close)
        return browser

    def ask_in_background(self, address: str, path: str) -> None:
        """A client that waits for a response."""

        def ask() -> None:
            with contextlib.suppress(OSError):
                fetch(address, path, 300)

        threading.Thread(target=ask, daemon=True).start()  # it ends with the service


@skipIf(MISSING, MISSING)
class LivePageTests(PageCase):
    """What is on the page while something happens."""

    def follow(self, address: str, page: str) -> None:
        """Look at a page while siblings come and go, a thread gets stuck, and ZooKeeper goes."""
        browser = self.browser()
        browser.show(1280)
        browser.open(f"http://{page}/-/")
        wait_for("the page is live", lambda: browser.text("#live") == "live")
        wait_for("it is registered", lambda: "All at this path: 1" in browser.text("#registration"))

        self.kazoo.create(f"{PATH}/10.9.9.9:80", b'{"<b>evil": "<i>"}', ephemeral=True)
        wait_for("a sibling", lambda: "10.9.9.9:80 has come" in browser.text("#registration"))
        wait_for("as text", lambda: "<b>evil <i>" in browser.text("#registration"))
        self.kazoo.delete(f"{PATH}/10.9.9.9:80")
        wait_for("it goes", lambda: "10.9.9.9:80 has gone" in browser.text("#registration"))

        self.ask_in_background(address, "/wait?token=geheim")
        wait_for("the thread", lambda: "wait_for_the_ledger" in browser.text("#workers"))
        wait_for("it is slow", lambda: "slow" in browser.text("#workers"))
        wait_for("its line", lambda: "app.wsgi:12" in browser.text("#workers"))
        fetch(address, "/fail?token=geheim")
        wait_for("the error", lambda: "KeyError at" in browser.text("#errors"))

        self.zookeeper.stop()
        wait_for("the session", lambda: "session: suspended" in browser.text("#session"))
        self.assertNotIn("geheim", browser.run("return document.documentElement.innerHTML"))
        self.assertEqual(browser.console(), [])

    def test_one_process(self) -> None:
        """At the port of the application."""
        address = self.serve("--status-views")
        self.follow(address, address)

    def test_worker_processes(self) -> None:
        """At a port of its own, which the parent has."""
        admin = f"127.0.0.1:{free_port()}"
        endpoint = f"tcp:{admin.rpartition(':')[2]}:interface=127.0.0.1"
        self.follow(self.serve("--processes", "2", "--admin-listen", endpoint), admin)

    def test_through_a_worker_process(self) -> None:
        """A worker has the page from its parent, and keeps it current."""
        browser = self.browser()
        browser.open(f"http://{self.serve('--processes', '2', '--status-views')}/-/")
        wait_for("the page is live", lambda: browser.text("#live") == "live")
        self.kazoo.create(f"{PATH}/10.9.9.9:80", b"", ephemeral=True)
        wait_for("a sibling", lambda: "10.9.9.9:80" in browser.text("#registration"))
        wait_for("both workers", lambda: "worker 2" in browser.text("#workers"))
        self.assertEqual(browser.console(), [])


@skipIf(MISSING, MISSING)
class ReadablePageTests(PageCase):
    """Who can read it, and with what."""

    def test_screens_and_keys(self) -> None:
        """No width needs scrolling; the keyboard reaches what opens, which stays open."""
        address = self.serve("--status-views")
        browser = self.browser()
        self.ask_in_background(address, "/wait")
        for width in (390, 768, 1280):
            browser.show(width, dark=True)
            browser.open(f"http://{address}/-/")
            wide = browser.run("return document.documentElement.scrollWidth")
            self.assertEqual(wide, width)
        wait_for("a stack", lambda: browser.run("return !!document.querySelector('summary')"))
        browser.run("document.querySelector('summary').focus()")
        browser.press("\ue007")  # enter
        opened = "return document.querySelector('details').open && document.activeElement.tagName"
        self.assertEqual(browser.run(opened), "SUMMARY")
        before = browser.text("#workers .took")
        wait_for("an update", lambda: browser.text("#workers .took") != before)
        self.assertEqual(browser.run(opened), "SUMMARY")

    def test_without_script(self) -> None:
        """The values are there, and it is loaded again."""
        browser = self.browser(script=False)
        browser.open(f"http://{self.serve('--status-views')}/-/")
        self.assertIn(PATH, browser.text("h1"))
        self.assertIn("loaded again every 5 seconds", browser.text(".live"))
        self.assertEqual(browser.console(), [])
