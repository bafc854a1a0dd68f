"""Tests of ``zkservice.wire.acl``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zkservice.wire.acl import (
    ACL,
    ANYONE,
    CREATOR_ALL_ACL,
    OPEN_ACL_UNSAFE,
    READ_ACL_UNSAFE,
    Id,
    Permission,
    digest_acl,
    digest_id,
)


class ACLTests(SynchronousTestCase):
    """Permissions, the usual lists, and identities of scheme ``digest``."""

    def test_digests_are_apaches(self) -> None:
        """The hashes are the ones that Apache's server computes."""
        self.assertEqual(digest_id("u", "p"), "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=")
        self.assertEqual(digest_id("super", "test"), "super:D/InIHSb7yEEbrWz8b9l71RjZJU=")

    def test_a_digest_entry_has_all_permissions_by_default(self) -> None:
        """An entry for one user has all permissions unless some are named."""
        user = Id("digest", "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=")
        self.assertEqual(digest_acl("u", "p"), ACL(31, user))
        some = digest_acl("u", "p", Permission.READ | Permission.ADMIN)
        self.assertEqual(some, ACL(17, user))
        self.assertIs(type(some.perms), int)

    def test_an_invalid_user_is_refused(self) -> None:
        """A user must not be empty or contain a colon: the server would read it as another user."""
        for user in ("", "a:b"):
            with self.assertRaisesRegex(ValueError, "must not be empty or contain a colon"):
                digest_id(user, "p")
        self.assertTrue(digest_id("a", "b:c").startswith("a:"))

    def test_permissions_have_the_bits_of_zoodefs(self) -> None:
        """The bits are those of ZooDefs.Perms, and ALL is all of them."""
        self.assertEqual(
            {name: int(bit) for name, bit in Permission.__members__.items()},
            {"READ": 1, "WRITE": 2, "CREATE": 4, "DELETE": 8, "ADMIN": 16, "ALL": 31},
        )

    def test_the_usual_lists_are_constant(self) -> None:
        """They are the lists of ZooDefs.Ids, as tuples that cannot be changed."""
        self.assertEqual(ANYONE, Id("world", "anyone"))
        self.assertEqual(OPEN_ACL_UNSAFE, (ACL(31, ANYONE),))
        self.assertEqual(READ_ACL_UNSAFE, (ACL(1, ANYONE),))
        self.assertEqual(CREATOR_ALL_ACL, (ACL(31, Id("auth", "")),))
