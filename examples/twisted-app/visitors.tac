"""``twistd -ny visitors.tac``, with the servers of ZooKeeper in $ZC_ZK_CONNECTION_STRING."""

import os

from twisted.application.service import Application
from twisted.internet import reactor  # noqa: TID251 - the program chooses the reactor
from visitors import VisitorService

application = Application("visitors")
zookeeper = os.environ.get("ZC_ZK_CONNECTION_STRING", "127.0.0.1:2181")
VisitorService(reactor, zookeeper).setServiceParent(application)
