"""The real server for tests."""

from __future__ import annotations

import os
import socket
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from zkservice import testing
from zkservice.testing import apache
from zkservice.testing.apache import ApacheZooKeeper, skip_without_apache


class SkipTests(SynchronousTestCase):
    """Tests that need a real server where there is none."""

    def test_it_is_exported(self) -> None:
        """It is where the other servers for tests are."""
        self.assertIs(testing.ApacheZooKeeper, ApacheZooKeeper)
        self.assertIs(testing.skip_without_apache, skip_without_apache)

    def test_tests_are_skipped_without_apache(self) -> None:
        """They are skipped."""
        self.patch(apache, "available", lambda: False)
        self.patch(os, "environ", {})

        class Sample:
            skip = ""

        self.assertEqual(skip_without_apache(Sample).skip, "Apache ZooKeeper is not installed")
        self.assertRaises(SkipTest, apache.require_apache)

    def test_tests_run_where_apache_is_required(self) -> None:
        """Unless they are required."""
        self.patch(apache, "available", lambda: False)
        self.patch(os, "environ", {apache.REQUIRE: "1"})

        class Sample:
            skip = ""

        self.assertEqual(skip_without_apache(Sample).skip, "")
        apache.require_apache()

    def test_the_class_path_comes_from_the_environment(self) -> None:
        """Another release of ZooKeeper is chosen by an environment variable."""
        self.patch(os, "environ", {apache.CLASSPATH: "/opt/zookeeper/lib/*", "PATH": os.defpath})
        self.assertEqual(apache.classpath(), "/opt/zookeeper/lib/*")

    def test_debians_jars_are_the_default(self) -> None:
        """Without the variable, or if it is empty, Debian's package is used."""
        self.patch(os, "environ", {apache.CLASSPATH: ""})
        self.assertNotIn("/opt", apache.classpath())

    def test_the_port_of_a_stopped_server_stays_reserved(self) -> None:
        """While the server is down its port is bound, and refuses connections; it can have it."""
        server = ApacheZooKeeper()
        self.addCleanup(server.remove)
        where = ("127.0.0.1", server.port)
        with socket.socket() as other:
            self.assertRaises(OSError, other.bind, where)
            self.assertRaises(ConnectionRefusedError, other.connect, where)
        with socket.create_server(where) as itself:  # sets SO_REUSEADDR, as Java does
            self.assertEqual(itself.getsockname(), where)
        server.remove()
        with socket.socket() as other:
            other.bind(where)

    def test_there_is_no_version_of_a_server_that_does_not_run(self) -> None:
        """A server that was not started has no version."""
        server = ApacheZooKeeper()
        self.addCleanup(server.remove)
        self.assertEqual(server.version, ())
