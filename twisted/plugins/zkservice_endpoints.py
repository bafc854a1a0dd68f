"""The ``zk:`` endpoint strings; see `zkservice.registry.endpoints`."""

from zkservice.registry.endpoints import EndpointParser

zk = EndpointParser()
