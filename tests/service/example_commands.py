"""Commands for the monitor, as a user would write them, and things that are none."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed

TEXT = "no callable"


def hello(words: list[str]) -> str:
    """Say hello: hello [name]."""
    return f"Hi {' '.join(words) or 'world'}"


def later(words: list[str]) -> Deferred[str]:
    """Say it later."""
    return succeed("later")


def wordless() -> str:
    """No words."""
    return ""
