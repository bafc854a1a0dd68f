"""The Python prompt of a manhole and its limits, for telnet and SSH."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Mapping
from inspect import getdoc
from typing import Any, Final

from twisted.conch.manhole import ColoredManhole
from twisted.python.compat import iterbytes
from typing_extensions import override

#: The most connections of a manhole.
MAX_CONNECTIONS: Final = 32
#: Seconds to log in.
LOGIN_TIMEOUT: Final = 60.0
#: Names that Tab lists.
_MAX_LISTED: Final = 100

#: The name before the cursor, with dots.
_NAME: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*\.?$")


class Prompt(ColoredManhole):
    """A Python prompt that begins with a banner."""

    def __init__(self, namespace: Mapping[str, Any], banner: str = "") -> None:
        super().__init__(dict(namespace))
        self._banner = banner

    def handle_TAB(self) -> None:  # noqa: N802 - Twisted's name
        """Complete the name before the cursor; list the candidates if there are several.

        Without a name, Tab indents.
        """
        before = b"".join(self.lineBuffer[: self.lineBufferIndex]).decode("utf-8", "replace")
        name = _NAME.search(before)
        if name is None:
            super().handle_TAB()
            return
        found = completions(name[0], self.interpreter.locals)
        common = _common_beginning(found) or name[0]
        for byte in iterbytes(common[len(name[0]) :].encode()):
            self.characterReceived(byte, False)
        if len(found) > 1 and common == name[0]:
            self._list(found)

    def _list(self, names: list[str]) -> None:
        """Show names below the line, and the line again."""
        more = f"  ... and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
        self.terminal.nextLine()
        self.terminal.write("  ".join(names[:_MAX_LISTED]).encode() + more.encode())
        self.terminal.nextLine()
        self.drawInputLine()

    @override
    def initializeScreen(self) -> None:
        self.terminal.reset()
        for line in self._banner.splitlines():
            self.terminal.write(line.encode())
            self.terminal.nextLine()
        self.terminal.write(self.ps[self.pn])
        self.setInsertMode()


def _common_beginning(names: list[str]) -> str:
    """The longest common prefix of the names; "" without names."""
    if not names:
        return ""
    first, last = min(names), max(names)  # their common prefix is that of all names
    for at, letter in enumerate(first):
        if letter != last[at : at + 1]:
            return first[:at]
    return first


def completions(name: str, namespace: Mapping[str, Any]) -> list[str]:
    """The names with this prefix, in the namespace or of the object before the last dot.

    Looking them up calls no property.
    """
    owner, dot, beginning = name.rpartition(".")
    if not dot:
        return sorted(each for each in namespace if each.startswith(name))
    first, *rest = owner.split(".")
    found = namespace.get(first)
    for each in rest:
        found = inspect.getattr_static(found, each, None)
        if isinstance(found, property):
            return []
    if found is None:
        return []
    hidden = beginning.startswith("_")
    names = {each for each in dir(found) if each.startswith(beginning)}
    return sorted(f"{owner}.{each}" for each in names if hidden or not each.startswith("_"))


def banner_of(namespace: Mapping[str, Any]) -> str:
    """The text that names the process and the objects in the prompt."""
    lines = [f"Python prompt inside process {os.getpid()}.  Ctrl-D leaves, Tab completes.  Names:"]
    for name, value in sorted(namespace.items()):
        about = (getdoc(type(value)) or "").partition("\n")[0]
        lines.append(f"  {name}: {type(value).__name__}.  {about}")
    return "\n".join(lines)
