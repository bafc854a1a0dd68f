"""Logs that are not the front end's: the standard library's `logging`, and twistd's file."""

from __future__ import annotations

import logging
import os
import re

from twisted.logger import LogPublisher
from twisted.python.logfile import BaseLogFile

from zkservice.errors import ConfigurationError


def configure_loggers(text: str) -> None:
    """Configure `logging`.

    Args:
        text: a level's name; or a ZConfig text, in which ``$$(`` is ``%(``; or the path of
            a file with one.

    Raises:
        ConfigurationError: it is none of these.
    """
    if not text:
        return
    if os.path.isfile(text):
        with open(text, encoding="utf-8") as file:
            text = file.read()
    if not re.search(r"[<%\n]", text):  # ZConfig text has sections or directives
        level = logging.getLevelName(text.strip().upper())
        if not isinstance(level, int):
            raise ConfigurationError(
                f"loggers = {text!r} is no level such as INFO, no file and no ZConfig text"
            )
        logging.basicConfig()
        logging.getLogger().setLevel(level)  # pserve may have configured it before
        return
    try:
        from ZConfig import ConfigurationError as ZConfigError
        from ZConfig import configureLoggers
    except ImportError:
        raise ConfigurationError(
            "loggers is a ZConfig text, which needs ZConfig: pip install 'zkservice[paste]'"
        ) from None
    try:
        configureLoggers(text.replace("$$(", "%("))
    except ZConfigError as error:
        raise ConfigurationError(f"loggers: {error}") from None


def reopen_log_files(publisher: LogPublisher) -> None:
    """Have the log files of a publisher opened again, after they were moved away.

    twistd keeps its `BaseLogFile` to itself: it hangs on an observer of the publisher.
    """
    for observer in getattr(publisher, "_observers", ()):
        file = getattr(observer, "_outFile", None)
        if isinstance(file, BaseLogFile):
            file.reopen()
