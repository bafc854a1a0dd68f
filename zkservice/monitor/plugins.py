"""Commands that are registered with zope.component, as in zc.monitor.

A plugin is called with an output and words, and writes its reply to the output.  It may return one
of the markers below.  zc.monitor cannot be imported since ``async`` is a keyword of Python, so its
interface and its markers are defined here, too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

from zope.interface import Interface

from zkservice.monitor.replies import Command, MoreLines

__all__ = ["INTERACTIVE_MARKER", "MORE_MARKER", "QUIT_MARKER", "IMonitorPlugin", "utility_commands"]

#: Returned by a plugin.  Only `MORE_MARKER` has an effect: the plugin receives the next line.
INTERACTIVE_MARKER: Final = object()
QUIT_MARKER: Final = object()
MORE_MARKER: Final = object()

#: Characters that a plugin may write for one reply.
_MAX_OUTPUT: Final = 1 << 20


class IMonitorPlugin(Interface):
    """A monitor command: a utility that is registered under the command's name."""

    def __call__(output: Any, *words: str) -> object:  # noqa: N805 - an interface has no self
        """Write the reply to ``output``, which has a method ``write``."""


class _CollectedOutput:
    """The output of a plugin."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._room = _MAX_OUTPUT  # characters that may still be written

    def write(self, text: object) -> None:
        """Add text; what exceeds the limit is dropped."""
        part = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
        part = part[: self._room]
        self._room -= len(part)
        self._parts.append(part)

    @property
    def text(self) -> str:
        """The text that was written."""
        return "".join(self._parts)


def utility_commands() -> dict[str, Command]:
    """The commands that are registered with zope.component at this moment.

    zope.component is not imported here: a program that has registered plugins has imported it.
    """
    component: Any = sys.modules.get("zope.component")
    if component is None:
        return {}
    found: dict[str, Command] = {}
    for interface in _interfaces():
        for name, plugin in component.getUtilitiesFor(interface):
            if name.split() == [name]:  # a user could not write any other name
                found[name] = _command(plugin)
    return found


def _interfaces() -> Iterator[Any]:
    yield IMonitorPlugin
    original = sys.modules.get("zc.monitor.interfaces")  # of a zc.monitor that was ported
    if original is not None:
        yield original.IMonitorPlugin


def _command(plugin: Any) -> Command:
    def command(words: list[str]) -> str | MoreLines:
        return _call(plugin, words)

    command.__doc__ = plugin.__doc__
    return command


def _call(plugin: Any, words: list[str]) -> str | MoreLines:
    output = _CollectedOutput()
    marker = plugin(output, *words)
    if marker in _more_markers():
        return MoreLines(output.text, lambda line: _call(plugin, line.split()))
    return output.text


def _more_markers() -> list[object]:
    original = sys.modules.get("zc.monitor")
    return [MORE_MARKER, getattr(original, "MORE_MARKER", MORE_MARKER)]
