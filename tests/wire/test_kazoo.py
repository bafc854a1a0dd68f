"""A second opinion on the codec: kazoo's serializer.

Java's serializer is the reference.  kazoo's differs from it in one thing: it writes every
empty string as null (-1), where BinaryOutputArchive.java writes a length of 0.  The
strings generated here are therefore not empty, and one test shows the difference.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from kazoo import security
from kazoo.protocol import serialization as kazoo
from twisted.trial.unittest import SynchronousTestCase

from tests.wire.strategies import ints, longs, stats
from zkservice.wire import records
from zkservice.wire.acl import ACL, Id
from zkservice.wire.jute import decode, encode
from zkservice.wire.multi import MultiHeader, decode_requests, encode_requests, encode_results

texts = st.text(min_size=1, max_size=12)
nullable_texts = st.none() | texts
buffers = st.none() | st.binary(max_size=40)
acls = st.lists(st.builds(ACL, ints, st.builds(Id, texts, texts)), max_size=3)


def kazoo_acls(acl: list[ACL]) -> list[Any]:
    """The same list in kazoo's words."""
    return [security.ACL(one.perms, security.Id(one.id.scheme, one.id.id)) for one in acl]


class RequestTests(SynchronousTestCase):
    """Both write the same requests."""

    def agree(self, ours: Any, theirs: Any) -> None:
        """Theirs is ours: the bytes, what they read as, and the operation's number."""
        written = bytes(theirs.serialize())
        self.assertEqual(encode(ours), written)
        self.assertEqual(decode(type(ours), written), ours)
        self.assertEqual(getattr(ours, "opcode", None), theirs.type)

    @given(st.tuples(ints, longs, ints, longs, buffers, st.booleans()))
    def test_the_handshake_is_kazoos(self, values: tuple[Any, ...]) -> None:
        """The handshake."""
        self.agree(records.ConnectRequest(*values), kazoo.Connect(*values))

    @given(texts, buffers, acls, ints)
    def test_create_is_kazoos(
        self, path: str, data: bytes | None, acl: list[ACL], flags: int
    ) -> None:
        """create and create2."""
        values = (path, data, kazoo_acls(acl), flags)
        self.agree(records.CreateRequest(path, data, acl, flags), kazoo.Create(*values))
        self.agree(records.Create2Request(path, data, acl, flags), kazoo.Create2(*values))

    @given(texts, ints, buffers, st.booleans())
    def test_requests_of_a_path_are_kazoos(
        self, path: str, version: int, data: bytes | None, watch: bool
    ) -> None:
        """Requests of a path and little else."""
        self.agree(records.DeleteRequest(path, version), kazoo.Delete(path, version))
        self.agree(records.CheckVersionRequest(path, version), kazoo.CheckVersion(path, version))
        self.agree(records.SetDataRequest(path, data, version), kazoo.SetData(path, data, version))
        self.agree(records.ExistsRequest(path, watch), kazoo.Exists(path, watch))
        self.agree(records.GetDataRequest(path, watch), kazoo.GetData(path, watch))
        self.agree(records.GetChildrenRequest(path, watch), kazoo.GetChildren(path, watch))
        self.agree(records.GetChildren2Request(path, watch), kazoo.GetChildren2(path, watch))
        self.agree(records.GetACLRequest(path), kazoo.GetACL(path))
        self.agree(records.SyncRequest(path), kazoo.Sync(path))

    @given(texts, acls, ints)
    def test_set_acl_is_kazoos(self, path: str, acl: list[ACL], version: int) -> None:
        """setACL."""
        self.agree(
            records.SetACLRequest(path, acl, version),
            kazoo.SetACL(path, kazoo_acls(acl), version),
        )

    @given(st.tuples(nullable_texts, nullable_texts, nullable_texts, longs))
    def test_reconfig_is_kazoos(self, values: tuple[Any, ...]) -> None:
        """reconfig, with strings that are not given."""
        self.agree(records.ReconfigRequest(*values), kazoo.Reconfig(*values))

    @given(ints, texts, texts, buffers)
    def test_credentials_are_kazoos_or_javas(
        self, kind: int, scheme: str, auth: str, token: bytes | None
    ) -> None:
        """auth and SASL; kazoo's credential is text, Java's is a buffer."""
        self.agree(records.AuthPacket(kind, scheme, auth.encode()), kazoo.Auth(kind, scheme, auth))
        self.agree(records.GetSASLRequest(token), kazoo.SASL(token))

    def test_requests_without_a_body_are_kazoos(self) -> None:
        """ping and close are nothing but their header."""
        self.agree(records.Ping(), kazoo.PingInstance)
        self.agree(records.CloseSession(), kazoo.CloseInstance)

    @given(texts, buffers, acls, ints)
    def test_a_transaction_is_kazoos(
        self, path: str, data: bytes | None, acl: list[ACL], flag: int
    ) -> None:
        """A transaction of each kind of operation."""
        ours = [
            records.CreateRequest(path, data, acl, flag),
            records.SetDataRequest(path, data, flag),
            records.CheckVersionRequest(path, flag),
            records.DeleteRequest(path, flag),
        ]
        theirs = kazoo.Transaction(
            [
                kazoo.Create(path, data, kazoo_acls(acl), flag),
                kazoo.SetData(path, data, flag),
                kazoo.CheckVersion(path, flag),
                kazoo.Delete(path, flag),
            ]
        )
        self.assertEqual(encode_requests(ours), bytes(theirs.serialize()))
        self.assertEqual(decode_requests(records.OpCode.MULTI, bytes(theirs.serialize())), ours)

    def test_null_strings_of_kazoo_are_read(self) -> None:
        """kazoo's empty strings are null; what it may leave empty is understood."""
        theirs = kazoo.Create("/a", b"", [security.ACL(31, security.Id("auth", ""))], 0).serialize()
        ours = records.CreateRequest("/a", b"", [ACL(31, Id("auth", ""))], 0)
        self.assertNotEqual(encode(ours), bytes(theirs))
        self.assertEqual(decode(records.CreateRequest, bytes(theirs)), ours)
        auth = decode(records.AuthPacket, kazoo.Auth(0, "digest", "").serialize())
        self.assertEqual(auth, records.AuthPacket(0, "digest", None))
        sync = decode(records.SyncRequest, kazoo.Sync("").serialize())
        self.assertEqual(sync, records.SyncRequest(None))


