"""Rows of zkserve's options: threads, processes, and when they are replaced."""

from __future__ import annotations

from typing import Final

from zkservice.service.options.option_table import Option, milliseconds, whole_number

__all__ = ["ROWS", "SECTION"]

SECTION: Final = "The application"

ROWS: Final = (
    Option(
        *("threads", SECTION, "Worker threads for the application.", whole_number(1), 4),
        target="threads",
        short="t",
    ),
    Option(
        "processes",
        SECTION,
        "Worker processes, each with its own threads; 1: only this process.",
        whole_number(1, 1024),
        1,
        target="processes.count",
    ),
    Option(
        "worker-timeout",
        SECTION,
        "Milliseconds after which a worker process whose reactor does not run is killed; 0: never.",
        milliseconds(),
        30.0,
        target="processes.worker_timeout",
    ),
    Option(
        "max-requests",
        SECTION,
        "Replace a worker process after so many requests; 0: never.",
        whole_number(),
        0,
        target="recycling.max_requests",
        example="10000",
    ),
    Option(
        "max-age",
        SECTION,
        "Replace a worker process after so many seconds; 0: never.",
        whole_number(placeholder="S"),
        0,
        target="recycling.max_age",
        example="86400",
    ),
    Option(
        "max-rss",
        SECTION,
        "Replace a worker process that has so many megabytes of memory; 0: never.",
        whole_number(placeholder="MB"),
        0,
        example="512",
    ),
    Option(
        "recycle-together",
        SECTION,
        "How many of the processes registered at --path may be recycled at a time; 0: any number.",
        whole_number(),
        0,
        target="processes.recycle_together",
        example="1",
    ),
)
