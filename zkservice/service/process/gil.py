"""Whether threads of this process share a GIL, and what turned it on.

Only a free-threaded Python can be without.  There, importing an extension module that does not
declare that it runs without the GIL turns it on, for the whole process and for good.
"""

from __future__ import annotations

import re
import sys
import sysconfig
import warnings
from collections.abc import Callable
from typing import Any, Final, TypeVar

__all__ = ["GilReport", "gil_enabled"]

T = TypeVar("T")

#: The warning of Python (import.c) when a module turns the GIL on.
_TURNED_ON: Final = re.compile(r"\(GIL\) has been enabled to load module '([^']+)'")


def gil_enabled() -> bool:
    """Whether threads take turns: not in a free-threaded Python."""
    enabled = getattr(sys, "_is_gil_enabled", None)  # since 3.13
    return enabled is None or bool(enabled())


class GilReport:
    """Learns which module turns the GIL on while an application is loaded.

    Args:
        free_threaded: whether this Python can be without a GIL; None: find out.
    """

    def __init__(self, free_threaded: bool | None = None) -> None:
        if free_threaded is None:
            free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
        self._free_threaded = free_threaded
        self._module: str | None = None

    def watch(self, load: Callable[[], T]) -> T:
        """Call ``load``; remember the module that turns the GIL on meanwhile."""
        if not self._free_threaded:
            return load()
        show = warnings.showwarning

        def remember_module(message: Warning | str, *args: Any, **options: Any) -> None:
            found = _TURNED_ON.search(str(message))
            if found and self._module is None:
                self._module = found[1]
            show(message, *args, **options)

        warnings.showwarning = remember_module
        try:
            return load()
        finally:
            warnings.showwarning = show

    def line(self) -> str | None:
        """What to log; None if this Python always has a GIL."""
        if not self._free_threaded:
            return None
        if not gil_enabled():
            return "the GIL is off: worker threads run in parallel"
        if getattr(sys.flags, "gil", None):
            why = "PYTHON_GIL=1 or -X gil=1 turned it on"
        else:
            module = repr(self._module) if self._module else "which was imported early,"
            why = (
                f"the extension module {module} turned it on, because it does not declare that it "
                "runs without (PYTHON_GIL=0 keeps it off, at your own risk)"
            )
        return f"the GIL is on, worker threads take turns: {why}"
