"""Tests for `zkservice.client.create_request`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zkservice.client.create_request import create_request
from zkservice.wire.acl import OPEN_ACL_UNSAFE
from zkservice.wire.paths import Chroot


class ChrootTests(SynchronousTestCase):
    """The path of a new node below a chroot."""

    def test_sequence_at_the_root(self) -> None:
        """A sequence node of the client's root is a child of the chroot, not its neighbour."""
        for chroot, expected in (("/", "/"), ("/app", "/app/")):
            request = create_request(
                Chroot(chroot),
                "/",
                b"",
                OPEN_ACL_UNSAFE,
                ephemeral=False,
                sequence=True,
                container=False,
                ttl=None,
            )
            self.assertEqual(request.path, expected)
