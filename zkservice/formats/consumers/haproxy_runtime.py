"""``haproxy-runtime``: commands for HAProxy's socket that bring a backend's servers up to date.

A server whose name is its address is ours; all others are left unchanged.  `haproxy` uses the same
names in its file, so the file for the next start and the socket can be used together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from zkservice.errors import RenderError
from zkservice.formats.consumers import haproxy
from zkservice.formats.consumers.haproxy import MAX_WEIGHT, server_name, server_options
from zkservice.formats.consumers.model import ip_problem, whole_weights
from zkservice.formats.model import Member

NAME: Final = "haproxy-runtime"
#: ``add server`` does not resolve host names: such a server would have no address.
CONSUMER: Final = replace(haproxy.CONSUMER, name=NAME, single=True, problem=ip_problem)

# Bits of srv_admin_state (include/haproxy/server-t.h) that commands of the socket set.
_MAINTENANCE: Final = 0x01
_DRAIN: Final = 0x08
_COLUMNS: Final = ("srv_name", "srv_addr", "srv_port", "srv_admin_state", "srv_uweight")


@dataclass(frozen=True)
class BackendServer:
    """A server of a backend, as HAProxy shows it.

    Attributes:
        name: the server's name.
        ours: whether the name is the server's address.
        state: ``ready``, ``drain`` or ``maint``.
        weight: the present weight.
    """

    name: str
    ours: bool
    state: str
    weight: int


def show_servers(backend: str) -> str:
    """The command that asks for the servers; `parse_servers` reads the reply."""
    return f"show servers state {backend}"


def parse_servers(reply: str) -> list[BackendServer]:
    """Read the reply to ``show servers state BACKEND``.

    Raises:
        RenderError: the reply is something else, such as an error about an unknown backend.
    """
    lines = reply.strip().splitlines()
    if len(lines) < 2 or not lines[1].startswith("# "):
        raise RenderError(f"HAProxy says: {lines[0][:200] if lines else 'nothing'}")
    names = lines[1][2:].split()
    try:
        columns = [names.index(name) for name in _COLUMNS]
        return [_server(*(line.split()[at] for at in columns)) for line in lines[2:]]
    except (ValueError, IndexError):
        raise RenderError("HAProxy lists its servers in an unknown format") from None


def _server(name: str, host: str, port: str, admin_state: str, weight: str) -> BackendServer:
    admin = int(admin_state)
    state = "maint" if admin & _MAINTENANCE else "drain" if admin & _DRAIN else "ready"
    ours = name == server_name(Member("", host, int(port)))
    return BackendServer(name, ours, state, int(weight))


def commands(
    backend: str, members: Sequence[Member], servers: Sequence[BackendServer]
) -> Iterator[str]:
    """The commands for the socket, in order: first servers are added, then others are removed.

    Args:
        backend: the backend's name.
        members: the wanted servers.
        servers: the present servers.
    """
    present = {each.name: each for each in servers}
    wanted = {server_name(each): each for each in members}
    weights = whole_weights(list(wanted.values()), MAX_WEIGHT)
    for (name, member), weight in zip(wanted.items(), weights, strict=True):
        yield from _add_or_update(f"{backend}/{name}", member, weight, present.get(name))
    yield from _remove(backend, wanted, servers)


def _add_or_update(
    server: str, member: Member, weight: int, present: BackendServer | None
) -> Iterator[str]:
    if present is None:
        if member.available:
            yield f"add server {server} {server_options(member, weight)}"
            yield f"enable health {server}"
            yield f"enable server {server}"
        return
    if not present.ours:
        return
    if present.weight != weight:
        yield f"set server {server} weight {weight}"
    state = "ready" if member.available else "drain"
    if present.state == "maint" and member.available:
        yield f"enable health {server}"
    if present.state != state:
        yield f"set server {server} state {state}"


def _remove(
    backend: str, wanted: Mapping[str, Member], servers: Sequence[BackendServer]
) -> Iterator[str]:
    for each in servers:
        if each.ours and each.name not in wanted:
            if each.state != "maint":
                yield f"set server {backend}/{each.name} state maint"
            yield f"del server {backend}/{each.name}"
