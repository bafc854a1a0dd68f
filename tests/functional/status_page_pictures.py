"""The pictures of the status page in ``docs/pictures``: a scene of ten minutes, taken by Chromium.

Not a test.  The application and the interpreter are where an installation has them, because the
page shows their paths::

    python3 -m venv /srv/venv && /srv/venv/bin/pip install . && mkdir -p /srv/cms
    pip install pillow
    python -m tests.functional.status_page_pictures --folder /srv/cms --twistd /srv/venv/bin/twistd
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import json
import math
import random
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Final

from kazoo.client import KazooClient

from tests.functional.browser import Browser
from tests.functional.processes import EmbeddedProcess, Twistd, free_port, quiet_kazoo, wait_for

PICTURES: Final = Path(__file__).parents[2] / "docs" / "pictures"
PROVIDERS: Final = "/cms/providers"
#: Seconds before the end at which the two requests begin that wait for each other.
STUCK: Final = (70.0, 45.0)
#: Seconds before the end at which the browser opens the page.
OPEN: Final = 60.0

APPLICATION: Final = '''"""A small content management system."""

import random
import threading
import time

ledger = threading.Lock()
entries = threading.Event()


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/reports/monthly":
        monthly_report()
    if path == "/orders":
        orders = {}
        orders[environ["QUERY_STRING"]]
    time.sleep(random.expovariate(1 / 0.004))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def monthly_report():
    with ledger:
        entries.wait(600)
'''

#: Other services: their links are the graph.
LINKS: Final = {
    "/cms": {"database": "/databases/main", "cache": "/caches/pages", "search": "/search"},
    "/search": {"database": "/databases/main"},
    "/shop": {"cms": "/cms", "ledger": "/databases/ledger"},
    "/reports": {"cms": "/cms"},
    "/databases/main": {},
    "/databases/ledger": {},
    "/caches/pages": {},
}


class Clients:
    """Requests as a reverse proxy passes them on, more at noon than at night.

    Args:
        port: of the service.
        minutes: until all of them end.
    """

    def __init__(self, port: int, minutes: float) -> None:
        self._port = port
        self._end = time.monotonic() + minutes * 60
        self._began = time.monotonic()
        for number in range(8):
            self.start(partial(self._visit, number))

    def start(self, function: Callable[[], object]) -> None:
        """Run a function in a thread of its own."""

        def run() -> None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                function()

        threading.Thread(target=run, daemon=True).start()

    def ask(self, connection: http.client.HTTPConnection, path: str, number: int) -> None:
        """Make one request."""
        connection.request("GET", path, headers={"X-Forwarded-For": f"10.0.7.{20 + number}"})
        connection.getresponse().read()

    def ask_once(self, path: str, number: int) -> None:
        """Make one request that may take long."""
        self.ask(http.client.HTTPConnection("127.0.0.1", self._port, timeout=600), path, number)

    def _visit(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while time.monotonic() < self._end:
            failing = number == 0 and random.random() < 0.02
            self.ask(connection, "/orders" if failing else "/", number)
            noon = math.sin((time.monotonic() - self._began) / 95) ** 4
            time.sleep(random.expovariate(1 / 0.2) / (1 + 4 * noon))


def provider(number: int, version: str) -> tuple[str, bytes]:
    """Another provider's znode."""
    properties = {"pid": 4000 + number, "version": version, "zone": "abc"[number % 3]}
    return f"{PROVIDERS}/10.0.4.{number}:8080", json.dumps(properties).encode()


def fill(kazoo: KazooClient) -> None:
    """The tree of services."""
    for path, links in LINKS.items():
        data = {f"{name} ->": target for name, target in links.items()}
        kazoo.create(path, json.dumps(data).encode(), makepath=True)
    kazoo.ensure_path(PROVIDERS)
    for number, version in ((2, "2.4.1"), (3, "2.4.0"), (4, "2.4.1")):
        path, properties = provider(number, version)
        kazoo.create(path, properties, ephemeral=True)


def act(kazoo: KazooClient, clients: Clients, browser: Browser, page: str, end: float) -> None:
    """What happens in the last minutes."""

    def until(before: float) -> None:
        time.sleep(max(0.0, end - before - time.monotonic()))

    until(STUCK[0])
    clients.start(lambda: clients.ask_once("/reports/monthly", 1))
    until(OPEN)
    browser.open(page)
    wait_for("the page is live", lambda: browser.text("#live") == "live", 20)
    until(STUCK[1])
    clients.start(lambda: clients.ask_once("/reports/monthly", 4))
    until(30)
    kazoo.delete(provider(3, "")[0])
    until(20)
    path, properties = provider(3, "2.4.1")
    kazoo.create(path, properties, ephemeral=True)
    until(0)


def take(browser: Browser) -> None:
    """Take the pictures: the upper half in the light, all of it in the dark, a phone."""
    browser.show(1280)
    time.sleep(1)
    save("status-page", browser.picture(whole=False, height=below(browser), scale=1.25))
    browser.show(1280, dark=True)
    time.sleep(1)
    save("status-page-dark", browser.picture())
    browser.show(390, dark=True)
    time.sleep(1)
    save("status-page-phone", browser.picture(whole=False, height=below(browser), scale=1.5))


def below(browser: Browser) -> int:
    """Where the section with the threads ends."""
    bottom = "document.getElementById('workers').closest('section').getBoundingClientRect().bottom"
    end: float = browser.run(f"return {bottom} + window.scrollY")
    return math.ceil(end) + 8


def save(name: str, png: bytes) -> None:
    """Keep a picture, with 256 colours: it has few, and is in every checkout."""
    image = import_module("PIL.Image").open(io.BytesIO(png)).convert("RGB")
    image.quantize(256, dither=0).save(PICTURES / f"{name}.png", optimize=True)


def main() -> None:
    """Play the scene, and take the pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", required=True, type=Path, help="for app.wsgi")
    parser.add_argument("--twistd", required=True, help="of an interpreter that has zkservice")
    parser.add_argument("--minutes", type=float, default=10.2)
    options = parser.parse_args()
    (options.folder / "app.wsgi").write_text(APPLICATION)
    with contextlib.ExitStack() as stack:
        logs = stack.enter_context(tempfile.TemporaryDirectory())
        zookeeper = EmbeddedProcess(logs)
        zookeeper.start()
        stack.callback(zookeeper.stop)
        kazoo = quiet_kazoo(zookeeper.connection_string)
        kazoo.start()
        stack.callback(kazoo.stop)
        fill(kazoo)
        port, admin = free_port(), free_port()
        service = Twistd(
            logs,
            *("zkserve", "--zookeeper", zookeeper.connection_string, "--path", PROVIDERS),
            *("--listen", f"tcp:{port}:interface=127.0.0.1", "--advertise", "10.0.4.1:8080"),
            *("--admin-listen", f"tcp:{admin}:interface=127.0.0.1", "--threads", "6"),
            *("--trusted-proxy", "127.0.0.1", "--property", "version=2.4.1"),
            *("--property", "zone=b", "--drain-timeout", "200"),
            str(options.folder / "app.wsgi"),
            command=[options.twistd],
            environ={"PYTHONPATH": ""},
        )
        stack.callback(service.end)
        service.wait_for_log("Serving on")
        clients = Clients(port, options.minutes + 1)
        end = time.monotonic() + options.minutes * 60
        browser = Browser()
        stack.callback(browser.close)
        act(kazoo, clients, browser, f"http://127.0.0.1:{admin}/-/", end)
        take(browser)


if __name__ == "__main__":
    main()
