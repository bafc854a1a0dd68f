"""A program that ``twistd zkregister`` runs in tests: an HTTP server that tells what it is sent.

Its arguments are a port, and a folder: it is ill while the folder has a file ``ill``, and writes
the signals that it gets to the file ``signals`` there, one a line with the time.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import FrameType
from typing import Any

#: What it exits with after SIGTERM.
CODE = 7


class Handler(BaseHTTPRequestHandler):
    """Says whether it is ill."""

    def __init__(self, folder: str, *arguments: Any) -> None:
        self.ill = os.path.join(folder, "ill")
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """The health."""
        self.send_response(503 if os.path.exists(self.ill) else 200)
        self.end_headers()


def note(folder: str, number: int, frame: FrameType | None) -> None:
    """Write a signal down; SIGTERM ends the program."""
    with open(os.path.join(folder, "signals"), "a") as file:
        file.write(f"{signal.Signals(number).name} {time.time()}\n")
    if number == signal.SIGTERM:
        sys.exit(CODE)


def main(port: str, folder: str) -> None:
    """Serve until a signal ends it."""
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, partial(note, folder))
    print(f"the command is process {os.getpid()} in group {os.getpgrp()}", flush=True)
    HTTPServer(("127.0.0.1", int(port)), partial(Handler, folder)).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
