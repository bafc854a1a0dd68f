"""Tests for zkservice.web.admin_access: the ways in which others try to see an operator's views."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.protocols.haproxy._wrapper import HAProxyProtocolWrapper
from twisted.trial.unittest import SynchronousTestCase

from tests.web.support import Client, FrontEnd, hello, split
from zkservice.errors import ViewError
from zkservice.http11 import HeadReader, Limits, Request, RequestParser
from zkservice.web import AdminAccess, GuardedView, TextView, TrustedProxies
from zkservice.web.channel import HTTPChannel
from zkservice.web.environ import ConnectionInfo, connection_info

LOCAL = ConnectionInfo("127.0.0.1", "80", "127.0.0.1", "5", "http")


def request(head: str) -> Request:
    """A request with these lines."""
    limits = Limits()
    parser = RequestParser(limits, HeadReader(limits))
    parser.feed(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n")
    found = parser.next_request()
    assert found is not None
    return found


def get(*fields: str, host: str = "localhost:8080", method: str = "GET") -> Request:
    """A request for an operator's view."""
    return request("\n".join([f"{method} /-/threads HTTP/1.1", f"Host: {host}", *fields]))


def status(access: AdminAccess, asked: Request, info: ConnectionInfo = LOCAL) -> str:
    """``ok``, or the status with which a request is refused."""
    refused = access.refusal(asked, info)
    return "ok" if refused is None else refused.status.partition(" ")[0]


class AddressTests(SynchronousTestCase):
    """The connected peer."""

    def test_only_this_machine_by_default(self) -> None:
        """Loopback in all its forms; no address of a network."""
        access = AdminAccess()
        for peer, seen in (
            ("127.0.0.1", "ok"),
            ("127.8.9.10", "ok"),
            ("::1", "ok"),
            ("::ffff:127.0.0.1", "ok"),
            ("10.0.0.1", "403"),
            ("::ffff:10.0.0.1", "403"),
            ("fe80::1%lo", "403"),
            ("0.0.0.0", "403"),
            ("::", "403"),
            ("", "403"),
            ("localhost", "403"),
            ("127.0.0.1.evil.example", "403"),
            ("unknown", "403"),
        ):
            with self.subTest(peer):
                info = LOCAL._replace(remote_addr=peer)
                self.assertEqual(status(access, get(), info), seen)

    def test_only_named_networks_are_admitted(self) -> None:
        """Those that are named, of both families; the reason names the option."""
        access = AdminAccess(["10.1.0.0/16", "2001:db8::/32", "192.0.2.7"])
        for peer, seen in (
            ("10.1.255.255", "ok"),
            ("::ffff:10.1.0.1", "ok"),
            ("2001:db8::5", "ok"),
            ("192.0.2.7", "ok"),
            ("192.0.2.8", "403"),
            ("10.2.0.1", "403"),
            ("2001:db9::5", "403"),
        ):
            with self.subTest(peer):
                info = LOCAL._replace(remote_addr=peer)
                self.assertEqual(status(access, get(), info), seen)
        refused = access.refusal(get(), LOCAL._replace(remote_addr="10.2.0.1"))
        assert refused is not None
        self.assertIn("10.2.0.1; allow it with --admin-allow", refused.message)

    def test_unix_sockets_are_this_machine(self) -> None:
        """Their peers have no address."""
        client = Client(FrontEnd(hello).factory)
        transport: Any = client.transport
        transport.hostAddr = transport.peerAddr = UNIXAddress("/run/app.sock")
        self.assertEqual(status(AdminAccess(), get(), connection_info(transport)), "ok")

    def test_a_proxy_header_does_not_give_access(self) -> None:
        """Whoever can connect can write PROXY 127.0.0.1."""
        info = LOCAL._replace(proxied=True)
        self.assertEqual(status(AdminAccess(["0.0.0.0/0"]), get(), info), "403")
        self.assertEqual(status(AdminAccess(own_port=True), get(), info), "403")

    def test_a_proxy_header_is_seen_through_other_protocols(self) -> None:
        """The wrapper may be anywhere below the channel."""

        class Inner:
            def getPeer(self) -> IAddress:  # noqa: N802
                return IPv4Address("TCP", "127.0.0.1", 1)

            getHost = getPeer  # noqa: N815

        inner: Any = Inner()
        self.assertFalse(connection_info(inner).proxied)
        factory: Any = None
        wrapper: Any = HAProxyProtocolWrapper(factory, inner)
        inner.transport = wrapper
        wrapper.transport = None
        self.assertTrue(connection_info(inner).proxied)


