"""A third-party Twisted program that registers through its endpoint string."""

from __future__ import annotations

import os
import re
import signal

from twisted.internet.endpoints import quoteStringArgument
from twisted.trial.unittest import SynchronousTestCase

from tests.functional.processes import Twistd, fetch, started_kazoo
from zkservice.formats import read_member
from zkservice.testing.apache import ApacheZooKeeper, skip_without_apache


@skip_without_apache
class TwistedWebTests(SynchronousTestCase):
    """``twistd web --listen zk:...`` with Apache's server, which is not there at first."""

    def test_it_serves_before_zookeeper_is_there_and_registers_then(self) -> None:
        """Served at once; registered with its properties; gone before it ends."""
        zookeeper = ApacheZooKeeper()
        self.addCleanup(zookeeper.remove)
        servers = quoteStringArgument(zookeeper.connection_string)
        inner = quoteStringArgument("tcp:0:interface=127.0.0.1")
        listen = f"zk:/svc/files:servers={servers}:property=zone=a:format=nerve:{inner}"
        words = ("web", "--path", ".", "--listen", listen)
        process = Twistd(os.path.abspath(self.mktemp()), *words)
        self.addCleanup(process.end)
        warning = r"Listening on (\S+), but not registered below /svc/files"
        address = process.wait_for_log(warning).group(1)
        self.assertEqual(fetch(address)[0], 200)
        zookeeper.start()
        process.wait_for_log(rf"/svc/files/{re.escape(address)}_0: registered")
        kazoo = started_kazoo(self, zookeeper.connection_string)
        name = f"{address}_0"
        member = read_member(name, kazoo.get(f"/svc/files/{name}")[0])
        self.assertEqual((member.address, member.properties["zone"]), (address, "a"))
        process.signal(signal.SIGTERM)
        self.assertEqual(process.wait(), -signal.SIGTERM)  # as twistd ends
        self.assertEqual(kazoo.get_children("/svc/files"), [])
        self.assertNotIn("Traceback", process.log())
