"""Tests of ``zkservice.wire.hosts``: connection strings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zkservice.errors import InvalidHostsError, InvalidPathError, ZooKeeperError
from zkservice.wire.hosts import Address, parse_hosts

hosts = st.one_of(
    st.from_regex(r"[a-z0-9-]{1,9}(\.[a-z0-9-]{1,9}){0,2}\.?", fullmatch=True),
    st.ip_addresses().map(lambda ip: str(ip)),
)
addresses = st.builds(Address, hosts, st.integers(1, 65535))


class ParseTests(SynchronousTestCase):
    """What a connection string says."""

    def test_valid_strings_are_parsed(self) -> None:
        """Hosts, ports, IPv6 in brackets, a chroot; blanks around a server do not matter."""
        for text, servers, chroot in [
            ("localhost", [("localhost", 2181)], "/"),
            ("h1:2182", [("h1", 2182)], "/"),
            ("zk.example.org.:2182", [("zk.example.org.", 2182)], "/"),
            ("z\u00fcrich", [("z\u00fcrich", 2181)], "/"),
            ("h1:", [("h1", 2181)], "/"),
            ("h1:2181,h2,10.0.0.3:3", [("h1", 2181), ("h2", 2181), ("10.0.0.3", 3)], "/"),
            (" h1 , h2:1 ", [("h1", 2181), ("h2", 1)], "/"),
            ("h1,,h2,", [("h1", 2181), ("h2", 2181)], "/"),
            ("[::1]", [("::1", 2181)], "/"),
            ("[::1]:7,[fe80::1%eth0]:8", [("::1", 7), ("fe80::1%eth0", 8)], "/"),
            ("h1/", [("h1", 2181)], "/"),
            ("h1:1,h2:2/app/one", [("h1", 1), ("h2", 2)], "/app/one"),
            ("h1:65535/a", [("h1", 65535)], "/a"),
            ("h1:1/a,b", [("h1", 1)], "/a,b"),
        ]:
            ensemble = parse_hosts(text)
            self.assertEqual(list(ensemble.addresses), servers, text)
            self.assertEqual(ensemble.chroot, chroot, text)

    def test_an_error_shows_the_invalid_part(self) -> None:
        """The error shows the invalid part, and what a server looks like."""
        for text, message in [
            ("", "names no server"),
            ("  ", "names no server"),
            (",", "names no server"),
            ("/app", "names no server"),
            (":2181", "has no host"),
            ("[]:2181", "has no host"),
            ("h1:0", "port of 'h1:0' is not a number from 1 to 65535"),
            ("h1:65536", "port of"),
            ("h1:-1", "port of"),
            ("h1:x", "port of"),
            ("h1:٣", "port of"),
            ("h1:" + "9" * 5000, "port of"),
            ("h1:002181", "port of"),
            ("h1,h2:port", "port of 'h2:port'"),
            ("::1", "write IPv6 like"),
            ("h1:1:2", "write IPv6 like"),
            ("[::1", "write IPv6 like"),
            ("[::1]2181", "write IPv6 like"),
            ("h1 h2:2181", "has no blanks"),
            ("h1\nh2", "has no blanks"),
            ("h1..example.org", "'h1..example.org' is not a server: the host's name is invalid"),
            (".:2181", "the host's name is invalid"),
            ("x" * 64, "the host's name is invalid"),
            ("h1\0", "has no blanks"),
            ("zk://h1:2181", "leave 'zk://' out"),
            ("h1:1/app,h2:2/app", "the chroot stands once, behind the last server"),
            ("h1:1/app,h2:2", "the chroot stands once, behind the last server"),
            (None, "expected text like 'host1:2181,host2:2181', got None"),
            (["h1:2181", "h2:2181"], "expected text like"),
            (b"h1:2181", "expected text like"),
        ]:
            with self.assertRaises(InvalidHostsError, msg=text) as caught:
                parse_hosts(text)  # type: ignore[arg-type]
            self.assertIn(message, str(caught.exception))

    def test_the_chroot_must_be_a_path(self) -> None:
        """The chroot is a path."""
        for text in ("h1/app/", "h1//app", "h1/a/../b", "zk:/h1:2181//x"):
            with self.assertRaises(InvalidPathError):
                parse_hosts(text)

    @given(st.lists(addresses, min_size=1, max_size=4))
    def test_a_written_address_is_read_again(self, servers: list[Address]) -> None:
        """What an address is written as reads as the address."""
        text = ",".join(map(str, servers))
        self.assertEqual(list(parse_hosts(text + "/app").addresses), servers)

    @given(st.text(st.sampled_from("h1:,/[]. \n٣")))
    def test_any_text_is_parsed_or_refused(self, text: str) -> None:
        """Any text is a connection string or refused with one of our own errors."""
        try:
            self.assertGreaterEqual(len(parse_hosts(text).addresses), 1)
        except ZooKeeperError as error:
            self.assertIsInstance(error, ValueError)
