"""The configuration of a running service: SIGHUP reads its file again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from zkservice.service.application.load import check_application
from zkservice.service.config import Config
from zkservice.service.options.option_table import Given, Values
from zkservice.service.options.read_config import reread_config
from zkservice.service.options.serve_table import OPTIONS, reloadable
from zkservice.service.options.sources import APPLICATION, Sources

__all__ = ["LiveConfig", "Reread"]


@dataclass(frozen=True)
class Reread:
    """The result of reading the file again.

    Attributes:
        config: the configuration with all changes that need no restart.
        given: the options that it was made from.
        changed: the names of options that change now.
        later: the names of options whose change needs a restart.
    """

    config: Config
    given: Mapping[str, Given]
    changed: tuple[str, ...]
    later: tuple[str, ...]


class LiveConfig:
    """The configuration in force.

    Args:
        sources: where the options are written.
        given: the options as they were written at the start.
        config: the configuration that they describe.

    Attributes:
        config: the configuration in force.
        given: the options in force, which a new worker process gets.
    """

    def __init__(self, sources: Sources, given: Mapping[str, Given], config: Config) -> None:
        self.config = config
        self.given = given
        self._sources = sources
        self._supervised = config.processes.supervised
        self._reloadable = reloadable(self._supervised)

    def read(self) -> Reread:
        """Read the file again; nothing changes before `accept`.

        Secrets and other files that only root may read are not read again: their options need a
        restart.

        Raises:
            ConfigurationError: the file cannot be read, or a changed option is invalid.
        """
        written = self._sources.read()
        changed = _changed(self.given, written)
        # Raises for an invalid value, also of an option that needs a restart.
        Values(OPTIONS, {name: written[name] for name in changed if name in written})
        live = [name for name in changed if name in self._reloadable]
        given = {name: one for name, one in self.given.items() if name not in live}
        given |= {name: written[name] for name in live if name in written}
        application = None
        if APPLICATION in live and APPLICATION in given:
            application = given[APPLICATION].texts[-1]
        known = {name: one for name, one in given.items() if name in self._reloadable}
        config = reread_config(
            Values(OPTIONS, known), self.config, application, supervised=self._supervised
        )
        if application is not None:
            check_application(config.application)
        later = [name for name in changed if name not in live]
        return Reread(config, given, tuple(live), tuple(later))

    def accept(self, reread: Reread) -> None:
        """Put into force what was read."""
        self.config, self.given = reread.config, reread.given


def _changed(before: Mapping[str, Given], after: Mapping[str, Given]) -> list[str]:
    """The names of options whose text differs, wherever it is written."""

    def texts(written: Mapping[str, Given], name: str) -> tuple[str, ...] | None:
        return written[name].texts if name in written else None

    names = dict.fromkeys([*before, *after])
    return [name for name in names if texts(before, name) != texts(after, name)]
