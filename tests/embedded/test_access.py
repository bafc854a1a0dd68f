"""Permissions, and how a client authenticates."""

from __future__ import annotations

from typing import Any

from puresasl.client import SASLClient
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.embedded.raw_client import Multi, RawClient, connected_client, started
from zkservice.embedded.access import MAX_IDENTITIES, ConnectionIdentities, digest_of
from zkservice.embedded.sasl import read_users
from zkservice.wire.acl import ACL, ANYONE, OPEN_ACL_UNSAFE, Id, digest_acl
from zkservice.wire.records import (
    CheckVersionRequest,
    CreateRequest,
    DeleteRequest,
    ExistsRequest,
    GetACLRequest,
    GetAllChildrenNumberRequest,
    GetChildrenRequest,
    GetDataRequest,
    GetSASLRequest,
    SetACLRequest,
    SetDataRequest,
    SyncRequest,
    WhoAmIRequest,
)

READ, WRITE, CREATE, DELETE, ADMIN = 1, 2, 4, 8, 16
SUPER_DIGEST = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="  # of super:test


class AccessTestCase(SynchronousTestCase):
    """A server with a super user, and a client."""

    options: dict[str, Any] = {"super_digest": SUPER_DIGEST}  # noqa: RUF012 - never changed

    @override
    def setUp(self) -> None:
        self.server, _ = started(**self.options)
        self.one: RawClient = connected_client(self.server)

    def error(self, request: Any) -> int:
        """The error that a request is answered with."""
        return self.one.call(request).err

    def made(self, path: str, acl: list[ACL]) -> int:
        """Create a node with a list; answers the error."""
        return self.one.create(path, acl=acl).err

    def stored(self, path: str) -> list[ACL]:
        """A node's list, as the server has it."""
        return list(self.server.state.tree.get(path).acl)


class ListTests(AccessTestCase):
    """Lists as they are stored."""

    def test_digest_is_sha1_of_the_credential(self) -> None:
        """The formula, and what it makes of odd credentials."""
        self.assertEqual(digest_of(b"u:p"), "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=")
        self.assertEqual(digest_of(b"super:test"), SUPER_DIGEST)
        self.assertTrue(digest_of(b"").startswith(":"))
        self.assertTrue(digest_of(b"nocolon").startswith("nocolon:"))

    def test_invalid_lists_are_refused(self) -> None:
        """Lists that are empty, or for an identity that cannot exist."""
        for acl in (
            [],
            None,
            [ACL(31, Id("world", "someone"))],
            [ACL(31, Id("digest", "nocolon"))],
            [ACL(31, Id("digest", "a:"))],
            [ACL(31, Id("digest", ":b"))],
            [ACL(31, Id("digest", "a:b:c"))],
            [ACL(31, Id("ip", "somewhere"))],
            [ACL(31, Id("ip", "10.0.0.0/33"))],
            [ACL(31, Id("ip", "10.0.0.0/x"))],
            [ACL(31, Id("super", ""))],
            [ACL(31, Id("sasl", "u"))],
            [ACL(31, Id("x509", "CN=u"))],
            [ACL(31, Id("", ""))],
            [ACL(31, Id("auth", ""))],
            [ACL(31, ANYONE), ACL(31, Id("nope", "x"))],
        ):
            self.assertEqual(self.error(CreateRequest("/a", b"", acl, 0)), -114, acl)

    def test_odd_permissions_are_kept_and_duplicates_are_not(self) -> None:
        """Odd bits are kept, duplicates are not."""
        one, none = ACL(99, ANYONE), ACL(0, Id("ip", "::1"))
        self.assertEqual(self.made("/a", [one, none, one]), 0)
        self.assertEqual(self.stored("/a"), [one, none])

    def test_auth_entry_stands_for_proved_identities(self) -> None:
        """``auth`` stands for all that the connection proved, with the entry's bits."""
        for credential in (b"u:p", b"v:q"):
            self.one.authenticate("digest", credential)
        self.assertEqual(self.made("/a", [ACL(5, Id("auth", "whatever")), ACL(1, ANYONE)]), 0)
        wanted = [digest_acl("u", "p", 5), digest_acl("v", "q", 5), ACL(1, ANYONE)]
        self.assertEqual(self.stored("/a"), wanted)

    def test_a_null_id_is_the_empty_string(self) -> None:
        """Some clients say null for the empty string."""
        self.one.authenticate("digest", b"u:p")
        whole = self.one.request(CreateRequest("/a", b"", [ACL(31, Id("auth", ""))], 0))
        empty = b"\0\0\0\4auth\0\0\0\0"
        self.assertIn(empty, whole)
        self.one.send(whole.replace(empty, b"\0\0\0\4auth\xff\xff\xff\xff"))
        self.assertEqual(self.stored("/a"), [digest_acl("u", "p")])

    def test_digests_are_hidden_without_admin(self) -> None:
        """Digests are visible only with the permission to change the list."""
        acl = [digest_acl("u", "p", ADMIN), ACL(READ, ANYONE)]
        self.made("/a", acl)
        seen = self.one.call(GetACLRequest("/a")).body.acl
        self.assertEqual(seen, [ACL(ADMIN, Id("digest", "u:x")), ACL(READ, ANYONE)])
        self.one.authenticate("digest", b"u:p")
        self.assertEqual(self.one.call(GetACLRequest("/a")).body.acl, acl)

    def test_set_acl_checks_aversion(self) -> None:
        """setACL checks the list's own version, and says what is wrong in order."""
        self.one.create("/a")
        for request, error in (
            (SetACLRequest("/a", [ACL(31, ANYONE)], 1), -103),
            (SetACLRequest("/a", [ACL(31, ANYONE)], 0), 0),
            (SetACLRequest("/a", [ACL(31, ANYONE)], -1), 0),
            (SetACLRequest("/a", [], 0), -114),
            (SetACLRequest("/no", [], 0), -114),
            (SetACLRequest("/no", [ACL(31, ANYONE)], 0), -101),
            (SetACLRequest("foo", [], 0), -8),
        ):
            self.assertEqual(self.error(request), error, request)


