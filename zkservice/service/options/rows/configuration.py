"""Rows of zkserve's options: the file, and its check."""

from __future__ import annotations

from typing import Final

from zkservice.service.options.option_table import FLAG, Option
from zkservice.service.options.twistd_options import CONFIGURATION, config_row

__all__ = ["ROWS"]

ROWS: Final = (
    config_row(CONFIGURATION, "ZKSERVE_"),
    Option(
        "check-config",
        CONFIGURATION,
        "Load everything, print what would be opened and registered, and exit with 0 or 1.",
        FLAG,
        False,
        command_line_only=True,
        manual=(
            "load everything, print what would be opened and registered, and exit with 0; or "
            "print what is wrong, and exit with 1"
        ),
    ),
)
