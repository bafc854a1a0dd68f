"""The command line of ``twistd zkserve``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import MappingProxyType

from twisted.python.usage import UsageError
from typing_extensions import override

from zkservice.errors import ConfigurationError
from zkservice.service.config import Config
from zkservice.service.options.check_config import check_config
from zkservice.service.options.option_table import Given
from zkservice.service.options.read_config import read_config
from zkservice.service.options.rows import limits
from zkservice.service.options.serve_table import OPTIONS
from zkservice.service.options.sources import APPLICATION
from zkservice.service.options.twistd_options import TableOptions
from zkservice.service.ports.inheritance import Inheritance, inherit
from zkservice.service.process.json_log import log_as_json
from zkservice.service.process.program import as_upgrade

__all__ = ["Options"]


def _inherit() -> Inheritance | None:
    try:
        return inherit(os.environ)
    except ConfigurationError as error:
        raise UsageError(str(error)) from None


class Options(TableOptions):
    """Command line of ``twistd zkserve``; ``config`` is the configuration that it describes."""

    synopsis = "[options] --path PATH APP"
    other_keys = (APPLICATION,)
    #: Options of gunicorn that have another name here, and that newcomers type.
    elsewhere = MappingProxyType(
        {
            "workers": "--processes",
            "bind": "--host and --port",
            "timeout": "--limit request-timeout=MS",
            "user": "twistd's --uid before zkserve",
            "group": "twistd's --gid before zkserve",
            "daemon": "nothing: twistd without -n is a daemon",
        }
    )
    longdesc = (
        "Serve a WSGI application and keep its address in ZooKeeper.  APP is a .wsgi file "
        "with a global named 'application', 'module:callable', 'module:factory()' with literals as "
        "arguments, or 'config:deploy.ini#name'."
    )
    table = OPTIONS

    def __init__(self) -> None:
        super().__init__()
        #: What this program inherits in an upgrade; None otherwise.
        self.inheritance = _inherit()

    def parseArgs(self, *words: str) -> None:  # noqa: N802
        """Take the application."""
        if misplaced := [word for word in words if word.startswith("-")]:
            raise UsageError(f"options go before the application: {misplaced[0]}")
        if len(words) > 1:
            raise UsageError(f"expected one application, got {len(words)}: {' '.join(words)}")
        if words:
            self.given[APPLICATION] = Given("APP", words)

    @override
    def accept(self) -> None:
        """Check the options together, before anything starts."""
        if APPLICATION not in self.given:
            raise ConfigurationError(
                "APP is missing: a .wsgi file, module:callable, 'module:factory()', "
                "or config:deploy.ini#name"
            )
        self["application"] = self.given[APPLICATION].texts[-1]
        self["config"] = read_config(self.values_read, self["application"], os.environ)
        if self.values_read["check-config"]:
            # Exit now: later twistd refuses to go on while a running service has the pid file.
            sys.exit(check_config(self.config, self.sources.warnings))
        if self.values_read["reload"] and self.parent and not self.parent.get("nodaemon"):
            raise ConfigurationError(
                f"{self.values_read.spelled('reload')} is for development, and shows tracebacks to "
                "clients: run it in the foreground, with twistd -n zkserve"
            )
        if self.inheritance is not None and self.parent is not None:
            as_upgrade(self.parent)
        if self["config"].log_format == "json" and self.parent is not None:
            self.values_read.read("log-format", log_as_json, self.parent)

    @override
    def postOptions(self) -> None:
        try:
            super().postOptions()
        except UsageError as error:
            if self.inheritance is not None:
                self.inheritance.report_failure(str(error))
            raise

    @override
    def section_lines(self, section: str) -> Iterator[tuple[str, str]]:
        yield from super().section_lines(section)
        if section == limits.SECTION:
            for row in self.table:
                if row.section == limits.SECTION and row.hidden:
                    yield (
                        f"      {row.name}",
                        f"{row.help} [default: {row.kind.write(row.default)}]",
                    )

    @property
    def config(self) -> Config:
        """The configuration that the options describe."""
        config: Config = self["config"]
        return config
