"""Callables by their dotted names, and what they take."""

from __future__ import annotations

import inspect
import os
import sys
from typing import Any

from twisted.python.reflect import namedAny

from zkservice.errors import ConfigurationError


def load_callable(name: str, what: str) -> Any:
    """What a dotted name leads to; modules in the current folder are found, too.

    Args:
        name: ``package.module.callable``.
        what: what it is to be, for messages: ``the view``.

    Raises:
        ConfigurationError: it cannot be imported, or is no callable.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = namedAny(name)
    except Exception as error:  # noqa: BLE001 - it is not our code
        problem = str(error).split("\n")[0] or type(error).__name__
        raise ConfigurationError(f"{what} cannot be loaded: {problem}") from None
    if not callable(found):
        raise ConfigurationError(f"{what} is no callable")
    return found


def can_be_called(found: Any, *arguments: Any) -> bool:
    """Whether a callable takes these arguments, as far as can be seen from outside."""
    try:
        inspect.signature(found).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # something in C that does not tell
        return True
    return True
