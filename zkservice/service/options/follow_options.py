"""The options of ``twistd zkfollow``: its own rows, and rows of zkserve's table."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from dataclasses import replace
from typing import Any, Final

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    textFileLogObserver,
)
from twisted.python.usage import UsageError
from typing_extensions import override

from zkservice.formats.consumers import CONSUMERS
from zkservice.service.options.follow_config import (
    FollowConfig,
    follow_config,
    read_followed,
    read_output,
)
from zkservice.service.options.option_table import (
    FLAG,
    Kind,
    Option,
    OptionTable,
    milliseconds,
)
from zkservice.service.options.rows import zookeeper
from zkservice.service.options.twistd_options import CONFIGURATION, TableOptions, config_row

__all__ = ["OPTIONS", "Options"]

_WHAT: Final = "What goes where"
_SCRIPTS: Final = "For scripts"
#: What differs from zkserve's rows about ZooKeeper, by the names of the options.
_CHANGES: Final[dict[str, dict[str, Any]]] = {
    "zookeeper": {
        "default_text": "$ZC_ZK_CONNECTION_STRING",
        "help": "HOST:PORT,.../CHROOT.",
        "manual": "``host1:2181,host2:2181/chroot``",
    },
    "session-timeout": {
        "help": "Milliseconds without an answer after which a server is given up.",
        "manual": (
            "milliseconds after which ZooKeeper gives up a silent session; a server that does not "
            "answer is given up after two thirds of it"
        ),
    },
}


OPTIONS: Final = OptionTable(
    (
        Option(
            "path",
            _WHAT,
            "The znode below which a service is registered; NAME=PATH for a name that differs from "
            "the last part of the path.",
            Kind(read_followed, "PATH"),
            repeatable=True,
            short="p",
            manual=(
                "the znode below which a service is registered; ``NAME=PATH`` for a name that "
                "differs from the last part of the path"
            ),
            example="shop=/svc/shop",
        ),
        Option(
            "to",
            _WHAT,
            f"FORMAT:FILE, with a FORMAT of {', '.join(CONSUMERS)}; template:TEMPLATE:FILE; or "
            "haproxy-runtime:BACKEND@SOCKET.  "
            "{service} in FILE stands for a service's name: each service gets its own file.",
            Kind(read_output, "FORMAT:FILE"),
            repeatable=True,
            short="t",
            manual=(
                "``FORMAT:FILE``, see `The formats <following.rst#the-formats>`__; ``{service}`` "
                "in it stands for a service's name: each service gets its own file"
            ),
            example="haproxy:/etc/haproxy/shop.cfg",
        ),
        Option(
            "run",
            _WHAT,
            "A shell command to run after a file has changed.  Give one for all files, or one for "
            "each --to in the same order; a blank one runs nothing.",
            Kind(str, "COMMAND"),
            repeatable=True,
            short="r",
            example="systemctl reload haproxy",
        ),
        Option(
            "run-timeout",
            _WHAT,
            "Milliseconds that a command may take before it is killed.",
            milliseconds(1),
            30.0,
        ),
        Option(
            "interval",
            _WHAT,
            "Milliseconds from the end of a command to the next change of its files.",
            milliseconds(),
            0.2,
        ),
        Option(
            "keep-last",
            _WHAT,
            "Leave a file unchanged while no provider is registered.",
            FLAG,
            False,
        ),
        *(replace(row, **_CHANGES.get(row.name, {})) for row in zookeeper.ROWS),
        Option(
            "once",
            _SCRIPTS,
            "Write the files, run the commands, and exit: with 0, or with 1 if something failed.",
            FLAG,
            False,
        ),
        Option(
            "dry-run",
            _SCRIPTS,
            "Print what would change as a diff, change nothing, and exit.",
            FLAG,
            False,
        ),
        Option(
            "timeout",
            _SCRIPTS,
            "Milliseconds that --once and --dry-run wait for ZooKeeper.",
            milliseconds(1),
            30.0,
        ),
        config_row(
            CONFIGURATION, "ZKFOLLOW_", "INTERVAL=500", see="as for `zkserve <operating.rst>`_"
        ),
    )
)


class Options(TableOptions):
    """Command line of ``twistd zkfollow``.

    Attributes:
        config: the configuration that the options describe.
    """

    synopsis = "[options] --path PATH --to FORMAT:FILE"
    longdesc = (
        "Write the providers that are registered in ZooKeeper into files for proxies and "
        "Prometheus, and run a command when a file has changed."
    )
    table = OPTIONS
    variables = "ZKFOLLOW_"
    config: FollowConfig

    def parseArgs(self, *words: str) -> None:  # noqa: N802
        """Refuse arguments."""
        if words:
            raise UsageError(f"zkfollow takes options only, not {words[0]!r}")

    @override
    def accept(self) -> None:
        """Check the options together, before anything starts."""
        self.config = follow_config(self.values_read, os.environ)
        if (self.config.once or self.config.dry_run) and self.parent is not None:
            _as_script(self.parent)


def _as_script(options: MutableMapping[str, Any]) -> None:
    """Have twistd stay in the foreground, without a pid file, and write warnings to stderr."""
    if "nodaemon" in options:
        options.update(
            nodaemon=True, pidfile="", logger=f"{__name__}.{warnings_to_stderr.__name__}"
        )


def warnings_to_stderr() -> ILogObserver:
    """The log observer for ``--once`` and ``--dry-run``; twistd's ``--logger`` names it."""
    return FilteringLogObserver(
        textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(LogLevel.warn)]
    )
