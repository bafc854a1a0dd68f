"""Tests for `zkservice.security`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zkservice.client import TLS
from zkservice.errors import ConfigurationError
from zkservice.security import Security, identity, load_tls, parse_acl, sasl_user
from zkservice.wire.acl import ACL, ANYONE, CREATOR_ALL_ACL, READ_ACL_UNSAFE, Id


class SecretTests(SynchronousTestCase):
    """Credentials come from files and the environment."""

    def file(self, text: str) -> str:
        """A file with a text."""
        path: str = self.mktemp()
        with open(path, "w") as file:
            file.write(text)
        return path

    def refused(self, call: object, *arguments: object) -> str:
        """Why a text is refused."""
        with self.assertRaises(ConfigurationError) as caught:
            call(*arguments)  # type: ignore[operator]
        return str(caught.exception)

    def test_the_first_line_of_a_file_is_the_secret(self) -> None:
        """The first line of a file, without its end."""
        path = self.file("u:p\nrest")
        for where in (path, f"file:{path}"):
            self.assertEqual(identity(f"digest:{where}", {}), ("digest", b"u:p"))
            self.assertEqual(sasl_user(where, {}).username, "u")

    def test_a_variable_may_hold_the_secret(self) -> None:
        """A variable of the environment."""
        self.assertEqual(identity("digest:env:ZK", {"ZK": "u:p"}), ("digest", b"u:p"))

    def test_a_sasl_password_is_not_in_its_repr(self) -> None:
        """A user and a password, which a repr does not show."""
        user = sasl_user(self.file("u:se:cret\n"), {})
        self.assertEqual((user.username, user.password), ("u", "se:cret"))
        self.assertNotIn("cret", repr(user))

    def test_a_refusal_never_shows_the_secret(self) -> None:
        """The error names what is missing, empty or not a pair, but never the secret."""
        empty = self.file("\n")
        for text, expected in {
            "digest": "must be SCHEME:file:FILE",
            "digest:/nowhere/secret": "/nowhere/secret cannot be read: No such file",
            "digest:env:NOT_SET": "has no variable NOT_SET",
            f"digest:{empty}": "is empty",
        }.items():
            self.assertIn(expected, self.refused(identity, text, {}))
        lonely = self.file("hunter2")
        for message in (
            self.refused(sasl_user, lonely, {}),
            self.refused(identity, f"digest:{lonely}", {}),
        ):
            self.assertIn("user:password", message)
            self.assertNotIn("hunter2", message)

    def test_no_secret_in_a_repr(self) -> None:
        """A configuration can be logged."""
        security = Security(identities=(("digest", b"u:hunter2"),))
        self.assertNotIn("hunter2", repr(security))

    def test_missing_tls_files_are_named_before_connecting(self) -> None:
        """A file that is missing or no PEM is named before anything connects."""
        self.assertIn("/nowhere cannot be read", self.refused(load_tls, TLS(ca="/nowhere")))
        invalid = self.file("nonsense")
        for tls in (TLS(ca=invalid), TLS(certificate=invalid)):
            self.assertIn(f"{invalid} has no certificate", self.refused(load_tls, tls))
        self.assertTrue(callable(load_tls(TLS())))


class ACLTests(SynchronousTestCase):
    """ACLs as a user writes them."""

    def test_usual_lists_have_names(self) -> None:
        """The most common ACLs have names."""
        self.assertEqual(parse_acl("read"), READ_ACL_UNSAFE)
        self.assertEqual(parse_acl("creator"), CREATOR_ALL_ACL)

    def test_entries_have_zkclis_notation(self) -> None:
        """zkCli's notation; an id may hold colons."""
        self.assertEqual(
            parse_acl("world:anyone:r, digest:u:hash=:cdrwa"),
            (ACL(1, ANYONE), ACL(31, Id("digest", "u:hash="))),
        )
        self.assertEqual(parse_acl("auth::rw"), (ACL(3, Id("auth", "")),))

    @given(st.text(max_size=12))
    def test_any_text_is_an_acl_or_refused(self, text: str) -> None:
        """Any text is an ACL or is refused with what it should be."""
        try:
            self.assertTrue(parse_acl(text))
        except ConfigurationError as error:
            self.assertIn("scheme:id:perms", str(error))
