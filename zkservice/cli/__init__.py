"""The ``zkservice`` command: trees in ZooKeeper, and questions to running services."""
