"""How this program was started, so that another one can be started in its place."""

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
        options: twistd's, where ``pidfile`` is; None if twistd does not run this process.
    """

    _log = Logger()

    def __init__(self, options: MutableMapping[str, Any] | None = None) -> None:
        self._options: MutableMapping[str, Any] = {} if options is None else options

    @property
    def path(self) -> str:
        """Where it is; blank if there is none."""
        return self._options.get("pidfile") or ""

    def leave(self) -> None:
        """Do not remove it: it is another process's from now on."""
        self._options["pidfile"] = ""

    def take(self, path: str) -> None:
        """Name this process in the file."""
        if not path:
            return
        self._options["pidfile"] = path
        try:
            with open(path, "w") as file:
                file.write(str(os.getpid()))
        except OSError as error:
            self._log.warn(
                "cannot write the pid file {path}: {reason}; it names the program before",
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
    """How this process was started; to be called before it changes its directory.

    Args:
        options: of twistd, if it runs this process.
    """
    # The interpreter's path as it was found, so that a link to a new environment is followed.
    arguments = [sys.executable, *sys.orig_argv[1:]] if sys.executable else []
    return Program(arguments, logical_directory(os.environ), PidFile(options))


def logical_directory(environ: Mapping[str, str]) -> str:
    """The current directory as the shell or systemd named it.

    With ``/srv/app/current`` a link to a release, the kernel knows only the release that was
    current when the process started; the next program is to start in the one that is current then.
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

    The process before has left the terminal, the root directory and the privileges; its pid file
    stays its own until it hands over.
    """
    if "nodaemon" not in options:  # it is not twistd
        return
    if not options["nodaemon"] and not options.get("logfile"):
        options["logfile"] = "twistd.log"  # what it is for daemons
    options.update(nodaemon=True, pidfile="", uid=None, gid=None, chroot=None)
