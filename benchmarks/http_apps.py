"""The applications that every server of the benchmark runs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

__all__ = ["APPLICATIONS"]

_HELLO = b"Hello, world!\n"
_DOCUMENT = json.dumps([{"id": n, "name": f"item {n}", "ok": True} for n in range(240)]).encode()
_PIECE = b"x" * 16384


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with 14 bytes of text."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "14")])
    return [_HELLO]


def document(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with about 10 KB of JSON."""
    length = str(len(_DOCUMENT))
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", length)])
    return [_DOCUMENT]


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with the request's body."""
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    headers = [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


def stream(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with 1 MiB in 64 pieces, without saying its length."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return _pieces()


def _pieces() -> Iterator[bytes]:
    for _ in range(64):
        yield _PIECE


def sleep(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer after 10 ms, as if a database had been asked."""
    time.sleep(0.01)
    return hello(environ, start_response)


def process(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with the number of the process."""
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def compute(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer after 5 ms of the thread's own processor time."""
    end = time.thread_time() + 0.005
    while time.thread_time() < end:
        sum(range(500))
    return hello(environ, start_response)


def both(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer to ``/large`` with 100 MB in blocks, to all else as ``hello``."""
    if environ["PATH_INFO"] != "/large":
        return hello(environ, start_response)
    start_response("200 OK", [("Content-Length", "100000000")])
    return (b"x" * 50_000 for _ in range(2000))


APPLICATIONS: dict[str, Callable[..., Iterable[bytes]]] = {
    "hello": hello,
    "document": document,
    "echo": echo,
    "stream": stream,
    "sleep": sleep,
    "compute": compute,
    "process": process,
    "both": both,
}
