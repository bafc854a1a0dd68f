"""How this program was started, so that an upgrade can start it again."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.logger import Logger

__all__ = ["PidFile", "Program", "as_upgrade", "logical_directory", "this_program"]


class PidFile:
    """twistd's pid file, which twistd removes at the end of the process.

    Args:
        options: twistd's options with ``pidfile``; None if this process is not twistd.
    """

    _log = Logger()

    def __init__(self, options: MutableMapping[str, Any] | None = None) -> None:
        self._options: MutableMapping[str, Any] = {} if options is None else options

    @property
    def path(self) -> str:
        """The file's path; "" if there is none."""
        return self._options.get("pidfile") or ""

    def leave(self) -> None:
        """Keep twistd from removing the file: it names another process from now on."""
        self._options["pidfile"] = ""

    def take(self, path: str) -> None:
        """Write the id of this process into the file."""
        if not path:
            return
        self._options["pidfile"] = path
        try:
            with open(path, "w") as file:
                file.write(str(os.getpid()))
        except OSError as error:
            self._log.warn(
                "cannot write the pid file {path}: {reason}; it still names the previous program",
                path=path,
                reason=error.strerror,
            )


@dataclass(frozen=True)
class Program:
    """A command, the directory in which it was started, and its pid file."""

    arguments: Sequence[str] = ()
    directory: str = "."
    pidfile: PidFile = field(default_factory=PidFile)


def this_program(options: MutableMapping[str, Any] | None = None) -> Program:
    """How this process was started.  Call it before the process changes its directory.

    Args:
        options: twistd's options, if this process is twistd.
    """
    # Not the resolved path of the interpreter: an upgrade must follow a link to a new environment.
    arguments = [sys.executable, *sys.orig_argv[1:]] if sys.executable else []
    return Program(arguments, logical_directory(os.environ), PidFile(options))


def logical_directory(environ: Mapping[str, str]) -> str:
    """The current directory as the shell or systemd named it.

    If ``/srv/app/current`` is a link to a release, the kernel knows only the release in which the
    process started.  An upgrade must start in the release that the link leads to by then.
    """
    actual = os.getcwd()
    named = environ.get("PWD", "")
    try:
        if os.path.isabs(named) and os.path.samefile(named, actual):
            return named
    except OSError:
        pass
    return actual


def as_upgrade(options: MutableMapping[str, Any]) -> None:
    """Change the options of a twistd that takes over from another one, with the same command line.

    The new process inherits what the old one did at its start: it is a daemon without a terminal,
    and has given up its privileges.  The pid file belongs to the old process until it hands over.
    """
    if "nodaemon" not in options:  # this process is not twistd
        return
    if not options["nodaemon"] and not options.get("logfile"):
        options["logfile"] = "twistd.log"  # the default for daemons
    options.update(nodaemon=True, pidfile="", uid=None, gid=None, chroot=None)