class ProxyTests(SynchronousTestCase):
    """Requests that the connected peer forwards for another client."""

    FIELDS = (
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-For: 203.0.113.9",
        "X-Forwarded-Host: localhost",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Port: 80",
        "Forwarded: for=127.0.0.1",
        "X-Real-IP: 127.0.0.1",
        "Via: 1.1 cache",
    )

    def test_forwarded_requests_are_refused(self) -> None:
        """A proxy on this machine connects from loopback, whatever the client's address is."""
        for field in self.FIELDS:
            with self.subTest(field):
                self.assertEqual(status(AdminAccess(), get(field)), "403")

    def test_fields_of_a_client_do_not_give_access(self) -> None:
        """What a stranger writes about its address does not count, on no port."""
        info = LOCAL._replace(remote_addr="203.0.113.9")
        for own_port in (False, True):
            for field in self.FIELDS:
                with self.subTest(field, own_port=own_port):
                    access = AdminAccess(own_port=own_port)
                    self.assertEqual(status(access, get(field), info), "403")

    def test_trusted_proxies_ask_for_others(self) -> None:
        """Even without a field; --admin-allow does not make them operators."""
        proxies = TrustedProxies(["127.0.0.1", "10.0.0.0/8"])
        access = AdminAccess(["10.0.0.0/8"], proxies=proxies)
        refusal = access.refusal(get(), LOCAL)
        assert refusal is not None
        self.assertIn("127.0.0.1, which is a --trusted-proxy; use a port of", refusal.args[1])
        self.assertEqual(status(access, get(), LOCAL._replace(remote_addr="10.0.0.1")), "403")
        self.assertEqual(status(access, get(), LOCAL._replace(remote_addr="::1")), "ok")

    def test_a_proxy_before_the_own_port_is_the_operators(self) -> None:
        """There only the connected peer's address counts."""
        access = AdminAccess(own_port=True)
        for field in self.FIELDS:
            with self.subTest(field):
                self.assertEqual(status(access, get(field)), "ok")

    def test_certificates_count_at_the_own_port(self) -> None:
        """Those of the application's clients are not an operator's."""
        verified = [("SSL_CLIENT_VERIFY", "SUCCESS"), ("SSL_CLIENT_S_DN_CN", "ops")]
        info = LOCAL._replace(remote_addr="203.0.113.9", certificate=verified)
        self.assertEqual(status(AdminAccess(own_port=True), get(), info), "ok")
        self.assertEqual(status(AdminAccess(), get(), info), "403")
        failed = info._replace(certificate=[("SSL_CLIENT_VERIFY", "NONE")])
        self.assertEqual(status(AdminAccess(own_port=True), get(), failed), "403")


