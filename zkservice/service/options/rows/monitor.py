"""Rows of zkserve's options: the monitor port and the manhole."""

from __future__ import annotations

import os
from typing import Final

from zkservice.formats.addresses import parse_address
from zkservice.service.commands.monitor_commands import command_pair
from zkservice.service.options.option_table import FILE, FLAG, Kind, Option

__all__ = ["ROWS", "SECTION"]

SECTION: Final = "The monitor"


def _read_operators_port(text: str) -> str:
    if "/" in text:
        return os.path.abspath(text)
    parse_address(text)
    return text


_OPERATORS_PORT: Final = Kind(_read_operators_port, "HOST:PORT")

ROWS: Final = (
    Option(
        "monitor",
        SECTION,
        "[HOST]:PORT or a socket's path for the line protocol; without HOST on loopback.",
        _OPERATORS_PORT,
        target="monitor",
        short="m",
        paste="monitor_server",
        manual=(
            "``HOST:PORT`` or a socket's path for the line protocol; without "
            "``HOST``, as in ``:9001``, it listens on loopback only"
        ),
        example="127.0.0.1:9001",
    ),
    Option(
        "monitor-command",
        SECTION,
        "NAME=DOTTED.NAME: one more command of the monitor.",
        Kind(command_pair, "NAME=DOTTED.NAME"),
        repeatable=True,
        target="monitor_commands",
        paste="monitor_commands",
        manual=(
            "``NAME=DOTTED.NAME``: one more command of the monitor, see `Commands of your own "
            "<monitoring.rst#commands-of-your-own>`__"
        ),
        example="hello=mypackage.commands.hello",
    ),
    Option(
        "manhole",
        SECTION,
        "[HOST]:PORT for a Python prompt over SSH (with --manhole-keys) or telnet (with "
        "--manhole-telnet), or a socket's path; without HOST on loopback.  The names "
        "`service` and `presence` are defined in it.",
        _OPERATORS_PORT,
        target="manhole.address",
        manual=(
            "a Python prompt: ``[HOST]:PORT`` for SSH with ``--manhole-keys``, or for telnet "
            "with ``--manhole-telnet``, from this machine only, with a token; or a socket's "
            "path for telnet without a token: only the user that the process runs as, and "
            "root, can connect to it (mode 0600)"
        ),
        example="/run/app/manhole",
    ),
    Option(
        "manhole-telnet",
        SECTION,
        "Allow telnet at a port: the token and all that is typed are sent in clear text.",
        FLAG,
        False,
        target="manhole.telnet",
        manual=("allow telnet at a port: the token, and all that is typed, are sent in clear text"),
    ),
    Option(
        "manhole-keys",
        SECTION,
        "Use SSH for the manhole, with the public keys in this file; log in as the user that "
        "the process runs as.",
        FILE,
        target="manhole.authorized_keys",
        manual="use SSH for the manhole, with the public keys in this file, one on each line",
        example="/etc/app/operators.pub",
    ),
    Option(
        "manhole-host-key",
        SECTION,
        "The SSH manhole's own key; created if it is missing.",
        FILE,
        "zkserve_host_key",
        target="manhole.host_key",
        manual="the file with the SSH server's own key; created if it is missing",
    ),
    Option(
        "manhole-token",
        SECTION,
        "File with the token that the telnet manhole asks for at a port; created if it is missing.",
        FILE,
        "zkserve_manhole_token",
        target="manhole.token_file",
        manual="the file with the token, in its first line; created if it is missing",
    ),
)