class PermissionTests(AccessTestCase):
    """The operations that each bit of the permissions allows."""

    def allowed(self, permissions: int) -> list[str]:
        """What may be done to a node, and below it, with these bits."""
        root = CreateRequest("/n", b"", [ACL(31, ANYONE)], 0)
        self.one.call(root)
        self.one.create("/n/child")
        self.one.call(SetACLRequest("/n", [ACL(permissions, ANYONE)], -1))
        requests = {
            "data": GetDataRequest("/n", False),
            "exists": ExistsRequest("/n", False),
            "children": GetChildrenRequest("/n", False),
            "count": GetAllChildrenNumberRequest("/n"),
            "acl": GetACLRequest("/n"),
            "sync": SyncRequest("/n"),
            "set": SetDataRequest("/n", b"", -1),
            "create": CreateRequest("/n/more", b"", [ACL(31, ANYONE)], 0),
            "delete": DeleteRequest("/n/child", -1),
            "admin": SetACLRequest("/n", [ACL(permissions, ANYONE)], -1),
        }
        errors = {name: self.error(request) for name, request in requests.items()}
        check = self.one.call(Multi(CheckVersionRequest("/n", -1))).body[0]
        errors["check"] = getattr(check, "err", 0)
        self.assertLessEqual(set(errors.values()), {0, -102})
        return sorted(name for name, error in errors.items() if not error)

    def test_read_permission_guards_all_reads(self) -> None:
        """READ is needed for each operation that reads."""
        wanted = ["acl", "check", "children", "count", "data", "exists", "sync"]
        self.assertEqual(self.allowed(READ), wanted)

    def test_each_permission_guards_one_operation(self) -> None:
        """Each other bit is for one operation; CREATE and DELETE are bits of the parent."""
        for permissions, wanted in (
            (WRITE, ["set", "sync"]),
            (CREATE, ["create", "sync"]),
            (DELETE, ["delete", "sync"]),
            (ADMIN, ["acl", "admin", "sync"]),
            (0, ["sync"]),
        ):
            self.server, _ = started(**self.options)
            self.one = connected_client(self.server)
            self.assertEqual(self.allowed(permissions), wanted)

    def test_permissions_are_not_inherited(self) -> None:
        """What holds for a node does not hold for its children."""
        self.made("/a", [ACL(31, ANYONE)])
        self.made("/a/b", [ACL(31, ANYONE)])
        self.error(SetACLRequest("/a", [ACL(0, ANYONE)], -1))
        self.assertEqual(self.error(SetDataRequest("/a/b", b"", -1)), 0)

    def test_absence_comes_first(self) -> None:
        """A missing node is reported as missing, even if the ACL of its parent allows nothing."""
        self.made("/a", [ACL(0, ANYONE)])
        self.assertEqual(self.error(GetDataRequest("/a/no", False)), -101)
        self.assertEqual(self.error(DeleteRequest("/a/no", -1)), -102)
        self.assertEqual(self.error(CreateRequest("/a/no", b"", list(OPEN_ACL_UNSAFE), 0)), -102)

    def test_a_digest_entry_is_for_who_proved_it(self) -> None:
        """A digest entry is for clients that authenticated, on this connection only."""
        self.made("/a", [digest_acl("u", "p")])
        self.assertEqual(self.error(GetDataRequest("/a", False)), -102)
        self.one.authenticate("digest", b"u:wrong")
        self.assertEqual(self.error(GetDataRequest("/a", False)), -102)
        self.one.authenticate("digest", b"u:p")
        self.assertEqual(self.error(GetDataRequest("/a", False)), 0)
        self.one = connected_client(self.server)
        self.assertEqual(self.error(GetDataRequest("/a", False)), -102)

    def test_ip_entry_matches_address_or_network(self) -> None:
        """An ip entry is for an address or for a network."""
        matches = {
            "127.0.0.1": True,
            "127.0.0.2": False,
            "127.0.0.0/8": True,
            "126.0.0.0/7": True,
            "128.0.0.0/1": False,
            "0.0.0.0/0": True,
            "::1": False,
        }
        for address, wanted in matches.items():
            acl = (ACL(1, Id("ip", address)),)
            self.assertEqual(ConnectionIdentities("127.0.0.1").may(acl, READ), wanted, address)
        self.assertTrue(ConnectionIdentities("fe80::1").may((ACL(1, Id("ip", "fe80::/10")),), READ))
        self.assertFalse(ConnectionIdentities("unix").may((ACL(1, Id("ip", "0.0.0.0/0")),), READ))

    def test_no_list_binds_the_super_user(self) -> None:
        """No list binds the super user."""
        self.made("/a", [ACL(0, ANYONE)])
        self.one.authenticate("digest", b"super:test")
        self.assertEqual(self.error(SetDataRequest("/a", b"", -1)), 0)
        self.assertEqual(self.error(SetDataRequest("/zookeeper/config", b"", -1)), 0)
        names = self.one.call(WhoAmIRequest()).body.client_info
        self.assertEqual([name.user for name in names], ["127.0.0.1", "super"])

    def test_no_super_user(self) -> None:
        """Unless the server knows one."""
        self.server, _ = started()
        self.one = connected_client(self.server)
        self.made("/a", [ACL(0, ANYONE)])
        self.one.authenticate("digest", b"super:test")
        self.assertEqual(self.error(SetDataRequest("/a", b"", -1)), -102)


