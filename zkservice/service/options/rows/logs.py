"""Rows of zkserve's options: the access log, the trace log and twistd's own."""

from __future__ import annotations

import os
from typing import Final

from zkservice.service.options.option_table import FLAG, LOG_FILE, Kind, Option, choice, seconds

__all__ = ["ROWS", "SECTION"]

SECTION: Final = "Logs"


def _read_loggers(text: str) -> str:
    return os.path.abspath(text) if os.path.isfile(text) else text


ROWS: Final = (
    Option(
        "access-log",
        SECTION,
        "A file for a line about each response; - is standard output.",
        LOG_FILE,
        target="front_end.access_log",
        manual=(
            "a file for a line about each response, ``-`` for standard output; with "
            "the request's id, the seconds it waited, was worked on and was sent, "
            "and ``complete``, or ``aborted`` if the client left before it had all "
            "of the response or the application failed in the middle"
        ),
        example="/var/log/app/access.log",
    ),
    Option(
        "access-log-format",
        SECTION,
        "The format of the access log.",
        choice("combined", "json", "otel"),
        "combined",
        target="front_end.access_style",
        manual=(
            "``combined`` (as Apache's, with these figures added), ``json``, or ``otel``: JSON "
            "with OpenTelemetry's names for HTTP"
        ),
    ),
    Option(
        "request-ids",
        SECTION,
        "Give each request an id, or keep that of X-Request-ID, for the logs, the application "
        "and the client.  With --access-log each request has one anyway.",
        FLAG,
        False,
        target="front_end.request_ids",
        manual=(
            "give each request an id, or keep that of ``X-Request-ID``, for the logs, the "
            "application and the client; with ``--access-log`` each request has one anyway"
        ),
    ),
    Option(
        "slow-request",
        SECTION,
        "Log requests that run longer than so many seconds, with their stack; 0: none.",
        seconds(),
        0.0,
        target="front_end.slow_request",
        manual=(
            "log requests that run longer than so many seconds (``0.5``), with the stack of "
            "their thread, at most ten a minute; 0: none"
        ),
        example="2",
    ),
    Option(
        "trace-log",
        SECTION,
        "A file for zc.zservertracelog's records; - is standard output.",
        LOG_FILE,
        target="front_end.trace_log",
        manual=(
            "a file for zc.zservertracelog's records, which its ``tracereport`` "
            "reads; ``-`` for standard output"
        ),
        example="/var/log/app/trace.log",
    ),
    Option(
        "log-format",
        SECTION,
        "The format of twistd's own log.",
        choice("text", "json"),
        "text",
        target="log_format",
        manual="the format of twistd's own log: ``text``, or ``json``, one object a line",
    ),
    Option(
        "loggers",
        SECTION,
        "A level for the standard library's logging, or a file with a ZConfig text.",
        Kind(_read_loggers, "LEVEL|FILE"),
        "",
        target="loggers",
        manual=(
            "a level, which lets the standard library's ``logging`` through to "
            "twistd's log, or a file with a ZConfig text"
        ),
        example="INFO",
    ),
)
