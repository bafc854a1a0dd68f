"""The table of the options of ``twistd zkserve``, and which processes and signals use them.

Paste files (`zkservice.service.paste`) and the manual use the same table.  `read_config` checks
the values together and makes the configuration.
"""

from __future__ import annotations

from typing import Final

from zkservice.service.options.option_table import Option, OptionTable
from zkservice.service.options.rows import (
    application,
    configuration,
    development,
    health,
    limits,
    listening,
    logs,
    monitor,
    proxies,
    stopping,
    views,
    zookeeper,
)
from zkservice.service.options.sources import APPLICATION

__all__ = ["OPTIONS", "reloadable", "worker_rows"]

#: In the order of the help.
OPTIONS: Final = OptionTable(
    (
        *application.ROWS,
        *listening.ROWS,
        *zookeeper.ROWS,
        *health.ROWS,
        *monitor.ROWS,
        *stopping.ROWS,
        *limits.ROWS,
        *views.ROWS,
        *proxies.ROWS,
        *logs.ROWS,
        *development.ROWS,
        *configuration.ROWS,
    )
)


def worker_rows() -> list[Option]:
    """The options that a worker process gets."""
    others = ("property", "acl", "format", "advertise", "socket-owner", "zookeeper", "monitor")
    return [
        row
        for row in OPTIONS
        if row.section not in (zookeeper.SECTION, health.SECTION, monitor.SECTION)
        and row.name not in others
    ]


#: Options that take effect at SIGHUP in every service.
_RELOADED: Final = ("property", "drain-wait", "drain-timeout")


def reloadable(supervised: bool) -> frozenset[str]:
    """The names of the options that SIGHUP reads again; others need a restart.

    Args:
        supervised: whether there are worker processes, because new ones can get new options.
    """
    names = set(_RELOADED)
    if supervised:
        names.update(row.name for row in worker_rows() if row.section != listening.SECTION)
        names.add(APPLICATION)
        # These take effect only when the parent starts.
        names -= {"log-format", "recycle-together", "reload", "reload-extra"}
        names -= {"admin-listen", "admin-allow", "admin-host"}
    return frozenset(names)
