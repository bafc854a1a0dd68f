"""``twistd -n zkserve --reload``: code that is edited while it is served."""

from __future__ import annotations

import http.client
import os
import subprocess
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.functional.processes import TIMEOUT, TWISTD, Twistd, fetch, wait_for

APP = """
import os, helper

def app(environ, start_response):
    if environ["PATH_INFO"] == "/late":
        import late
    body = f"{helper.WORD} {os.getpid()}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""


def edit(path: Path, text: str) -> None:
    """Save a file as editors do, so that nobody sees half of it."""
    draft = path.with_name(f"{path.name}~")
    draft.write_text(text)
    draft.replace(path)


class ReloadTests(SynchronousTestCase):
    """A service of one process, unless a test says otherwise."""

    @override
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        (self.folder / "app.py").write_text(APP)
        self.helper("one")

    def helper(self, word: str) -> None:
        """Edit a module that the application imports."""
        edit(self.folder / "helper.py", f"WORD = {word!r}\n")

    def start(
        self, *words: str, app: str = "app:app", environ: dict[str, str] | None = None
    ) -> Twistd:
        """A service in the foreground."""
        process = Twistd(
            str(self.folder),
            *("zkserve", "--zookeeper", "embedded", "--path", "/svc", "--host", "127.0.0.1"),
            *("--reload", *words, app),
            environ=environ,
        )
        self.addCleanup(process.end)
        self.address = process.wait_for_log(r"Serving on (\S+)\n").group(1)
        return process

    def fetch(self, path: str = "/") -> tuple[int, bytes]:
        """The status and the body of a request, which may have to wait for a new worker."""
        return fetch(self.address, path)

    def word(self) -> str:
        """What a new connection gets."""
        return self.fetch()[1].decode().split()[0]

    def until(self, word: str) -> float:
        """Wait until new connections get this word; returns how long that took."""
        began = time.monotonic()
        wait_for(word, lambda: self.word() == word)
        return time.monotonic() - began

    def test_a_module_that_is_edited_is_served_at_once(self) -> None:
        """With one process and with two; the log names the file."""
        for processes in ("1", "2"):
            self.helper("one")
            process = self.start("--processes", processes)
            self.until("one")
            for word in ("two", "six", "ten"):  # of the same size, in the same second
                self.helper(word)
                print(f"\n    reloaded in {self.until(word):.2f} s", end="")
            process.wait_for_log(rf"the code has changed: {self.folder}/helper.py\n")
            process.end()

    def test_no_stale_bytecode_is_served(self) -> None:
        """Bytecode is told from the second and the size of its source, which an edit may keep."""
        process = self.start(environ={"PYTHONDONTWRITEBYTECODE": ""})
        self.until("one")
        time.sleep(0.5)  # the parent hears what the worker has loaded
        written = (self.folder / "helper.py").stat().st_mtime_ns // 10**9 * 10**9
        for number, word in enumerate(("two", "six")):
            self.helper(word)
            os.utime(self.folder / "helper.py", ns=(written, written + number + 1))
            self.until(word)
        process.end()

    def test_an_error_is_shown_until_it_is_corrected(self) -> None:
        """In the page, with status 500 and the traceback, and in the log; no old code."""
        process = self.start()
        for broken, expected in {
            "WORD = (": "SyntaxError",
            "import no_such_module": "ModuleNotFoundError: No module named &#x27;no_such_module",
            "raise SystemExit(3)": "SystemExit",
            "1 / 0": "ZeroDivisionError",
        }.items():
            self.until("one")
            edit(self.folder / "helper.py", broken)
            wait_for(broken, lambda: self.fetch()[0] == 500)
            for _ in range(3):
                status, page = self.fetch()
                self.assertEqual(status, 500)
                self.assertIn(expected, page.decode())
                self.assertIn("helper.py", page.decode())
            process.wait_for_log(expected.partition("&")[0])
            self.helper("one")
        self.until("one")

    def test_a_module_that_is_missing_may_appear(self) -> None:
        """Nothing that was loaded has changed, only another file is there."""
        (self.folder / "helper.py").unlink()
        self.start()
        self.assertEqual(self.fetch()[0], 500)
        self.helper("here")
        wait_for("the application", lambda: self.fetch()[0] == 200)

    def test_a_process_that_ends_at_its_start_is_shown_too(self) -> None:
        """It has no page of its own; the next one shows why."""
        self.start()
        edit(self.folder / "helper.py", "import os; os._exit(7)")
        wait_for("a page", lambda: b"exit code 7" in self.fetch()[1])
        self.helper("back")
        wait_for("the application", lambda: self.fetch()[0] == 200)

    def test_other_files_and_late_imports_count(self) -> None:
        """--reload-extra, also for files that appear; modules that a request imports; .wsgi."""
        (self.folder / "late.py").write_text("")
        (self.folder / "app.wsgi").write_text("from app import app as application\n")
        (self.folder / "page.html").write_text("one")
        self.start("--reload-extra", "*.html", app="app.wsgi")
        for name in ("page.html", "new.html", "app.wsgi", "late.py"):
            self.fetch("/late")
            before = self.fetch()[1]
            time.sleep(1.2)  # the parent hears of the late module
            self.assertEqual(self.fetch()[1], before)
            path = self.folder / name
            edit(path, (path.read_text() if path.exists() else "") + "\n")
            self.until_other_than(before)

    def until_other_than(self, before: bytes) -> None:
        """Wait until another process answers."""
        wait_for("a reload", lambda: self.fetch()[1] != before)

    def test_a_kept_connection_is_not_answered_by_old_code(self) -> None:
        """The browser that reloads its page has one."""
        process = self.start()
        host, _, port = self.address.rpartition(":")
        kept = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT)
        self.addCleanup(kept.close)
        kept.request("GET", "/")
        self.assertIn(b"one", kept.getresponse().read())
        self.helper("two")
        process.wait_for_log("the code has changed")
        assert kept.sock is not None
        self.assertEqual(kept.sock.recv(1), b"")  # it is closed, so the browser opens another one
        kept.close()
        kept.request("GET", "/")
        self.assertIn(b"two", kept.getresponse().read())

    def test_a_daemon_does_not_reload(self) -> None:
        """``--reload`` needs a terminal: a daemon exits with one line and code 1."""
        done = subprocess.run(
            [*TWISTD, "zkserve", "--path", "/svc", "--reload", "app:app"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            env=Twistd.environment(),
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn("--reload is for development", done.stdout)
        self.assertIn("run it in the foreground, with twistd -n zkserve", done.stdout)
