"""The code that a worker of ``--reload`` has loaded, or could not load."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from twisted.logger import Logger

from zkservice.service.application.error_page import (
    error_page,
    files_of_error,
    loaded_files,
    text_of_error,
)
from zkservice.service.application.load import Application, files_of, load_application
from zkservice.service.application.server import ApplicationServer
from zkservice.service.config import Config
from zkservice.supervisor import expand, stamp_of

__all__ = ["LoadedCode"]

#: Seconds for which a draining worker, which has the old code, still serves idle connections.  A
#: request that arrives so soon was sent before the change: nobody saves a file and reloads a page
#: in that time.
_DRAIN_LINGER: Final = 0.1
#: Makes an application server from a configuration and a function that loads the application.
Serve = Callable[[Config, Callable[[], Application]], ApplicationServer]


class LoadedCode:
    """The files of an application, for a parent that watches them.

    The parent hears of a file some time after the file was loaded.  So this process notes how the
    files are before it serves: a change from then on is noticed, however late the parent asks.

    Args:
        spec: the application, as `Config` has it.
    """

    _log = Logger()

    def __init__(self, spec: str) -> None:
        self._files = files_of(spec)
        self._stamps: dict[str, str | None] = {}
        self._patterns: dict[str, list[str]] = {}

    def files(self, known: int) -> dict[str, Any] | None:
        """The files to watch, with their stamps; None if there are no new modules.

        Args:
            known: the number of modules that the parent knows already.
        """
        count = len(sys.modules)
        if count == known:
            return None
        self._note_stamps()
        return {"count": count, "files": self._stamps, "patterns": self._patterns}

    def serve(self, config: Config, serve: Serve, problem: str) -> ApplicationServer:
        """Serve the application, or an error page if it cannot be loaded.

        Args:
            config: the worker's configuration.
            serve: makes the application server.
            problem: why loading would fail again, for the error page; "" to try it.
        """
        limits = replace(config.front_end.limits, drain_linger=_DRAIN_LINGER)
        config = replace(config, front_end=replace(config.front_end, limits=limits))
        try:
            if problem:
                return self._serve_error_page(config, serve, problem, "")
            return self._load(config, serve)
        finally:
            self._note_stamps()

    def _load(self, config: Config, serve: Serve) -> ApplicationServer:
        try:
            return serve(config, lambda: load_application(config.application))
        except Exception as error:  # noqa: BLE001 - an application may raise anything
            text = text_of_error(error)
            self._log.error("{reason}\n{stack}", reason=str(error), stack=text)
            self._files += files_of_error(error)
            patterns = self._where_modules_may_appear()
            self._patterns = {pattern: expand(pattern) for pattern in patterns}
            return self._serve_error_page(config, serve, str(error), text)

    def _serve_error_page(
        self, config: Config, serve: Serve, title: str, text: str
    ) -> ApplicationServer:
        # Without the user's views, whose modules may be what cannot be loaded.
        without_views = replace(config, front_end=replace(config.front_end, views=()))
        return serve(without_views, lambda: error_page(title, text))

    def _note_stamps(self) -> None:
        """Note the stamps of files that are not known yet."""
        found = [path for paths in self._patterns.values() for path in paths]
        for path in (*self._files, *loaded_files(), *found):
            if path not in self._stamps:
                self._stamps[path] = stamp_of(path)

    def _where_modules_may_appear(self) -> list[str]:
        """Globs of modules and packages that may be missing, beside those that need them."""
        folders = {os.getcwd(), *(os.path.dirname(path) for path in self._files)}
        return [
            os.path.join(folder, name)
            for folder in sorted(folders)
            for name in ("*.py", os.path.join("*", "__init__.py"))
        ]
