"""A ZooKeeper server of one node, in the process.

``nodes``, ``access``, ``sessions``, ``watches`` and ``transaction`` hold the data,
``server_state`` and ``requests`` put them together: frames in, frames out, the time handed in.
``protocol`` and ``server`` are the Twisted part.
"""

from zkservice.embedded.server import ZooKeeperServer
from zkservice.embedded.settings import ServerSettings

__all__ = ["ServerSettings", "ZooKeeperServer"]
