"""Rows of zkserve's options: the addresses to listen on and to register."""

from __future__ import annotations

from typing import Final

from zkservice.errors import ConfigurationError
from zkservice.formats import FORMATS
from zkservice.formats.addresses import parse_address
from zkservice.properties import read_property
from zkservice.security import parse_acl
from zkservice.service.options.option_table import Kind, Option, checked, choice, whole_number
from zkservice.service.options.rows.kinds import PATH
from zkservice.service.ports.endpoint_strings import check_endpoint, socket_owner

__all__ = ["ADVERTISED", "ROWS", "SECTION"]

SECTION: Final = "Where it listens, and what it registers"


def _check_advertised(text: str) -> None:
    host, port = parse_address(text)
    if not host or "/" in host or port == 0:
        raise ConfigurationError(f"{text!r}: name a host and a port that it has")


_ENDPOINT: Final = checked(check_endpoint, "ENDPOINT")
ADVERTISED: Final = checked(_check_advertised, "HOST:PORT")

ROWS: Final = (
    Option(
        "path",
        SECTION,
        "The znode under which to register; required.  It is created if it is missing.",
        PATH,
        target="path",
        short="p",
        manual=(
            "the znode under which to register the addresses; required.  It is "
            "created if it is missing, and may lead through symbolic links"
        ),
        example="/svc/shop",
    ),
    Option(
        "host",
        SECTION,
        "The address to listen on and to register; blank: all addresses.",
        default="",
        manual=(
            "the address to listen on, registered as it is written; blank (the "
            "default) is all addresses of the machine, each of which is registered, "
            "loopback only if there is no other"
        ),
        example="10.0.0.5",
    ),
    Option(
        "port",
        SECTION,
        "The port; 0: the system picks one.",
        whole_number(0, 65535),
        0,
        manual="the port; with 0 the system picks one",
        example="8080",
    ),
    Option(
        "listen",
        SECTION,
        "A Twisted server endpoint, instead of --host and --port.",
        _ENDPOINT,
        repeatable=True,
        manual=(
            "any `Twisted server endpoint "
            "<https://docs.twisted.org/en/stable/core/howto/endpoints.html#servers>`_ "
            "instead: ``tcp:8080:interface=127.0.0.1``, "
            "``ssl:443:privateKey=site.pem``, ``unix:/run/app.sock:mode=660``, "
            "``systemd:domain=INET:index=0``, ``haproxy:tcp:8080``; and ``mtls:``, "
            "see `TLS <operating.rst#tls-and-clients-with-certificates>`__"
        ),
        example="tcp:8080:interface=127.0.0.1",
    ),
    Option(
        "socket-owner",
        SECTION,
        "The owner of the files of unix: sockets: USER, USER:GROUP or :GROUP.",
        Kind(socket_owner, "OWNER"),
        target="socket_owner",
        manual=(
            "the owner of the files of ``unix:`` sockets: ``USER``, ``USER:GROUP`` or ``:GROUP``"
        ),
        example=":www-data",
    ),
    Option(
        "advertise",
        SECTION,
        "The address to register instead of those of the ports.",
        ADVERTISED,
        repeatable=True,
        target="advertise",
        manual=(
            "``HOST:PORT`` to register instead: for a Unix socket behind a proxy, "
            "or a container whose ports are mapped"
        ),
        example="web1.example:443",
    ),
    Option(
        "property",
        SECTION,
        "NAME=VALUE to store with the address, a string; NAME:=JSON stores any JSON value.",
        Kind(read_property, "NAME=VALUE", takes_json=True),
        repeatable=True,
        manual=(
            "``NAME=VALUE`` to store with the address, a string; ``NAME:=JSON`` "
            "stores any JSON value"
        ),
        example="version=1.10",
    ),
    Option(
        "format",
        SECTION,
        "The format of the znode, which decides which programs can read it.",
        choice(*FORMATS),
        "properties",
        target="format",
        manual=(
            "the format of the znode, which decides which programs can read it: "
            "``properties``, ``serverset``, ``curator``, ``spring`` or ``nerve``; see "
            "`Formats <formats.rst>`_"
        ),
    ),
    Option(
        "acl",
        SECTION,
        "The znode's ACL: read, open, creator, or scheme:id:perms,... as in zkCli.",
        Kind(parse_acl, "ACL"),
        parse_acl("read"),
        target="security.acl",
        default_text="read",
        manual=(
            "the ACL of the address's znode, not of ``--path``: ``read`` (everybody may read), "
            "``open``, ``creator``, or entries like ``world:anyone:r,digest:u:HASH:cdrwa``"
        ),
        example="creator",
    ),
)
