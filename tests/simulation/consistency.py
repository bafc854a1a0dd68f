"""Whether the containers of a server agree: what one says about a session, another one knows, too.

They are looked at between two events of the simulation, when no request is half done.
"""

from __future__ import annotations

from collections.abc import Iterator

from zkservice.embedded import ZooKeeperServer
from zkservice.embedded.server_state import ServerState


def disagreements(server: ZooKeeperServer) -> Iterator[str]:
    """What two containers of a server say differently."""
    state = server.state
    if set(server._connections.accepted.values()) != set(state.connections):
        yield "the protocols have other connections than the server's state"
    yield from _sessions(state)
    yield from _ephemerals(state)
    watched = sum(len(one.watched) for one in state.connections)
    if watched != len(state.watches):
        yield f"the connections have {watched} watches, the server has {len(state.watches)}"


def _sessions(state: ServerState) -> Iterator[str]:
    alive = set(state.sessions)
    for connection in state.connections:
        session = connection.session
        if session is not None and (session not in alive or session.connection is not connection):
            yield f"a connection has session {session.id:#x}, which has ended or moved"
    for session in alive:
        if session.connection is not None and session.connection not in state.connections:
            yield f"session {session.id:#x} has a connection that is closed"


def _ephemerals(state: ServerState) -> Iterator[str]:
    alive = {session.id for session in state.sessions}
    listed = {(path, owner) for owner, paths in state.tree.ephemerals.items() for path in paths}
    owned = {(path, node.owner) for path, node in state.tree.nodes.items() if node.owner in alive}
    for path, owner in sorted(listed ^ owned):
        yield f"{path} is listed as session {owner:#x}'s, or is its, and not both"
