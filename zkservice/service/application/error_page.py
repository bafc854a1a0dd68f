"""The page that a worker of ``--reload`` serves if it cannot load the application."""

from __future__ import annotations

import html
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from zkservice.service.application import import_by_name, load

__all__ = ["error_page", "files_of_error", "loaded_files", "text_of_error"]

#: Our frames at the top of a traceback, which lead to the application's code.
_OUR_FILES = (load.__file__, import_by_name.__file__)

_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font-family: sans-serif; margin: 2em; color: #222; background: #fff; }}
pre {{ padding: 1em; background: #f4f4f4; overflow-x: auto; }}
</style>
<h1>The application cannot be loaded</h1>
<p>{title}</p>
<pre>{text}</pre>
<p>It is loaded again when a file changes.</p>
</html>
"""


def error_page(title: str, text: str) -> Callable[..., list[bytes]]:
    """A WSGI application that shows an error, with status 500.

    Args:
        title: one line.
        text: the traceback.
    """
    body = _PAGE.format(title=html.escape(title), text=html.escape(text)).encode(
        "utf-8", "backslashreplace"
    )
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    ]

    def page(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("500 Internal Server Error", headers)
        return [body]

    return page


def text_of_error(error: BaseException) -> str:
    """The traceback of an error, without our own frames."""
    shown = traceback.TracebackException.from_exception(_origin(error))
    frames = [frame for frame in shown.stack if _is_users(frame.filename)]
    shown.stack = traceback.StackSummary.from_list(frames)
    return "".join(shown.format())


def files_of_error(error: BaseException) -> list[str]:
    """The files of an error's traceback.

    A module that cannot be imported is not in `loaded_files`, but must be watched, too.
    """
    found = []
    for each in _chain(_origin(error)):
        frames = traceback.extract_tb(each.__traceback__)
        found += [frame.filename for frame in frames if _is_users(frame.filename)]
        if isinstance(each, SyntaxError) and each.filename:
            found.append(each.filename)
    return [os.path.abspath(path) for path in dict.fromkeys(found) if os.path.isfile(path)]


def loaded_files() -> list[str]:
    """The files of all modules that this process has imported."""
    modules = list(sys.modules.values())
    found = [getattr(module, "__file__", None) for module in modules]
    return [os.path.abspath(path) for path in found if isinstance(path, str)]


def _origin(error: BaseException) -> BaseException:
    """The error of the application's code, if ``error`` is our own error about it."""
    return error.__cause__ or error.__context__ or error


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _is_users(filename: str) -> bool:
    return filename not in _OUR_FILES and not filename.startswith("<frozen importlib")
