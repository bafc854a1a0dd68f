"""The HTTP server of a port that serves only the built-in views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from zkservice.errors import ViewError
from zkservice.service.config import AdminViews
from zkservice.service.views.built_in import guarded
from zkservice.web import AdminAccess, HTTPFactory, Limits, TextView, View, Workers

__all__ = ["admin_factory"]

#: Operators, their browsers' streams of events, and Prometheus.
_LIMITS: Final = Limits(connections=64, body_bytes=0)


def admin_factory(admin: AdminViews, views: Mapping[str, View], reactor: Any) -> HTTPFactory:
    """A factory that serves views, and 404 for every other path.

    Args:
        admin: which clients are allowed.
        views: the views by their paths.
    """
    access = AdminAccess(admin.allow, admin.hosts, own_port=True)
    factory = HTTPFactory(
        _no_application,
        Workers(reactor, threads=1),  # never started: views run in the reactor
        reactor=reactor,
        limits=_LIMITS,
    )
    factory.server.add_views(guarded(views, access))
    listed = "".join(f"{path}\n" for path in sorted(views))

    def not_found(environ: dict[str, Any]) -> str:
        raise ViewError("404 Not Found", f"there is no such view; the views are\n\n{listed}")

    factory.server.fallback = TextView(not_found)
    return factory


def _no_application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    raise NotImplementedError("never called: the fallback is a view")
