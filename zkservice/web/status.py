"""The built-in views ``/-/health`` and ``/-/threads``."""

from __future__ import annotations

from typing import Any

from zkservice.web.server import HTTPServer
from zkservice.web.views import TextView, View
from zkservice.web.workers import Workers

__all__ = ["describe_threads", "status_views"]


def status_views(server: HTTPServer) -> dict[str, View]:
    """Return the views of a server by their paths."""
    workers = server.workers

    def health(environ: dict[str, Any]) -> str:
        """``ok``, or ``draining`` while the process is ending; then the figures."""
        figures = vars(server.statistics()) | {
            f"workers.{name}": value for name, value in vars(workers.statistics()).items()
        }
        text = "".join(f"{name}: {value}\n" for name, value in figures.items())
        # 200 even while draining: after a failed liveness probe the process would be killed before
        # its requests are finished.
        return f"{'draining' if server.draining else 'ok'}\n\n{text}"

    def threads(environ: dict[str, Any]) -> str:
        """The job and the stack of every worker thread."""
        return describe_threads(workers)

    return {"/-/health": TextView(health), "/-/threads": TextView(threads)}


def describe_threads(workers: Workers) -> str:
    """The job and the stack of every worker thread; idle ones in one line at the end."""
    parts, idle = [], []
    for running in workers.running():
        if running.job is None and not running.stuck:
            idle.append(running.thread)
            continue
        job = "idle" if running.job is None else f"{running.job} for {running.seconds:.3f} s"
        stuck = " (stuck)" if running.stuck else ""
        parts.append(f"{running.thread}{stuck}: {job}\n{running.stack}")
    if idle:
        parts.append(f"idle: {', '.join(idle)}\n")
    return "\n".join(parts)
