"""What tests of programs that use ZooKeeper need: a server in the process."""

from zkservice.testing.embedded import EmbeddedZooKeeper

__all__ = ["EmbeddedZooKeeper"]
