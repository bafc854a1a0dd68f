"""What tests of programs that use ZooKeeper need: a server in the process.

`EmbeddedZooKeeper` runs in the tests' reactor, `ThreadedZooKeeper` in a thread of its
own; ``zkservice.testing.apache`` starts Apache's, for tests that are to see both.
"""

from zkservice.testing.embedded import EmbeddedZooKeeper
from zkservice.testing.thread import ThreadedZooKeeper

__all__ = ["EmbeddedZooKeeper", "ThreadedZooKeeper"]
