"""Rows of zkserve's options: code that is loaded again when it changes."""

from __future__ import annotations

from typing import Final

from zkservice.service.options.option_table import FILE, FLAG, Kind, Option

__all__ = ["ROWS", "SECTION"]

SECTION: Final = "Development"

ROWS: Final = (
    Option(
        "reload",
        SECTION,
        "Load the application again as soon as its code changes; if that fails, serve a page "
        "with the error.  Only in the foreground, with twistd -n.",
        FLAG,
        False,
        target="processes.reload",
        manual=(
            "load the application again as soon as its code changes; if that fails, serve a "
            "page with the error; only in the foreground, with twistd's ``-n``"
        ),
    ),
    Option(
        "reload-extra",
        SECTION,
        "A glob of more files whose changes count, such as 'templates/**/*.html'.",
        Kind(FILE.read, "GLOB"),
        repeatable=True,
        target="processes.reload_extra",
        manual=(
            "a glob of more files whose changes count: ``'templates/**/*.html'``; quote it, so "
            "that the shell does not expand it"
        ),
        example="templates/**/*.html",
    ),
)
