"""Find the WSGI application that a user names."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from zkservice.errors import ApplicationLoadError
from zkservice.service.dotted import can_be_called

Application = Callable[..., Any]

_MODULE_HINT: Final = "; a module's application is written module:callable"


def absolute_spec(spec: str) -> str:
    """The same application, named so that it is found after a change of directory too."""
    if _is_paste(spec):
        file, mark, name = spec.removeprefix("config:").partition("#")
        return f"config:{os.path.abspath(file)}{mark}{name}"
    if _is_module(spec):
        return spec
    return os.path.abspath(spec)


def check_application(spec: str) -> None:
    """Refuse what certainly cannot be loaded, without loading anything.

    Raises:
        ApplicationLoadError: with one line that names it.
    """
    if _is_module(spec) and not _is_paste(spec):
        module, _, name = spec.partition(":")
        if not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
            raise ApplicationLoadError(
                f"{spec!r} is no application; write file.wsgi, module:callable or config:file.ini"
            )
        return
    file = spec.removeprefix("config:").partition("#")[0] if _is_paste(spec) else spec
    if not os.path.isfile(file):
        kind = "is a folder" if os.path.isdir(file) else "does not exist"
        hint = "" if _is_paste(spec) or "." in os.path.basename(file) else _MODULE_HINT
        raise ApplicationLoadError(f"the application file {file} {kind}{hint}")


def load_application(spec: str) -> Application:
    """Load ``file.wsgi`` (its global ``application``), ``module:callable`` or ``config:file.ini``.

    Raises:
        ApplicationLoadError: with one line that says what is wrong, and where.
    """
    check_application(spec)
    if _is_paste(spec):
        return _from_paste(spec)
    if _is_module(spec):
        return _from_module(spec)
    return _from_file(spec)


def _is_paste(spec: str) -> bool:
    return spec.startswith("config:")


def _is_module(spec: str) -> bool:
    return ":" in spec and "/" not in spec and not os.path.exists(spec)


def _from_file(path: str) -> Application:
    _importable(os.path.dirname(path))
    module = ModuleType(os.path.splitext(os.path.basename(path))[0])
    module.__file__ = path
    try:
        with open(path, "rb") as source:
            exec(compile(source.read(), path, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        raise ApplicationLoadError(_explain(path, error)) from error
    if not hasattr(module, "application"):
        raise ApplicationLoadError(
            f"{path} has no global named 'application'; "
            f"if it has another name, write module:name{_called_app(module)}"
        )
    return _callable(path, module.application, "application")


def _called_app(module: ModuleType) -> str:
    """What Flask's users have."""
    app = callable(getattr(module, "app", None)) and module.__name__.isidentifier()
    return f", here {module.__name__}:app" if app else ""


def _from_module(spec: str) -> Application:
    name, _, attributes = spec.partition(":")
    _importable(os.getcwd())
    try:
        found: Any = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise ApplicationLoadError(_explain(spec, error)) from error
    for attribute in attributes.split("."):
        found = getattr(found, attribute, None)
    return _callable(spec, found, attributes)


def _from_paste(spec: str) -> Application:
    try:
        from paste.deploy import loadapp
    except ImportError:
        raise ApplicationLoadError(
            f"{spec}: PasteDeploy is not installed; pip install 'zkservice[paste]'"
        ) from None
    _importable(os.path.dirname(spec.removeprefix("config:").partition("#")[0]))
    try:
        return _callable(spec, loadapp(spec), "the application")
    except (Exception, SystemExit) as error:
        if isinstance(error, ApplicationLoadError):
            raise
        raise ApplicationLoadError(_explain(spec, error)) from error


def _importable(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _callable(spec: str, found: Any, name: str) -> Application:
    if found is None:
        raise ApplicationLoadError(f"{spec} has no {name!r}")
    if not callable(found):
        kind = type(found).__name__
        raise ApplicationLoadError(f"{name!r} of {spec} is no callable, its type is {kind}")
    if not takes_requests(found):
        raise ApplicationLoadError(
            f"{name!r} of {spec} does not take (environ, start_response), as WSGI has it; "
            "if it makes the application, call it in a .wsgi file: application = create_app()"
        )
    answer: Application = found
    return answer


def takes_requests(found: Application) -> bool:
    """Whether it can be called as WSGI calls it, as far as can be seen from outside."""
    return can_be_called(found, {}, None)


def _explain(spec: str, error: BaseException) -> str:
    """One line: what happened, and the innermost place that is not the import machinery."""
    what = f"{type(error).__name__}: {error}".split("\n")[0]
    if isinstance(error, SyntaxError):
        return f"{spec} could not be loaded: {what}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and "importlib" not in frame.filename
    ]
    if not frames:
        return f"{spec} could not be loaded: {what}"
    return f"{spec} could not be loaded: {what} ({frames[-1].filename}, line {frames[-1].lineno})"
