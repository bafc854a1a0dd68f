"""Run ``make run`` as a newcomer would, open the page, and end it with Ctrl-C.

Usage: make_run.py MAKE-ARGUMENT...
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

PATIENCE = 500.0  # seconds; most of it is pip's


def main(*arguments: str) -> None:
    """Wait for the address in the log, fetch it, interrupt."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "log")
        with path.open("wb") as log:
            # A session of its own: Ctrl-C reaches make and all that it started.
            make = subprocess.Popen(
                ["make", "run", "PORT=0", *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            address = serving(make, path)
            with urlopen(f"http://{address}/", timeout=60) as answer:
                body = answer.read()
                print(answer.status, body)
                assert answer.status == 200 and body.startswith(b"Hello, 127.0.0.1!")
            os.killpg(make.pid, signal.SIGINT)
            make.wait(120)
        finally:
            print(path.read_text(errors="replace"))
            if make.poll() is None:
                os.killpg(make.pid, signal.SIGKILL)
        assert "Stopped" in path.read_text(), "it did not stop in good order"
        assert "Traceback" not in path.read_text(), "something went wrong meanwhile"


def serving(make: subprocess.Popen[bytes], path: Path) -> str:
    """The address that the log says is served."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and make.poll() is None:
        # At the line's end: while it is not registered yet, the log says more.
        text = path.read_text(errors="replace")
        found = re.search(r"Serving on (\d[\d.:]*)$", text, re.MULTILINE)
        if found is not None:
            return found.group(1)
        time.sleep(0.1)
    raise SystemExit("make run does not serve")


if __name__ == "__main__":
    main(*sys.argv[1:])
