"""Serve a WSGI application from Twisted and keep its address in ZooKeeper.

Import what is needed from the parts: :mod:`zkservice.client` (the native Twisted
client), :mod:`zkservice.zookeeper` (the high-level API), :mod:`zkservice.testing`
(a ZooKeeper for tests).  Importing ``zkservice`` itself loads nothing.
"""
