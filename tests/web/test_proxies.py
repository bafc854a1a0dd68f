"""Tests for zkservice.web.proxies: which forwarded headers are trusted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from zkservice.web.environ import ConnectionInfo, connection_info
from zkservice.web.proxies import FORWARDED_FIELDS, TrustedProxies

INFO = ConnectionInfo("192.0.2.1", "80", "10.0.0.5", "4711", "http")
X_FORWARDED = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port")


class TrustedProxiesTests(SynchronousTestCase):
    """Rewriting and stripping."""

    def applied(
        self, proxies: TrustedProxies, /, info: ConnectionInfo = INFO, **said: str
    ) -> tuple[ConnectionInfo, dict[str, str]]:
        """The connection and the fields after the proxies' word was taken, or not."""
        fields = {"HTTP_HOST": "a", "HTTP_ACCEPT": "b"}
        fields |= {f"HTTP_{name.upper()}": value for name, value in said.items()}
        return proxies.apply(fields, info), fields

    def test_a_request_without_fields_is_unchanged(self) -> None:
        """A request without such fields is as it was."""
        for proxies in (TrustedProxies(), TrustedProxies(["10.0.0.0/8"])):
            info, fields = self.applied(proxies)
            self.assertIs(info, INFO)
            self.assertEqual(fields, {"HTTP_HOST": "a", "HTTP_ACCEPT": "b"})

    def test_strangers_are_not_believed(self) -> None:
        """The headers of a client that is not a proxy are dropped, with one warning."""
        proxies = TrustedProxies(["172.16.0.0/12"], headers=X_FORWARDED)
        with capturedLogs() as events:
            for _ in range(3):
                info, fields = self.applied(
                    proxies, x_forwarded_for="6.6.6.6", x_forwarded_host="b", forwarded="c"
                )
                self.assertEqual((info, fields), (INFO, {"HTTP_HOST": "a", "HTTP_ACCEPT": "b"}))
        self.assertEqual([event["peer"] for event in events], ["10.0.0.5"])

    def test_address_and_scheme(self) -> None:
        """By default a proxy is believed about these two, and the fields are gone."""
        info, fields = self.applied(
            TrustedProxies(["10.0.0.0/8"]),
            x_forwarded_for="203.0.113.9",
            x_forwarded_proto="https",
            x_forwarded_host="evil",
        )
        self.assertEqual((info.remote_addr, info.remote_port), ("203.0.113.9", ""))
        self.assertEqual((info.scheme, info.server_port), ("https", "443"))
        self.assertEqual(fields, {"HTTP_HOST": "a", "HTTP_ACCEPT": "b"})

    def test_host_and_port(self) -> None:
        """If the proxies set them, host and port of the server are the outer ones."""
        proxies = TrustedProxies(["10.0.0.5"], headers=X_FORWARDED)
        info, fields = self.applied(
            proxies, x_forwarded_host="www.example.org", x_forwarded_proto="https"
        )
        self.assertEqual((info.server_name, info.server_port), ("www.example.org", "443"))
        self.assertEqual(fields["HTTP_HOST"], "www.example.org")
        info, _ = self.applied(proxies, x_forwarded_host="[::1]:81", x_forwarded_port="8443")
        self.assertEqual((info.server_name, info.server_port), ("[::1]", "8443"))

    def test_the_forged_end_of_the_chain(self) -> None:
        """What the client put in front of the chain is not reached (one hop)."""
        info, _ = self.applied(
            TrustedProxies(["10.0.0.0/8"]), x_forwarded_for="6.6.6.6, 203.0.113.9"
        )
        self.assertEqual(info.remote_addr, "203.0.113.9")

    def test_the_chain_is_followed_while_trusted(self) -> None:
        """The chain is followed as far as its links are trusted, and as the hops reach."""
        chain = "6.6.6.6, 203.0.113.9, 10.0.0.7"
        for hops, networks, address in (
            (1, ["10.0.0.0/8"], "10.0.0.7"),
            (2, ["10.0.0.0/8"], "203.0.113.9"),
            (9, ["10.0.0.0/8"], "203.0.113.9"),
            (3, ["0.0.0.0/0"], "6.6.6.6"),
            (2, ["10.0.0.5/32"], "10.0.0.7"),
        ):
            with self.subTest((hops, networks)):
                info, _ = self.applied(TrustedProxies(networks, hops), x_forwarded_for=chain)
                self.assertEqual(info.remote_addr, address)

    def test_scheme_of_a_longer_way(self) -> None:
        """A scheme that is said once holds for all hops."""
        info, _ = self.applied(
            TrustedProxies(["10.0.0.0/8"], 2),
            x_forwarded_for="203.0.113.9, 10.0.0.7",
            x_forwarded_proto="https",
        )
        self.assertEqual((info.remote_addr, info.scheme), ("203.0.113.9", "https"))

    def test_rfc_7239_fields_are_read(self) -> None:
        """RFC 7239's field says everything in one."""
        info, fields = self.applied(
            TrustedProxies(["10.0.0.0/8"], headers=["Forwarded"]),
            forwarded='for=6.6.6.6, for="[2001:db8::17]:4711";proto=https;host="b:444"',
            x_forwarded_for="6.6.6.6",
        )
        self.assertEqual((info.remote_addr, info.scheme), ("2001:db8::17", "https"))
        self.assertEqual((info.server_name, info.server_port), ("b", "444"))
        self.assertEqual(fields, {"HTTP_HOST": "b:444", "HTTP_ACCEPT": "b"})

    def test_nonsense_changes_nothing(self) -> None:
        """A trusted proxy that passes nonsense on does no harm."""
        for said in ("unknown", "_hidden", "", "999.1.1.1", "a, b", "1.2.3.4.5"):
            with self.subTest(said):
                info, fields = self.applied(
                    TrustedProxies(["10.0.0.0/8"], headers=X_FORWARDED),
                    x_forwarded_for=said,
                    x_forwarded_proto="gopher",
                    x_forwarded_host="a b",
                    x_forwarded_port="x",
                )
                self.assertEqual((info.remote_addr, info.scheme), ("10.0.0.5", "http"))
                self.assertEqual((info.server_name, info.server_port), ("192.0.2.1", "80"))
                self.assertEqual(fields["HTTP_HOST"], "a")

    def test_hosts_that_an_application_could_not_parse(self) -> None:
        """What a proxy passes on of its client's is held to what a client may say itself."""
        for host, port in (
            *(("[:::]", ""), ("[192.0.2.1]", "x"), ("a:65536", "65536"), (":80", "-1")),
            *(("a:99999", "123456"), ("u@a", "8 0"), ("a/b", "\u0668"), ("a:80:80", "+80")),
        ):
            with self.subTest((host, port)):
                info, fields = self.applied(
                    TrustedProxies(["10.0.0.0/8"], headers=X_FORWARDED),
                    x_forwarded_host=host,
                    x_forwarded_port=port,
                )
                self.assertEqual((info.server_name, info.server_port), ("192.0.2.1", "80"))
                self.assertEqual(fields["HTTP_HOST"], "a")

    def test_a_mapped_address_is_the_same_proxy(self) -> None:
        """An IPv4 proxy on an IPv6 socket is the same proxy."""
        info, _ = self.applied(
            TrustedProxies(["10.0.0.0/8"]),
            INFO._replace(remote_addr="::ffff:10.0.0.5"),
            x_forwarded_for="::ffff:203.0.113.9",
        )
        self.assertEqual(info.remote_addr, "203.0.113.9")

    def test_mistakes_of_the_administrator(self) -> None:
        """Networks, hops and headers that cannot be meant are refused."""
        self.assertRaises(ValueError, TrustedProxies, ["example.org"])
        self.assertRaises(ValueError, TrustedProxies, [], 0)
        self.assertRaises(ValueError, TrustedProxies, [], 1, ["x-real-ip"])
        self.assertRaises(ValueError, TrustedProxies, [], 1, ["forwarded", "x-forwarded-for"])

    @given(st.sampled_from(sorted(FORWARDED_FIELDS)), st.text(max_size=60), st.integers(1, 3))
    def test_any_field_is_removed_and_never_crashes(self, name: str, value: str, hops: int) -> None:
        """Whatever a field holds, it is gone, and the addresses are valid or what they were."""
        proxies = TrustedProxies(["10.0.0.0/8"], hops, [name])
        fields = {FORWARDED_FIELDS[name]: value}
        info = proxies.apply(fields, INFO)
        self.assertNotIn(FORWARDED_FIELDS[name], fields)
        self.assertIn(info.scheme, ("http", "https"))


class ConnectionInfoTests(SynchronousTestCase):
    """What is taken from the connection itself."""

    def test_forged_address_is_printable(self) -> None:
        """REMOTE_ADDR is printable, although a PROXY header can hold any text."""
        peer = IPv4Address("TCP", "192.0.2.1\nx\x1b[2J", 4)
        info = connection_info(StringTransport(peerAddress=peer))
        self.assertEqual(info.remote_addr, "192.0.2.1\\x0ax\\x1b[2J")
