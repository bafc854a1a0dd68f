"""A Flask application that can be made ill, and that does what an application should not."""

from __future__ import annotations

import os
import threading
import time

from flask import Flask, request

application = Flask(__name__)
_ill = threading.Event()


@application.get("/")
def index() -> str:
    """Answer at once."""
    return f"{os.getpid()}\n"


@application.get("/health")
def health() -> tuple[str, int]:
    """Say how it is."""
    return ("ill\n", 503) if _ill.is_set() else ("well\n", 200)


@application.post("/health/<state>")
def set_health(state: str) -> str:
    """Be ``well`` or ``ill`` from now on."""
    if state == "ill":
        _ill.set()
    else:
        _ill.clear()
    return state


@application.get("/hang")
def hang() -> str:
    """Keep a worker thread busy for as long as the query says."""
    time.sleep(min(request.args.get("seconds", default=1.0, type=float), 60.0))
    return "at last\n"


@application.get("/raise")
def fail() -> str:
    """Fail without a word."""
    raise ValueError("as it was asked to")


@application.get("/leak")
def leak() -> str:
    """Leave a thread behind that keeps an ordinary process alive."""
    threading.Thread(target=time.sleep, args=(60.0,), daemon=False).start()
    return f"{threading.active_count()}\n"
