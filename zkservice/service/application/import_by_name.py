"""Import callables by their dotted names, and check what they accept."""

from __future__ import annotations

import inspect
import os
import sys
from typing import Any

from twisted.python.reflect import namedAny

from zkservice.errors import ConfigurationError


def load_callable(name: str, what: str) -> Any:
    """Import a callable; modules in the current directory are found, too.

    Args:
        name: ``package.module.callable``.
        what: describes it in messages: ``the view``.

    Raises:
        ConfigurationError: it cannot be imported, or is not callable.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = namedAny(name)
    except Exception as error:  # noqa: BLE001 - it is the user's code
        problem = str(error).split("\n")[0] or type(error).__name__
        raise ConfigurationError(f"{what} cannot be loaded: {problem}") from None
    if not callable(found):
        raise ConfigurationError(f"{what} is not callable")
    return found


def wsgi_problem(found: Any) -> str:
    """Return why an object is not a WSGI callable, judging by its signature; "" if it is one.

    The text continues a sentence that begins with the object's name.
    """
    if _is_asgi(found):
        return (
            "is an ASGI application, but zkserve serves WSGI; wrap it "
            "(application = a2wsgi.ASGIMiddleware(app)) or run it with an ASGI server, "
            "such as uvicorn"
        )
    if _is_async(found):
        return "is a coroutine function, which WSGI does not await; make it a plain function"
    if not accepts(found, {}, None):
        return "does not take (environ, start_response), as WSGI requires"
    return ""


def _is_asgi(found: Any) -> bool:
    """Whether it takes (scope, receive, send), as in ASGI 3, or (scope), as in ASGI 2."""
    try:
        names = tuple(inspect.signature(found).parameters)
    except (TypeError, ValueError):  # a builtin without a signature
        return False
    if names in (("scope", "receive", "send"), ("scope",)):
        return True
    return _is_async(found) and accepts(found, {}, None, None)


def _is_async(found: Any) -> bool:
    """Whether calling it returns a coroutine or an asynchronous generator."""
    calls = (found, type(found).__call__)
    return any(
        inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each) for each in calls
    )


def accepts(found: Any, *arguments: Any) -> bool:
    """Whether a callable accepts these arguments, judging by its signature."""
    try:
        inspect.signature(found).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        return True
    return True
