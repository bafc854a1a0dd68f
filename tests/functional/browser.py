"""A real Chromium, driven over the WebDriver protocol (https://www.w3.org/TR/webdriver2/)."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from typing import Any

from tests.functional.processes import TIMEOUT, free_port, wait_for

__all__ = ["MISSING", "Browser"]

#: Why there can be no browser; "" if there can.
MISSING = (
    ""
    if shutil.which("chromium") and shutil.which("chromedriver")
    else "apt install chromium chromium-driver"
)


class Browser:
    """One window.

    Args:
        script: whether pages may run scripts.
    """

    def __init__(self, *, script: bool = True) -> None:
        port = free_port()
        self._profile = tempfile.mkdtemp()
        self._at = f"http://127.0.0.1:{port}"
        self._driver = subprocess.Popen(
            [str(shutil.which("chromedriver")), f"--port={port}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for("chromedriver answers", self._ready)
            self._at += "/session"
            self._at += f"/{self._begin(script)}"
        except BaseException:
            self._end_driver()
            raise

    def _ready(self) -> bool:
        try:
            return bool(self._call("GET", "/status")["ready"])
        except OSError:
            return False

    def _begin(self, script: bool) -> str:
        options: dict[str, Any] = {
            "binary": shutil.which("chromium"),
            "args": [
                *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *("--disable-dev-shm-usage", f"--user-data-dir={self._profile}"),
            ],
        }
        if not script:
            options["prefs"] = {"profile.managed_default_content_settings.javascript": 2}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        answer = self._call("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        return str(answer["sessionId"])

    def open(self, url: str) -> None:
        """Open a page."""
        self._call("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a script, a function's body."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector: str) -> str:
        """The text of an element as it is shown."""
        found = self.run(
            "const e = document.querySelector(arguments[0]); return e && e.innerText", selector
        )
        return "" if found is None else str(found)

    def show(self, width: int, *, dark: bool = False) -> None:
        """Be a screen of a width, and of a colour scheme."""
        self._chromium(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )
        self._chromium(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
        )

    def picture(self, *, whole: bool = True, scale: float = 1.0, height: int = 900) -> bytes:
        """A picture of the page, as PNG."""
        size = self.run(
            "return [document.documentElement.clientWidth, document.documentElement.scrollHeight]"
        )
        clip = {"x": 0, "y": 0, "width": size[0], "height": size[1] if whole else height}
        answer = self._chromium(
            "Page.captureScreenshot",
            **{"format": "png", "captureBeyondViewport": True, "clip": {**clip, "scale": scale}},
        )
        return base64.b64decode(answer["data"])

    def console(self) -> list[str]:
        """What the page, or the browser about it, has said since the last time."""
        return [str(each["message"]) for each in self._call("POST", "/se/log", {"type": "browser"})]

    def press(self, key: str) -> None:
        """Press a key."""
        keys = {"type": "key", "id": "keys"}
        actions = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._call("POST", "/actions", {"actions": [{**keys, "actions": actions}]})

    def close(self) -> None:
        """Close it."""
        try:
            self._call("DELETE", "")
        except (OSError, http.client.HTTPException, AssertionError):
            pass
        finally:
            self._end_driver()

    def _end_driver(self) -> None:
        self._driver.terminate()
        try:
            self._driver.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self._driver.kill()
            self._driver.wait(TIMEOUT)
        shutil.rmtree(self._profile, ignore_errors=True)

    def _chromium(self, command: str, **params: Any) -> Any:
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": params})

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._at + path, data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=3 * TIMEOUT) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.read()[:500]!r}") from None