class BrowserTests(SynchronousTestCase):
    """What pages of others have a browser on this machine do."""

    def test_foreign_hosts_are_refused(self) -> None:
        """A name that is not ours may have our address meanwhile (DNS rebinding)."""
        access = AdminAccess(hosts=["App1.example"])
        for host, seen in (
            ("localhost", "ok"),
            ("LOCALHOST:80", "ok"),
            ("localhost.", "ok"),
            ("127.0.0.1:8080", "ok"),
            ("192.0.2.1", "ok"),
            ("[::1]:8080", "ok"),
            ("app1.example", "ok"),
            ("APP1.example.:443", "ok"),
            ("evil.example", "403"),
            ("app1.example.evil.example", "403"),
            ("127.0.0.1.evil.example", "403"),
            ("localhost.evil.example", "403"),
            ("0x7f000001", "403"),
            ("2130706433", "403"),
            ("127.1", "403"),
        ):
            with self.subTest(host):
                self.assertEqual(status(access, get(host=host)), seen)

    def test_a_request_without_a_host_is_refused(self) -> None:
        """No browser leaves it away."""
        self.assertEqual(status(AdminAccess(), request("GET /-/threads HTTP/1.0")), "ok")

    def test_only_the_same_origin_is_admitted(self) -> None:
        """Only pages of the very host and port that is asked."""
        for origin, seen in (
            ("http://localhost:8080", "ok"),
            ("http://LOCALHOST:8080", "ok"),
            ("http://localhost:3000", "403"),
            ("http://localhost", "403"),
            ("http://evil.example", "403"),
            ("null", "403"),
            ("", "403"),
        ):
            with self.subTest(origin):
                self.assertEqual(status(AdminAccess(), get(f"Origin: {origin}")), seen)

    def test_other_sites_may_link_but_not_embed(self) -> None:
        """Links may lead here; scripts, pictures and frames of other sites may not."""
        for site, dest, seen in (
            ("none", "document", "ok"),
            ("same-origin", "empty", "ok"),
            ("cross-site", "document", "ok"),
            ("cross-site", "image", "403"),
            ("cross-site", "iframe", "403"),
            ("same-site", "empty", "403"),
            ("cross-site", "script", "403"),
        ):
            with self.subTest(site=site, dest=dest):
                asked = get(f"Sec-Fetch-Site: {site}", f"Sec-Fetch-Dest: {dest}")
                self.assertEqual(status(AdminAccess(), asked), seen)

    def test_only_reading_methods_are_admitted(self) -> None:
        """There is nothing to change."""
        for method, seen in (("GET", "ok"), ("HEAD", "ok"), ("POST", "405"), ("DELETE", "405")):
            with self.subTest(method):
                self.assertEqual(status(AdminAccess(), get(method=method)), seen)

    @given(st.from_regex(r"([a-z0-9-]{1,20}\.){0,3}[a-z][a-z0-9-]{0,9}\.?", fullmatch=True))
    def test_any_other_name_is_refused(self, name: str) -> None:
        """Whatever is not configured: a name ends with a letter, so none of these is an address."""
        known = name.rstrip(".") in ("localhost", "a.example")
        seen = status(AdminAccess(hosts=["a.example"]), get(host=name))
        self.assertEqual(seen, "ok" if known else "403")


class GuardedViewTests(SynchronousTestCase):
    """What a connection gets."""

    def answered(self, view: GuardedView, peer: str) -> tuple[bytes, bytes]:
        """The status and the body for a client with an address."""
        client = Client(FrontEnd(hello, views={"/-/v": view}).factory)
        transport: Any = client.transport
        transport.peerAddr = IPv4Address("TCP", peer, 1)
        line, _, body = split(client.send(b"GET /-/v HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        return line.split()[1], body

    def test_the_reason_or_another_view(self) -> None:
        """Strangers get an error page, or what there is for them."""
        secret, public = TextView(lambda _: "secret"), TextView(lambda _: "public")
        guard = AdminAccess().refusal
        self.assertEqual(
            self.answered(GuardedView(secret, guard), "127.0.0.1"), (b"200", b"secret")
        )
        code, body = self.answered(GuardedView(secret, guard), "192.0.2.9")
        self.assertEqual(code, b"403")
        self.assertIn(b"--admin-allow", body)
        self.assertEqual(
            self.answered(GuardedView(secret, guard, public), "192.0.2.9"), (b"200", b"public")
        )

    def test_the_rule_of_a_certain_view(self) -> None:
        """Headers of the refusal are sent; the connection lives on."""

        def refuse(asked: Request, info: ConnectionInfo) -> ViewError:
            return ViewError("405 Method Not Allowed", "no", (("Allow", "GET"),))

        front_end = FrontEnd(hello, views={"/v": GuardedView(TextView(lambda _: ""), refuse)})
        client = front_end.connect()
        self.assertIsInstance(client.channel, HTTPChannel)
        for _ in range(2):
            line, fields, _ = split(client.send(b"GET /v HTTP/1.1\r\nHost: a\r\n\r\n"))
            self.assertEqual((line, fields["allow"]), (b"HTTP/1.1 405 Method Not Allowed", "GET"))
