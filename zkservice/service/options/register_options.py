"""The options of ``twistd zkregister``: its own rows, and rows of zkserve's table."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from typing_extensions import override

from zkservice.errors import ConfigurationError
from zkservice.service.options import serve_table
from zkservice.service.options.option_table import (
    FLAG,
    Kind,
    Option,
    OptionTable,
    choice,
    milliseconds,
)
from zkservice.service.options.register_config import (
    STOP_SIGNALS,
    RegisterConfig,
    read_health_url,
    register_config,
)
from zkservice.service.options.rows import listening, zookeeper
from zkservice.service.options.twistd_options import CONFIGURATION, TableOptions, config_row

__all__ = ["OPTIONS", "Options"]

_WHAT: Final = "What it registers"
_HEALTH: Final = "Health"
_MONITOR: Final = "The monitor"
_COMMAND: Final = "The command"


def _reused(section: str, *names: str) -> Iterator[Option]:
    """Rows of zkserve's table that mean the same here."""
    for name in names:
        yield replace(serve_table.OPTIONS.by_name[name], section=section)


OPTIONS: Final = OptionTable(
    (
        *_reused(_WHAT, "path"),
        Option(
            "address",
            _WHAT,
            "HOST:PORT to register, where clients reach the program; required.",
            listening.ADVERTISED,
            repeatable=True,
            short="a",
            example="db1.example:5432",
        ),
        Option(
            "tls",
            _WHAT,
            "Register the address as speaking TLS, if the format can express it.",
            FLAG,
            False,
        ),
        *_reused(_WHAT, "property", "format", "acl"),
        *zookeeper.ROWS,
        Option(
            "health-http",
            _HEALTH,
            "Register only while this URL, http://HOST:PORT/PATH, returns 2xx or 3xx.",
            Kind(read_health_url, "URL"),
            example="http://127.0.0.1:8080/healthy",
        ),
        Option(
            "health-tcp",
            _HEALTH,
            "Register only while the first --address accepts TCP connections.",
            FLAG,
            False,
        ),
        *_reused(_HEALTH, "health-interval", "health-timeout", "health-rise", "health-fall"),
        *_reused(_MONITOR, "monitor"),
        Option(
            "drain-wait",
            _COMMAND,
            "Milliseconds from deregistering to stopping the command, so that no client is "
            "refused.",
            milliseconds(),
            0.5,
            target="drain_wait",
        ),
        Option(
            "stop-signal",
            _COMMAND,
            "The signal for a graceful stop of the command, such as QUIT for nginx.",
            choice(*(number.name.removeprefix("SIG") for number in STOP_SIGNALS)),
            default_text="the one that stops zkregister, TERM or INT",
            example="QUIT",
        ),
        Option(
            "stop-timeout",
            _COMMAND,
            "Milliseconds from --stop-signal to KILL.",
            milliseconds(),
            10.0,
        ),
        config_row(
            CONFIGURATION, "ZKREGISTER_", "FORMAT=nerve", see="as for `zkserve <operating.rst>`_"
        ),
    )
)


class Options(TableOptions):
    """Command line of ``twistd zkregister``.

    Attributes:
        config: the configuration that the options describe.
    """

    synopsis = "[options] -p PATH -a HOST:PORT [-- COMMAND]"
    longdesc = (
        "Keep the address of a program in ZooKeeper.  The program is COMMAND, which zkregister "
        "starts and stops, or one that runs already.  Use it for programs that are not WSGI "
        "applications."
    )
    table = OPTIONS
    variables = "ZKREGISTER_"
    config: RegisterConfig

    def __init__(self) -> None:
        super().__init__()
        self._command: tuple[str, ...] = ()

    def parseArgs(self, *words: str) -> None:  # noqa: N802
        """Take the command: what follows ``--``, or the first word that is not an option."""
        self._command = words

    @override
    def accept(self) -> None:
        """Check the options together, before anything starts."""
        self.config = register_config(self.values_read, self._command, os.environ)
        if self._command and shutil.which(self._command[0]) is None:
            raise ConfigurationError(
                f"the command {self._command[0]!r} is not found or not executable"
            )
