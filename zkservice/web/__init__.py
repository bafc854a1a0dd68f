"""The front end: HTTP in the reactor, the application in worker threads."""

from __future__ import annotations

from zkservice.http11 import Limits, limits_table
from zkservice.web.accesslog import AccessLog, AccessRecord, AccessSink
from zkservice.web.admin_access import AdminAccess
from zkservice.web.busy import BusyWatch
from zkservice.web.factory import ALPN, HTTPFactory
from zkservice.web.inspection import RunningRequest, running_requests
from zkservice.web.logfile import LogFile
from zkservice.web.printable import printable
from zkservice.web.proxies import TrustedProxies
from zkservice.web.request_context import RequestContext, RequestFilter, current_request
from zkservice.web.server import FrontEndStatistics, HTTPServer
from zkservice.web.slow_requests import SlowRequests
from zkservice.web.status import describe_threads, status_views
from zkservice.web.streams import Stream, StreamView
from zkservice.web.tally import (
    BOUNDS,
    DURATIONS,
    Durations,
    LagProbe,
    RequestExample,
    ResponseTally,
    ResponseTotals,
)
from zkservice.web.tracelog import TraceLog
from zkservice.web.views import DeferredView, GuardedView, TextView, View, ViewError
from zkservice.web.workers import Workers, WorkersStatistics

__all__ = [
    "ALPN",
    "BOUNDS",
    "DURATIONS",
    "AccessLog",
    "AccessRecord",
    "AccessSink",
    "AdminAccess",
    "BusyWatch",
    "DeferredView",
    "Durations",
    "FrontEndStatistics",
    "GuardedView",
    "HTTPFactory",
    "HTTPServer",
    "LagProbe",
    "Limits",
    "LogFile",
    "RequestContext",
    "RequestExample",
    "RequestFilter",
    "ResponseTally",
    "ResponseTotals",
    "RunningRequest",
    "SlowRequests",
    "Stream",
    "StreamView",
    "TextView",
    "TraceLog",
    "TrustedProxies",
    "View",
    "ViewError",
    "Workers",
    "WorkersStatistics",
    "current_request",
    "describe_threads",
    "limits_table",
    "printable",
    "running_requests",
    "status_views",
]
