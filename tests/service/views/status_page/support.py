"""A service that is in no process: values for the status page."""

from __future__ import annotations

from typing import Any

from zkservice.service.state.figures import Figures
from zkservice.service.state.history import Period
from zkservice.service.state.process_report import ProcessReport
from zkservice.service.views.status_page.recent import Happening, LoggedError
from zkservice.service.views.status_page.snapshot import Neighbourhood, Snapshot
from zkservice.web import WorkersStatistics

NOW = 1_700_000_000.0
#: An attempt to inject markup into the page.
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;\n"


def snapshot(text: str = "text", **changes: Any) -> Snapshot:
    """A snapshot with a text wherever one can come from outside."""
    values: dict[str, Any] = {
        "now": NOW,
        "status": {
            "path": f"/svc/{text}",
            "addresses": [text],
            "pid": 5,
            "uptime": 70.0,
            "version": text,
            "rss": 50_000_000,
        },
        "figures": Figures(WorkersStatistics(4, 4, 7, 100, 1)),
        "not_ready": text,
        "periods": [period(NOW - 10, 10.0, 0.005), period(NOW - 5, 20.0, None)],
        "last_minute": period(NOW, 15.0, 0.005),
        "stacks": [ProcessReport("", 5, {"threads": [thread(text), thread(text, None)]})],
        "requests": [
            ProcessReport("", 5, {"requests": [request(text), request(text, "queued")], "more": 0})
        ],
        "errors": [LoggedError("error", text, text, text, NOW - 3, 12)],
        "error_total": 12,
        "around": around(text),
        **changes,
    }
    return Snapshot(**values)


def period(end: float, rate: float, took: float | None) -> Period:
    """Five seconds."""
    return Period(end, 5.0, rate, 1.0, took, None if took is None else took * 4, 0.001)


def thread(text: str, took: float | None = 12.0) -> dict[str, Any]:
    """A thread that is stuck, or idle."""
    return {
        "name": f"application-{text}",
        "idle": took is None,
        "job": text,
        "seconds": took,
        "stuck": False,
        "stack": [{"file": text, "line": 3, "function": text, "code": text}],
    }


def request(text: str, phase: str = "running") -> dict[str, Any]:
    """A request in service."""
    return {
        "method": "GET",
        "path": text,
        "client": text,
        "phase": phase,
        "age": 2.0,
        "thread": f"application-{text}" if phase == "running" else "",
        "waits_for": text,
    }


def around(text: str) -> Neighbourhood:
    """What ZooKeeper holds."""
    node = {
        "path": f"/svc/{text}",
        "created": NOW - 60,
        "data": f'{{"key {text!r}": "x"}}' if '"' not in text else text,
        "size": 10,
        "session": "0x1",
        "children": 0,
        "depth": 0,
    }
    registration = {
        "state": "registered",
        "reason": text,
        "addresses": [text],
        "path": text,
        "real_path": f"/real/{text}",
        "znodes": [f"/svc/{text}"],
        "properties": {},
    }
    return Neighbourhood(
        session={
            **{"state": "connected", "server": text, "session": "0x1", "timeout": 10.0},
            **{"silence": 0.2, "last_zxid": "0x5", "watches": 1, "outstanding": 0, "waiting": 0},
            **{"reconnects": 0, "expiries": 0, "requests": 5, "errors": {"NoNode": 2}},
            "latency": {"mean": 0.001, "p50": 0.001, "p99": None},
        },
        session_events=[Happening(NOW - 5, text, True)],
        registrations=[registration],
        siblings=[node],
        more_siblings=3,
        sibling_events=[Happening(NOW - 5, text, False)],
        tree=[node, {**node, "depth": 1, "path": f"/svc/{text}/a"}],
        tree_truncated=True,
        edges=[(f"/a/{text}", f"/b/{text}"), (f"/b/{text}", "/c"), (f"/a/{text}", "/c")],
        problem=text,
    )
