"""The names that twistd knows; modules are named, not imported, so ``twistd --help`` is fast."""

from twisted.application.service import ServiceMaker

zkserve = ServiceMaker(
    "zkserve",
    "zkservice.service.zkserve",
    "Serve a WSGI application and keep its address in ZooKeeper.",
    "zkserve",
)
zkembedded = ServiceMaker(
    "zkembedded",
    "zkservice.service.zkembedded",
    "Run the embedded ZooKeeper server by itself.",
    "zkembedded",
)
zkregister = ServiceMaker(
    "zkregister",
    "zkservice.service.zkregister",
    "Run a program that is not a WSGI application, and keep its address in ZooKeeper.",
    "zkregister",
)
zkfollow = ServiceMaker(
    "zkfollow",
    "zkservice.service.zkfollow",
    "Write what is registered in ZooKeeper for proxies and Prometheus.",
    "zkfollow",
)
