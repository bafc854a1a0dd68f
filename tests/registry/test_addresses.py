"""Tests for `zkservice.registry.addresses`."""

from __future__ import annotations

import socket
from socket import AF_INET6, AddressFamily
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zkservice.errors import AddressError
from zkservice.formats.addresses import format_address, parse_address
from zkservice.registry.addresses import advertised_addresses, is_dual_stack


class ParseTests(SynchronousTestCase):
    """Reading ``host:port``."""

    def test_names_blank_hosts_and_ipv6_are_parsed(self) -> None:
        """A name, a blank host and IPv6 in brackets."""
        for text, expected in {
            "localhost:80": ("localhost", 80),
            ":8080": ("", 8080),
            "[::1]:0": ("::1", 0),
            "10.0.0.1:65535": ("10.0.0.1", 65535),
        }.items():
            self.assertEqual(parse_address(text), expected)

    def test_invalid_addresses_are_refused(self) -> None:
        """The message shows what is not an address."""
        for text in (
            *("", "80", "host", "host:", "host:x", "host:-1", "h:65536", "::1:80", "h:٣"),
            *("http://h:80", "a/b:80", "h:" + "9" * 5000),
        ):
            with self.assertRaises(AddressError) as caught:
                parse_address(text)
            self.assertIn(repr(text), str(caught.exception))

    @given(st.sampled_from(["h", "", "::1", "fe80::2", "1.2.3.4"]), st.integers(0, 65535))
    def test_parsing_undoes_formatting(self, host: str, port: int) -> None:
        """A formatted address is parsed into the same host and port."""
        self.assertEqual(parse_address(format_address(host, port)), (host, port))


class AdvertisedTests(SynchronousTestCase):
    """The addresses to register for a port."""

    def advertised(self, host: str, *interfaces: str, **options: bool) -> tuple[str, ...]:
        """The addresses that are registered on a machine with these interfaces."""

        def of_family(family: AddressFamily) -> list[str]:
            return [one for one in interfaces if (":" in one) == (family is AF_INET6)]

        return advertised_addresses(host, 80, of_family, **options)

    def test_a_host_is_taken_as_written(self) -> None:
        """Names are not resolved."""
        self.assertEqual(advertised_addresses("localhost", 1), ("localhost:1",))
        self.assertEqual(advertised_addresses("::1", 1), ("[::1]:1",))

    def test_blank_is_every_outside_address(self) -> None:
        """Loopback addresses are left out if there are others; each address is registered once."""
        interfaces = ["127.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.2", "2001:db8::1"]
        for host in ("", "0.0.0.0"):
            self.assertEqual(
                self.advertised(host, *interfaces), ("10.0.0.1:80", "10.0.0.2:80"), host
            )

    def test_wildcard_of_ipv6_is_every_outside_address(self) -> None:
        """IPv6 addresses that others can reach, and IPv4 ones if the socket accepts IPv4."""
        interfaces = ["::1", "fe80::1", "2001:db8::1", "fd00::1", "127.0.0.1", "10.0.0.1"]
        both = ("[2001:db8::1]:80", "[fd00::1]:80", "10.0.0.1:80")
        for host in ("::", "0::0", "0:0:0:0:0:0:0:0"):
            self.assertEqual(self.advertised(host, *interfaces), both)
            self.assertEqual(self.advertised(host, *interfaces, dual_stack=False), both[:2])
        self.assertEqual(self.advertised("::", "::1", "127.0.0.1", "10.0.0.1"), ("10.0.0.1:80",))

    def test_blank_without_a_network_is_loopback(self) -> None:
        """Without a network, the loopback address is registered."""
        for interfaces in ([], ["127.0.0.1"], ["127.0.0.1", "127.0.0.2", "::1", "fe80::1"]):
            self.assertEqual(self.advertised("", *interfaces), ("127.0.0.1:80",))
            self.assertEqual(self.advertised("::", *interfaces), ("[::1]:80",))

    def test_the_socket_decides_whether_ipv4_is_accepted(self) -> None:
        """The socket's option decides; a port without a socket is not dual-stack."""
        for only in (0, 1):
            with socket.socket(AF_INET6) as listening:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
                port = SimpleNamespace(socket=listening)
                self.assertEqual(is_dual_stack(port), not only)
        with socket.socket() as listening:
            self.assertFalse(is_dual_stack(SimpleNamespace(socket=listening)))
        self.assertFalse(is_dual_stack(object()))
