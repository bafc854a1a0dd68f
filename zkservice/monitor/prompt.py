"""The Python prompt of a manhole and its limits, for telnet and SSH."""

from __future__ import annotations

import os
from collections.abc import Mapping
from inspect import getdoc
from typing import Any, Final

from twisted.conch.manhole import ColoredManhole
from typing_extensions import override

#: The most connections of a manhole.
MAX_CONNECTIONS: Final = 32
#: Seconds to log in.
LOGIN_TIMEOUT: Final = 60.0


class Prompt(ColoredManhole):
    """A Python prompt that begins with a banner."""

    def __init__(self, namespace: Mapping[str, Any], banner: str = "") -> None:
        super().__init__(dict(namespace))
        self._banner = banner

    @override
    def initializeScreen(self) -> None:
        self.terminal.reset()
        for line in self._banner.splitlines():
            self.terminal.write(line.encode())
            self.terminal.nextLine()
        self.terminal.write(self.ps[self.pn])
        self.setInsertMode()


def banner_of(namespace: Mapping[str, Any]) -> str:
    """Tell the user which process this is, and which names the prompt knows."""
    lines = [f"Python prompt inside process {os.getpid()}.  Ctrl-D leaves.  Names:"]
    for name, value in sorted(namespace.items()):
        about = (getdoc(type(value)) or "").partition("\n")[0]
        lines.append(f"  {name}: {type(value).__name__}.  {about}")
    return "\n".join(lines)
