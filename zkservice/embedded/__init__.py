"""A ZooKeeper server of one node, in the process.

``nodes``, ``access``, ``sessions``, ``watches`` and ``transaction`` hold the data,
``server_state`` and ``requests`` combine them; they take and make frames, without a socket.
``protocol`` and ``server`` are the Twisted part.
"""

from zkservice.embedded.server import ZooKeeperServer
from zkservice.embedded.settings import ServerSettings

__all__ = ["ServerSettings", "ZooKeeperServer"]