class AuthTests(AccessTestCase):
    """Auth packets."""

    def test_digest_never_fails(self) -> None:
        """Any bytes are accepted as a digest credential."""
        for credential in (b"u:p", b"", b"nocolon", b"\xff\xfe"):
            self.assertEqual(self.one.authenticate("digest", credential).err, 0)
        self.assertEqual(self.one.authenticate("ip", b"").err, 0)

    def test_identities_of_a_connection_are_bounded(self) -> None:
        """A client cannot make the server remember any number of credentials."""
        for number in range(MAX_IDENTITIES - 1):  # its address is one
            self.assertEqual(self.one.authenticate("digest", b"u%d:p" % number).err, 0)
        self.assertEqual(self.one.authenticate("digest", b"u0:p").err, 0)
        self.assertEqual(self.one.authenticate("digest", b"more:p").err, -115)
        self.assertFalse(self.one.connected)

    def test_refused_auth_closes_the_connection(self) -> None:
        """Other schemes, and null: -115, and the connection is closed; the session lives."""
        for scheme, credential in (
            ("world", b"anyone"),
            ("auth", b""),
            ("sasl", b"x"),
            ("super", b""),
            ("nope", b""),
            ("digest", None),
        ):
            self.one = connected_client(self.server)
            before = self.server.statistics().sessions
            reply = self.one.authenticate(scheme, credential)
            self.assertEqual((reply.xid, reply.zxid, reply.err), (-4, 0, -115))
            self.assertFalse(self.one.connected)
            self.assertEqual(self.server.statistics().sessions, before)


