"""The options of a worker process, as its parent sends them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zkservice.service.config import Config
from zkservice.service.options.option_table import Given, Values
from zkservice.service.options.read_config import read_config
from zkservice.service.options.serve_table import OPTIONS, worker_rows
from zkservice.service.ports.binding import without_systemd

__all__ = ["config_from", "settings_for"]


def settings_for(application: str, given: Mapping[str, Given]) -> dict[str, Any]:
    """The settings of a worker, in values that JSON can express.

    Options that only the parent uses (ZooKeeper, the monitor, secrets) are left out.

    Args:
        application: `Config.application`.
        given: the options that the user gave, by name.
    """
    rows = {row.name for row in worker_rows()}
    return {
        "application": application,
        "given": {
            name: [one.spelled, [_for_worker(name, text) for text in one.texts]]
            for name, one in given.items()
            if name in rows
        },
    }


def _for_worker(name: str, text: str) -> str:
    """Remove ``systemd:`` from endpoints: only the parent has systemd's sockets."""
    return without_systemd(text) if name in ("listen", "admin-listen") else text


def config_from(settings: Mapping[str, Any]) -> Config:
    """The configuration of a worker, from its settings.

    Raises:
        ConfigurationError: an option is invalid, as when a file was deleted meanwhile.
    """
    given = {
        name: Given(spelled, tuple(texts))
        for name, (spelled, texts) in settings["given"].items()
        if name in OPTIONS.by_name
    }
    return read_config(Values(OPTIONS, given), settings["application"], {})
