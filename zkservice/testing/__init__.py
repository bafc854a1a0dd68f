"""What tests of programs that use ZooKeeper need: a server in the process.

`EmbeddedZooKeeper` runs in the tests' reactor, `ThreadedZooKeeper` in a thread of its
own; `ApacheZooKeeper` starts Apache's, for tests that are to see both.
"""

from zkservice.testing.apache import ApacheZooKeeper, skip_without_apache
from zkservice.testing.embedded import EmbeddedZooKeeper
from zkservice.testing.thread import ThreadedZooKeeper

__all__ = ["ApacheZooKeeper", "EmbeddedZooKeeper", "ThreadedZooKeeper", "skip_without_apache"]
