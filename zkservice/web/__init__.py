"""The front end: HTTP in the reactor, the application in worker threads."""

from __future__ import annotations

from zkservice.http11 import Limits, limits_table
from zkservice.web.factory import FrontEndStatistics, HTTPFactory
from zkservice.web.workers import Workers, WorkersStatistics

__all__ = [
    "FrontEndStatistics",
    "HTTPFactory",
    "Limits",
    "Workers",
    "WorkersStatistics",
    "limits_table",
]
