"""Rows of zkserve's options: the ensemble, TLS and credentials for it."""

from __future__ import annotations

from typing import Final

from zkservice.service.options.option_table import (
    FILE,
    FLAG,
    LARGEST_INT,
    Kind,
    Option,
    milliseconds,
)
from zkservice.service.options.read_config import CONNECTION_STRING

__all__ = ["ROWS", "SECTION"]

SECTION: Final = "Which ZooKeeper"

ROWS: Final = (
    Option(
        "zookeeper",
        SECTION,
        "HOST:PORT,.../CHROOT; 'embedded' for a ZooKeeper of one node in this process; "
        "'embedded:FOLDER' to keep its data.",
        Kind(str, "HOSTS"),
        short="z",
        default_text=f"${CONNECTION_STRING}, else embedded",
        manual=(
            "``host1:2181,host2:2181/chroot``; ``embedded`` for a ZooKeeper of one "
            "node in this process; ``embedded:FOLDER`` to keep its data"
        ),
        example="zk1:2181,zk2:2181,zk3:2181",
    ),
    Option(
        "session-timeout",
        SECTION,
        "Milliseconds that ZooKeeper keeps the address of a process that has died.",
        milliseconds(1, LARGEST_INT),
        10.0,
        target="session_timeout",
        manual=(
            "milliseconds that ZooKeeper keeps the address of a process that has died; the "
            "ensemble raises it to 2 of its ticks, and lowers it to 20"
        ),
    ),
    Option(
        "zookeeper-tls",
        SECTION,
        "Connect to ZooKeeper with TLS.",
        FLAG,
        False,
        manual=(
            "connect to ZooKeeper with TLS; the server's certificate must be for its host name"
        ),
    ),
    Option(
        "zookeeper-ca",
        SECTION,
        "PEM file of the CAs to trust, instead of the system's.",
        FILE,
        target="zookeeper_tls.ca",
        example="/etc/app/ca.pem",
    ),
    Option(
        "zookeeper-cert",
        SECTION,
        "PEM file of this client's certificate, for servers that ask for one.",
        FILE,
        target="zookeeper_tls.certificate",
        example="/etc/app/client.pem",
    ),
    Option(
        "zookeeper-key",
        SECTION,
        "PEM file of the client's key, if it is not in the certificate's file.",
        FILE,
        target="zookeeper_tls.key",
        example="/etc/app/client-key.pem",
    ),
    Option(
        "zookeeper-server-name",
        SECTION,
        "The name in ZooKeeper's certificate, if it is not the host name.",
        Kind(str, "NAME"),
        target="zookeeper_tls.server_name",
        example="zookeeper.example",
    ),
    Option(
        "zookeeper-auth",
        SECTION,
        "SCHEME:file:FILE or SCHEME:env:VARIABLE; for digest, it holds user:password.",
        Kind(str, "SCHEME:SECRET"),
        repeatable=True,
        manual=(
            "a credential: ``digest:file:FILE`` or ``digest:env:VARIABLE`` with ``user:password``"
        ),
        example="digest:file:/etc/app/zookeeper",
    ),
    Option(
        "zookeeper-sasl",
        SECTION,
        "file:FILE or env:VARIABLE with user:password, for SASL DIGEST-MD5.",
        Kind(str, "SECRET"),
        manual=(
            "``file:FILE`` or ``env:VARIABLE`` with ``user:password``, for servers "
            "with SASL DIGEST-MD5"
        ),
        example="file:/etc/app/zookeeper",
    ),
)