class ReplyTests(SynchronousTestCase):
    """kazoo reads our replies as they were meant."""

    @given(ints, ints, longs, buffers, st.booleans())
    def test_kazoo_reads_the_handshake(
        self, version: int, timeout: int, session: int, password: bytes | None, read_only: bool
    ) -> None:
        """The answer to the handshake; a missing last byte is no."""
        response = records.ConnectResponse(version, timeout, session, password, read_only)
        expected = kazoo.Connect(version, 0, timeout, session, password, read_only)
        self.assertEqual(kazoo.Connect.deserialize(encode(response), 0)[0], expected)
        short = records.ConnectResponse(version, timeout, session, password)
        expected = expected._replace(read_only=False)
        self.assertEqual(kazoo.Connect.deserialize(encode(short), 0)[0], expected)

    @given(ints, longs, ints, ints, texts)
    def test_kazoo_reads_headers_and_events(
        self, xid: int, zxid: int, err: int, state: int, path: str
    ) -> None:
        """The header, and an event."""
        header = encode(records.ReplyHeader(xid, zxid, err))
        self.assertEqual(kazoo.ReplyHeader.deserialize(header, 0), ((xid, zxid, err), 16))
        event = encode(records.WatcherEvent(err, state, path))
        self.assertEqual(kazoo.Watch.deserialize(event, 0)[0], (err, state, path))

    @given(texts, stats, buffers, st.lists(texts, max_size=4), acls)
    def test_kazoo_reads_every_kind_of_value(
        self,
        path: str,
        stat: records.Stat,
        data: bytes | None,
        names: list[str],
        acl: list[ACL],
    ) -> None:
        """Paths, data, children, ACLs, Stats.  kazoo's exists takes czxid -1 for no node."""
        self.assertEqual(kazoo.Create.deserialize(encode(records.PathResponse(path)), 0), path)
        self.assertEqual(kazoo.Sync.deserialize(encode(records.PathResponse(path)), 0), path)
        both = encode(records.Create2Response(path, stat))
        self.assertEqual(kazoo.Create2.deserialize(both, 0), (path, stat))
        only = encode(records.StatResponse(stat))
        self.assertEqual(kazoo.SetData.deserialize(only, 0), stat)
        self.assertEqual(kazoo.SetACL.deserialize(only, 0), stat)
        self.assertEqual(kazoo.Exists.deserialize(only, 0), None if stat.czxid == -1 else stat)
        got = encode(records.GetDataResponse(data, stat))
        self.assertEqual(kazoo.GetData.deserialize(got, 0), (data, stat))
        self.assertEqual(kazoo.Reconfig.deserialize(got, 0), (data, stat))
        listed = encode(records.GetChildrenResponse(names))
        self.assertEqual(kazoo.GetChildren.deserialize(listed, 0), names)
        listed = encode(records.GetChildren2Response(names, stat))
        self.assertEqual(kazoo.GetChildren2.deserialize(listed, 0), (names, stat))
        listed = encode(records.GetACLResponse(acl, stat))
        self.assertEqual(kazoo.GetACL.deserialize(listed, 0), (kazoo_acls(acl), stat))
        token = encode(records.SetSASLResponse(data))
        self.assertEqual(kazoo.SASL.deserialize(token, 0)[0], data)

    @given(texts, stats)
    def test_kazoo_reads_the_results_of_a_transaction(self, path: str, stat: records.Stat) -> None:
        """The results of a transaction, in order."""
        results = encode_results(
            [
                (records.OpCode.CREATE, records.PathResponse(path)),
                (records.OpCode.DELETE, records.EmptyResponse()),
                (records.OpCode.SET_DATA, records.StatResponse(stat)),
                (records.OpCode.CHECK, records.EmptyResponse()),
            ]
        )
        self.assertEqual(kazoo.Transaction.deserialize(results, 0), [path, True, stat, True])

    def test_kazoo_reads_a_failed_transaction(self) -> None:
        """Every slot of a failed transaction is an error of its own."""
        codes = [0, -101, -2]
        results = encode_results(
            [(records.OpCode.ERROR, records.ErrorResponse(code)) for code in codes]
        )
        errors = kazoo.Transaction.deserialize(results, 0)
        self.assertEqual(
            [type(error).__name__ for error in errors],
            ["RolledBackError", "NoNodeError", "RuntimeInconsistency"],
        )

    @given(ints, st.booleans(), ints)
    def test_kazoo_reads_the_header_of_each_operation(
        self, kind: int, done: bool, err: int
    ) -> None:
        """The header of each operation."""
        theirs = kazoo.MultiHeader(kind, done, err)
        self.assertEqual(encode(MultiHeader(kind, done, err)), bytes(theirs.serialize()))
