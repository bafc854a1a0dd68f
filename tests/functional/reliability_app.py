"""A Flask application that can be made ill, and that does what an application should not."""

from __future__ import annotations

import os
import threading
import time
from collections import deque

from flask import Flask, request

application = Flask(__name__)

#: How many more times it says that it is ill.
_ill: deque[None] = deque()
_FOR_GOOD = 1_000_000
#: How many times it has said that it is well since it was told how to be.
_well: deque[None] = deque()


@application.get("/")
def index() -> str:
    """Answer at once."""
    return f"{os.getpid()}\n"


@application.get("/health")
def health() -> tuple[str, int]:
    """Say how it is."""
    try:
        _ill.pop()
    except IndexError:
        _well.append(None)
        return ("well\n", 200)
    return ("ill\n", 503)


@application.post("/health/<state>")
def set_health(state: str) -> str:
    """Be ``well`` from now on, or ``ill``: for good, or for as many ``answers``."""
    _ill.clear()
    _well.clear()
    if state == "ill":
        _ill.extend([None] * request.args.get("answers", default=_FOR_GOOD, type=int))
    return state


@application.get("/health/well")
def well() -> str:
    """How many times it has said that it is well since it was told how to be."""
    return str(len(_well))


@application.get("/hang")
def hang() -> str:
    """Keep a worker thread busy until a file is there."""
    until = time.monotonic() + 600.0
    while not os.path.exists(request.args["until"]) and time.monotonic() < until:
        time.sleep(0.02)
    return "at last\n"


@application.get("/raise")
def fail() -> str:
    """Fail without a word."""
    raise ValueError("as it was asked to")


@application.get("/leak")
def leak() -> str:
    """Leave a thread behind that keeps an ordinary process alive."""
    threading.Thread(target=time.sleep, args=(600.0,), daemon=False).start()
    return f"{threading.active_count()}\n"