class SaslTests(AccessTestCase):
    """SASL DIGEST-MD5, with an independent client."""

    options = {"sasl_users": {"u": "pass", "super": "word"}}  # noqa: RUF012 - never changed

    def exchange(self, user: str, password: str) -> tuple[int, bytes | None]:
        """Negotiate; answers the last reply's error and token."""
        client = SASLClient(
            "zk-sasl-md5", "zookeeper", "DIGEST-MD5", username=user, password=password
        )
        challenge = self.one.call(GetSASLRequest(b""))
        self.assertEqual((challenge.err, challenge.zxid), (0, 0))
        self.one.send(self.one.request(GetSASLRequest(client.process(challenge.body.token))))
        (frame,) = self.one.frames()
        error = int.from_bytes(frame[12:16], "big", signed=True)
        token = None if frame[16:20] == b"\xff\xff\xff\xff" else frame[20:]
        if not error:
            client.process(token)
            self.assertTrue(client.complete)
        return error, token

    def test_sasl_success_proves_both_sides(self) -> None:
        """The connection becomes the user, and the server proves that it knew the password."""
        error, _ = self.exchange("u", "pass")
        self.assertEqual(error, 0)
        names = self.one.call(WhoAmIRequest()).body.client_info
        self.assertIn(("sasl", "u"), [(name.auth_scheme, name.user) for name in names])

    def test_sasl_entries_are_valid_and_match(self) -> None:
        """Entries for SASL users are valid and match; ``auth`` stands for them, too."""
        self.made("/a", [ACL(31, Id("sasl", "u"))])
        self.assertEqual(self.error(GetDataRequest("/a", False)), -102)
        self.exchange("u", "pass")
        self.assertEqual(self.error(GetDataRequest("/a", False)), 0)
        self.made("/b", [ACL(31, Id("auth", ""))])
        self.assertEqual(self.stored("/b"), [ACL(31, Id("sasl", "u"))])

    def test_the_user_super_is_an_ordinary_sasl_user(self) -> None:
        """The user super has what any SASL user has."""
        self.made("/a", [ACL(31, Id("sasl", "u"))])
        self.exchange("super", "word")
        self.assertEqual(self.error(GetDataRequest("/a", False)), 0)

    def test_sasl_failure_closes_the_connection(self) -> None:
        """A wrong password or user: -115 with a null token, and the connection is closed."""
        for user, password in (("u", "wrong"), ("nobody", "pass"), ("nobody", "")):
            self.one = connected_client(self.server)
            self.assertEqual(self.exchange(user, password), (-115, None))
            self.assertFalse(self.one.connected)

    def test_malformed_sasl_token_is_refused(self) -> None:
        """So with tokens that are no response."""
        for token in (b"", b"\xff", b'username="u"', b"a" * 100):
            self.one = connected_client(self.server)
            self.one.call(GetSASLRequest(b""))
            self.assertEqual(self.error(GetSASLRequest(token)), -115)
            self.assertFalse(self.one.connected)

    def test_a_missing_token_ends_the_connection(self) -> None:
        """A request without a token ends the connection, as it does with Java."""
        self.one.send(self.one.request(GetSASLRequest(None)))
        self.assertEqual((self.one.frames(), self.one.connected), ([], False))

    def test_a_response_for_another_service_is_refused(self) -> None:
        """A response that was made for another service is refused."""
        client = SASLClient("elsewhere", "zookeeper", "DIGEST-MD5", username="u", password="pass")
        token = client.process(self.one.call(GetSASLRequest(b"")).body.token)
        self.assertEqual(self.error(GetSASLRequest(token)), -115)

    def test_replayed_sasl_response_is_refused(self) -> None:
        """A response to another challenge is refused."""
        client = SASLClient("zk-sasl-md5", "zookeeper", "DIGEST-MD5", username="u", password="pass")
        token = client.process(self.one.call(GetSASLRequest(b"")).body.token)
        self.one = connected_client(self.server)
        self.one.call(GetSASLRequest(b""))
        self.assertEqual(self.error(GetSASLRequest(token)), -115)

    def test_second_sasl_exchange_is_refused(self) -> None:
        """A second exchange on a connection fails."""
        self.exchange("u", "pass")
        self.assertEqual(self.error(GetSASLRequest(b"")), -115)

    def test_without_users_the_reply_is_a_null_token(self) -> None:
        """Without users the answer is a null token, and the connection stays."""
        self.server, _ = started()
        self.one = connected_client(self.server)
        reply = self.one.call(GetSASLRequest(b""))
        self.assertEqual((reply.err, reply.body.token, self.one.connected), (0, None, True))

    def test_invalid_lines_of_the_users_file_are_named(self) -> None:
        """A line for each user; what is wrong is said without the passwords."""
        self.assertEqual(read_users("# users\n\nu:pass\nv:a:b\n"), {"u": "pass", "v": "a:b"})
        for text in ("u", ":p", "u:"):
            with self.assertRaises(ValueError) as caught:
                read_users(f"a:b\n{text}\n")
            self.assertEqual(str(caught.exception), "line 2 must be 'user:password'")


class NoSaslTests(AccessTestCase):
    """A server without SASL users."""

    def test_the_second_time_is_refused(self) -> None:
        """The first SASL request gets an empty reply; a second one is refused, and closes."""
        first = self.one.call(GetSASLRequest(b""))
        self.assertEqual((first.err, first.zxid, first.body.token), (0, 0, None))
        self.assertEqual(self.error(GetDataRequest("/", False)), 0)
        self.assertEqual(self.error(GetSASLRequest(b"")), -115)
        self.assertFalse(self.one.connected)

    def test_a_missing_token_ends_the_connection(self) -> None:
        """A request without a token ends the connection."""
        self.one.send(self.one.request(GetSASLRequest(None)))
        self.assertEqual((self.one.frames(), self.one.connected), ([], False))
