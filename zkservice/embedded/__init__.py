"""A ZooKeeper server of one node, in the process; `zkservice.testing` wraps it for tests."""

# ``nodes``, ``access``, ``sessions``, ``watches`` and ``transaction`` hold the data,
# ``server_state`` and ``requests`` combine them; they take and make frames, without a socket.
# ``protocol`` and ``server`` are the Twisted part.

from zkservice.embedded.server import Statistics, ZooKeeperServer
from zkservice.embedded.server_state import NodeView
from zkservice.embedded.settings import ServerSettings

__all__ = ["NodeView", "ServerSettings", "Statistics", "ZooKeeperServer"]
