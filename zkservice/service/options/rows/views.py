"""Rows of zkserve's options: the views below ``/-/``, their clients, and views of the user."""

from __future__ import annotations

from typing import Final

from zkservice.errors import ConfigurationError
from zkservice.http11 import split_host
from zkservice.service.options.option_table import FLAG, Kind, Option, checked
from zkservice.service.options.rows.kinds import NETWORK, PATH
from zkservice.service.ports.endpoint_strings import check_endpoint

__all__ = ["ROWS", "SECTION"]

SECTION: Final = "Views"


def _read_view(text: str) -> tuple[str, str]:
    path, equals, name = text.partition("=")
    if not equals or not name or not path.startswith("/") or not path.isascii():
        raise ConfigurationError(f"{text!r}: write /PATH=DOTTED.NAME")
    if any(character in "?#" or character.isspace() for character in path):
        raise ConfigurationError(
            f"{text!r}: no request's path has a blank, '?' or '#'; write %20 for a blank"
        )
    return path, name


def _check_admin_endpoint(text: str) -> None:
    if text.startswith("haproxy:"):
        raise ConfigurationError(
            f"{text!r}: access is decided by the address of the connection, not by a PROXY header; "
            "leave out haproxy:"
        )
    check_endpoint(text)


def _check_host_name(text: str) -> None:
    parts = split_host(text)
    if parts is None or parts[1]:
        raise ConfigurationError(f"must be a host name without a port, not {text!r}")


ROWS: Final = (
    Option(
        "view",
        SECTION,
        "/PATH=DOTTED.NAME: a WSGI callable that is called in the reactor.",
        Kind(_read_view, "/PATH=NAME"),
        repeatable=True,
        target="front_end.views",
        manual=(
            "``/PATH=DOTTED.NAME``: the exact path as it is sent, and a WSGI "
            "callable; ``zkservice.web.TextView`` makes one of a function that "
            "returns text"
        ),
        example="/-/count=mysite.views.threads",
    ),
    Option(
        "status-views",
        SECTION,
        "Serve /-/health, /-/ready, /-/threads and the status page /-/; see --admin-allow.",
        FLAG,
        False,
        target="front_end.status_views",
        manual=(
            "serve ``/-/health`` and ``/-/ready``, see `Probes <monitoring.rst#probes>`__, "
            "`the status page <monitoring.rst#the-status-page>`__ at "
            "``/-/``, and ``/-/threads`` with the stack and the request of every "
            "worker: what an application that hangs is doing"
        ),
    ),
    Option(
        "discover",
        SECTION,
        "Serve /-/discover/FORMAT?path=PATH: the providers at --path or beside it, in formats "
        "of proxies and Prometheus; see --admin-allow.",
        FLAG,
        False,
        target="discover.enabled",
        manual=(
            "serve ``/-/discover/FORMAT?path=PATH``: the providers at ``--path`` or "
            "beside it, in the formats of `zkfollow <following.rst>`_"
        ),
    ),
    Option(
        "discover-below",
        SECTION,
        "Let --discover show the service at this path and all below it, too.",
        PATH,
        repeatable=True,
        target="discover.below",
        example="/svc",
    ),
    Option(
        "admin-listen",
        SECTION,
        "Any Twisted server endpoint: a port of its own for the views of --status-views and "
        "--metrics.",
        checked(_check_admin_endpoint, "ENDPOINT"),
        repeatable=True,
        target="admin.listen",
        manual=(
            "a port of its own for ``/-/``, any Twisted server endpoint: "
            "``tcp:9100:interface=127.0.0.1``, ``unix:/run/app/admin.sock:mode=660``, "
            "``mtls:``; see `Who may ask <monitoring.rst#who-may-ask>`__"
        ),
        example="tcp:9100:interface=127.0.0.1",
    ),
    Option(
        "admin-allow",
        SECTION,
        "Address or network whose clients may see the views for operators.",
        NETWORK,
        repeatable=True,
        target="admin.allow",
        manual=(
            "address or network whose clients may see the views for operators, beside this "
            "machine: ``10.1.0.0/16``, ``fd00::/8``"
        ),
        example="10.1.0.0/16",
    ),
    Option(
        "admin-host",
        SECTION,
        "Host name that requests for the views for operators may have.",
        checked(_check_host_name, "NAME"),
        repeatable=True,
        target="admin.hosts",
        manual=(
            "host name that requests for the views for operators may have, beside "
            "``localhost`` and addresses"
        ),
        example="web1.example",
    ),
    Option(
        "metrics",
        SECTION,
        "Serve /-/metrics for Prometheus; needs zkservice[metrics].",
        FLAG,
        False,
        target="front_end.metrics",
        manual=(
            "serve ``/-/metrics`` for Prometheus (``pip install "
            "'zkservice[metrics]'``): responses by method and status, the times "
            "that requests waited and took, connections, threads, the registration, "
            "the session, the process"
        ),
    ),
)
