"""Load the WSGI application that the command line names."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from zkservice.errors import ApplicationLoadError
from zkservice.service.application.import_by_name import accepts, wsgi_problem
from zkservice.service.application.module_spec import Arguments, parse_module_spec

Application = Callable[..., Any]

#: What applications and their factories are called in most modules, and how to name them.
_USUAL_NAMES: Final = (
    ("app", "app"),
    ("application", "application"),
    ("create_app", "create_app()"),
    ("make_app", "make_app()"),
)
_NAME_ONE: Final = "; name a WSGI application or its factory"
_MODULE_HINT: Final = "; a module's application is written module:callable or module:factory()"


def absolute_spec(spec: str) -> str:
    """Return the name of the same application with absolute paths."""
    if _is_paste(spec):
        file, mark, name = spec.removeprefix("config:").partition("#")
        return f"config:{os.path.abspath(file)}{mark}{name}"
    if _is_module(spec):
        return spec
    return os.path.abspath(spec)


def check_application(spec: str) -> None:
    """Refuse an application that certainly cannot be loaded, without loading anything.

    Raises:
        ApplicationLoadError: with one line that names it.
    """
    if _is_module(spec) and not _is_paste(spec):
        parse_module_spec(spec)
        return
    file = spec.removeprefix("config:").partition("#")[0] if _is_paste(spec) else spec
    if not os.path.isfile(file):
        kind = "is a folder" if os.path.isdir(file) else "does not exist"
        hint = "" if _is_paste(spec) or "." in os.path.basename(file) else _MODULE_HINT
        raise ApplicationLoadError(f"the application file {file} {kind}{hint}")


def load_application(spec: str) -> Application:
    """Load an application.

    Args:
        spec: ``file.wsgi`` with a global ``application``, ``module:callable``,
            ``module:factory(...)``, or ``config:file.ini``.

    Raises:
        ApplicationLoadError: one line says what is wrong, and where.
    """
    check_application(spec)
    if _is_paste(spec):
        return _from_paste(spec)
    if _is_module(spec):
        return _from_module(spec)
    return _from_file(spec)


def files_of(spec: str) -> list[str]:
    """The files that loading an application reads, except for modules."""
    if _is_paste(spec):
        return [spec.removeprefix("config:").partition("#")[0]]
    return [] if _is_module(spec) else [spec]


def _is_paste(spec: str) -> bool:
    return spec.startswith("config:")


def _is_module(spec: str) -> bool:
    module, colon, _ = spec.partition(":")  # a factory's arguments may be paths
    return bool(colon) and "/" not in module and not os.path.exists(spec)


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
            f"if it has another name, write module:name{_suggestion(module, ', here {}')}"
        )
    hint = "write application = create_app()"
    return check_callable(path, module.application, "application", hint)


def _suggestion(module: ModuleType, hint: str) -> str:
    """A hint that names the module's application, if that has one of the usual names."""
    if all(part.isidentifier() for part in module.__name__.split(".")):
        for name, written in _USUAL_NAMES:
            if callable(getattr(module, name, None)):
                return hint.format(f"{module.__name__}:{written}")
    return ""


def _from_module(spec: str) -> Application:
    parsed = parse_module_spec(spec)
    _importable(os.getcwd())
    try:
        module = importlib.import_module(parsed.module)
    except (Exception, SystemExit) as error:
        advice = _where_to_start(parsed.module, error)
        raise ApplicationLoadError(f"{_explain(spec, error)}{advice}") from error
    found: Any = module
    for attribute in parsed.attributes:
        found = getattr(found, attribute, None)
    if found is None:
        hint = _suggestion(module, "; did you mean {}?")
        raise ApplicationLoadError(
            f"{spec}: the module {parsed.module} has no {parsed.dotted!r}{hint}"
        )
    if parsed.arguments is None:
        return check_callable(spec, found, parsed.dotted, f"write '{spec}()'")
    return check_callable(spec, _make(spec, found, parsed.arguments), "the application")


def _where_to_start(module: str, error: BaseException) -> str:
    """What to do if there is no such module; "" if it is there and something is wrong in it."""
    outermost = module.partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or error.name != outermost:
        return ""
    here = os.getcwd()
    with contextlib.suppress(OSError):
        names = [name.removesuffix(".py") for name in os.listdir(here)]
        if found := difflib.get_close_matches(outermost, names, 1):
            return f"; did you mean {found[0]!r}?"
    return (
        f"; it is neither in {here} nor installed: start twistd in its directory, or set "
        "twistd's --rundir or PYTHONPATH"
    )


def _make(spec: str, factory: Any, arguments: Arguments) -> Any:
    """Call a factory."""
    try:
        return factory(*arguments.positional, **arguments.keyword)
    except (Exception, SystemExit) as error:
        raise ApplicationLoadError(_explain(spec, error)) from error


def _from_paste(spec: str) -> Application:
    try:
        from paste.deploy import loadapp
    except ImportError:
        raise ApplicationLoadError(
            f"{spec}: PasteDeploy is not installed; pip install 'zkservice[paste]'"
        ) from None
    _importable(os.path.dirname(spec.removeprefix("config:").partition("#")[0]))
    try:
        return check_callable(spec, loadapp(spec), "the application")
    except (Exception, SystemExit) as error:
        if isinstance(error, ApplicationLoadError):
            raise
        raise ApplicationLoadError(_explain(spec, error)) from error


def _importable(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


def check_callable(spec: str, found: Any, name: str, hint: str = "") -> Application:
    """Return an object if it can be called as a WSGI application.

    Args:
        spec: where it was found, for messages.
        found: the object.
        name: its name there.
        hint: what to write if it is a factory.

    Raises:
        ApplicationLoadError: it cannot be called.
    """
    if not callable(found):
        kind = type(found).__name__
        raise ApplicationLoadError(
            f"{name!r} of {spec} is not callable, its type is {kind}{_NAME_ONE}"
        )
    if problem := wsgi_problem(found):
        makes = hint and accepts(found)
        advice = f"; if it makes the application, {hint}" if makes else ""
        raise ApplicationLoadError(f"{name!r} of {spec} {problem}{advice}")
    application: Application = found
    return application


def _explain(spec: str, error: BaseException) -> str:
    """One line: the error, and the innermost line of code outside the import machinery."""
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
