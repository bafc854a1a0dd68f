"""Tests for `zkservice.registry.addresses`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zkservice.errors import AddressError
from zkservice.formats.addresses import format_address, parse_address
from zkservice.registry.addresses import advertised_addresses


class ParseTests(SynchronousTestCase):
    """Reading ``host:port``."""

    def test_forms(self) -> None:
        """A name, a blank host and IPv6 in brackets."""
        for text, expected in {
            "localhost:80": ("localhost", 80),
            ":8080": ("", 8080),
            "[::1]:0": ("::1", 0),
            "10.0.0.1:65535": ("10.0.0.1", 65535),
        }.items():
            self.assertEqual(parse_address(text), expected)

    def test_refused(self) -> None:
        """What is no address is refused, and the message shows it."""
        for text in (
            *("", "80", "host", "host:", "host:x", "host:-1", "h:65536", "::1:80", "h:٣"),
            *("http://h:80", "a/b:80", "h:" + "9" * 5000),
        ):
            with self.assertRaises(AddressError) as caught:
                parse_address(text)
            self.assertIn(repr(text), str(caught.exception))

    @given(st.sampled_from(["h", "", "::1", "fe80::2", "1.2.3.4"]), st.integers(0, 65535))
    def test_round_trip(self, host: str, port: int) -> None:
        """What is written is read."""
        self.assertEqual(parse_address(format_address(host, port)), (host, port))


class AdvertisedTests(SynchronousTestCase):
    """What others are told."""

    def test_a_host_is_taken_as_written(self) -> None:
        """Names are not resolved."""
        self.assertEqual(advertised_addresses("localhost", 1), ("localhost:1",))
        self.assertEqual(advertised_addresses("::1", 1), ("[::1]:1",))

    def test_blank_is_every_outside_address(self) -> None:
        """Loopback addresses are left out as long as there is another, doubles always."""
        interfaces = ["127.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.2"]
        for host in ("", "0.0.0.0", "::"):
            self.assertEqual(
                advertised_addresses(host, 80, lambda: interfaces), ("10.0.0.1:80", "10.0.0.2:80")
            )

    def test_blank_without_a_network(self) -> None:
        """A machine that is alone is known by its loopback address."""
        for interfaces in ([], ["127.0.0.1"], ["127.0.0.1", "127.0.0.2"]):
            found = advertised_addresses("", 80, lambda found=interfaces: found)  # type: ignore[misc]
            self.assertEqual(found, ("127.0.0.1:80",))
