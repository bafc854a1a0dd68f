"""The real server for tests, as a process."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zkservice.testing.apache import ApacheZooKeeper, four_letter_word, skip_without_apache


@skip_without_apache
class ApacheZooKeeperTests(SynchronousTestCase):
    """It starts, stops, and starts again on what it had."""

    def test_restart_keeps_port_and_data(self) -> None:
        """The same port, the same data, and in the end nothing is left."""
        with ApacheZooKeeper() as server:
            folder = server._folder
            self.assertEqual(four_letter_word(server.port, b"ruok"), b"imok")
            self.assertIn(b"tickTime=500\n", four_letter_word(server.port, b"conf"))
            self.assertGreaterEqual(server.version, (3, 5, 0))
            first = server.pid
            server.kill()
            self.assertEqual(four_letter_word(server.port, b"ruok"), b"")
            server.start()
            self.assertNotEqual(server.pid, first)
            server.restart()
            self.assertEqual(four_letter_word(server.port, b"isro"), b"rw")
        self.assertIsNone(server.pid)
        self.assertFalse(folder.exists())

    def test_a_server_that_does_not_start_shows_its_output(self) -> None:
        """A server that does not start says what it printed."""
        server = ApacheZooKeeper(configuration={"tickTime": "nonsense"})
        self.addCleanup(server.remove)
        error = self.assertRaises(RuntimeError, server.start)
        self.assertIn("nonsense", str(error))
