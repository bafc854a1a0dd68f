"""``[server:main] use = egg:zkservice``: the service as a PasteDeploy server.

The keys are the options of `zkservice.service.options.serve_table` with underscores, and the
keys of zc.zkzopeserver.  All values are strings; times are milliseconds.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from twisted.logger import STDLibLogObserver, globalLogPublisher

from zkservice.errors import ConfigurationError, StartError
from zkservice.service.application.http_factory import TRACE_LOGGER
from zkservice.service.application.load import check_callable
from zkservice.service.config import Config
from zkservice.service.front.in_process import InProcessFront
from zkservice.service.lifecycle import ServeService
from zkservice.service.options.option_table import Given, Option, Values
from zkservice.service.options.read_config import read_config
from zkservice.service.options.serve_table import OPTIONS
from zkservice.service.process.exit import ExitCode
from zkservice.service.process.loggers import EscapeRecords

#: zc.zkzopeserver runs an application in one thread unless told otherwise.
_THREADS: Final = "1"
#: Keys of zc.zkzopeserver that are not options: the switch of its trace log, and its name in the
#: field Server, which is ignored.
_OTHER_KEYS: Final = ("name", "zservertracelog")
#: Repeatable options whose values are separated by blanks; the others by line ends.
_BY_BLANKS: Final = ("monitor-command",)


def server_runner(app: Any, global_conf: Mapping[str, str], **keys: str) -> None:
    """Serve an application until a signal ends the process (entry point paste.server_runner).

    If the service cannot start, one line says why, and the exit code is 1.
    """
    try:
        config = config_of(keys)
        from twisted.internet import reactor  # noqa: TID251 - the process is ours from here

        check_callable("the Paste configuration", app, "the application")
        run(
            ServeService(config, reactor, lambda service: front_for(config, reactor, app, service)),
            reactor,
        )
    except ConfigurationError as error:
        _give_up(f"zkservice: {error}")
    except StartError as error:
        _give_up(str(error))


def _give_up(reason: str) -> None:
    """End the process; pserve takes every `SystemExit` for a success."""
    sys.stderr.write(f"{reason}\n")
    ExitCode().code = 1
    raise StartError(reason)


def run(service: ServeService, reactor: Any) -> None:
    """Run a service and the reactor, logging through `logging`."""
    logger, escape = logging.getLogger("zkservice"), EscapeRecords()
    logger.addFilter(escape)
    observer = STDLibLogObserver("zkservice")
    globalLogPublisher.addObserver(observer)
    service.privilegedStartService()
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()
    globalLogPublisher.removeObserver(observer)
    logger.removeFilter(escape)


def config_of(keys: Mapping[str, str]) -> Config:
    """The configuration that the section's keys describe.

    Raises:
        ConfigurationError: a key is unknown, missing or invalid.
    """
    rows = {row.key: row for row in OPTIONS if not row.command_line_only}
    unknown = sorted(keys.keys() - rows.keys() - set(_OTHER_KEYS))
    if unknown:
        known = ", ".join(sorted([*rows, *_OTHER_KEYS]))
        raise ConfigurationError(f"unknown key {', '.join(unknown)}; there are {known}")
    for key in ("zookeeper", "path"):
        if not keys.get(key):
            raise ConfigurationError(f"the key {key!r} is missing")
    given = {"threads": Given("threads", (_THREADS,))}
    given |= {row.name: _given(row, keys[key]) for key, row in rows.items() if keys.get(key)}
    config = read_config(Values(OPTIONS, given, prefix=""), None, os.environ)
    if config.log_format != "text":
        raise ConfigurationError("log_format is for twistd's log; configure logging with loggers")
    # Only this exact text switches zc.zkzopeserver's trace log on.
    if keys.get("zservertracelog") == "true" and config.front_end.trace_log is None:
        front_end = replace(config.front_end, trace_log=TRACE_LOGGER)
        config = replace(config, front_end=front_end)
    return replace(config, log_format="logging")


def front_for(config: Config, reactor: Any, app: Any, service: ServeService) -> InProcessFront:
    """The front end for an application that Paste has loaded."""
    if config.processes.reload:
        raise ConfigurationError(
            "reload: Paste hands over an application that is loaded already; run pserve --reload, "
            "or twistd -n zkserve --reload config:FILE.ini#NAME"
        )
    if config.processes.count > 1:
        raise ConfigurationError(
            "processes: Paste hands over an application that is loaded already; for several "
            "processes run twistd zkserve --processes N config:FILE.ini#NAME"
        )
    return InProcessFront(config, reactor, lambda: app, service.end)


def _given(row: Option, text: str) -> Given:
    if not row.repeatable:
        return Given(row.key, (text,))
    texts = text.split() if row.name in _BY_BLANKS else text.strip().splitlines()
    return Given(row.key, tuple(one.strip() for one in texts))
