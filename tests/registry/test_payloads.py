"""Tests for `zkservice.registry.payloads`: what other programs' readers find."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from zkservice.registry.payloads import PAYLOADS, Announcement

ONE = Announcement(
    "/svc/web", "[::1]:8080", {"pid": 7, "monitor": "h:1", "shard": 3}, 1_325_129_459_728
)


class PayloadTests(SynchronousTestCase):
    """Each format, read back as its readers read it."""

    def test_properties(self) -> None:
        """zc.zk: the address as the name, compact JSON as the data."""
        payload = PAYLOADS["properties"]
        self.assertEqual(payload.name(ONE), "[::1]:8080")
        self.assertEqual(json.loads(payload.data(ONE)), {"pid": 7, "monitor": "h:1", "shard": 3})

    def test_serverset(self) -> None:
        """Finagle: a member with its end points, its status and its shard."""
        payload = PAYLOADS["serverset"]
        self.assertTrue(payload.name(ONE).startswith("member_"))
        self.assertEqual(
            json.loads(payload.data(ONE)),
            {
                "serviceEndpoint": {"host": "::1", "port": 8080},
                "additionalEndpoints": {"monitor": {"host": "h", "port": 1}},
                "status": "ALIVE",
                "shard": 3,
            },
        )

    def test_serverset_monitor_on_a_socket(self) -> None:
        """The path of a socket is no end point."""
        one = Announcement("/s", "h:1", {"monitor": "/run/m.sock", "shard": "x"}, 0)
        member = json.loads(PAYLOADS["serverset"].data(one))
        self.assertEqual(member["additionalEndpoints"], {})
        self.assertNotIn("shard", member)

    def test_curator(self) -> None:
        """Curator: an instance that names its service, its id, its address."""
        payload = PAYLOADS["curator"]
        instance = json.loads(payload.data(ONE))
        self.assertEqual(instance["id"], payload.name(ONE))
        self.assertEqual(
            {key: instance[key] for key in ("name", "address", "port", "serviceType")},
            {"name": "web", "address": "::1", "port": 8080, "serviceType": "DYNAMIC"},
        )
        self.assertEqual(instance["registrationTimeUTC"], 1_325_129_459_728)
        self.assertEqual(instance["payload"]["pid"], 7)

    def test_curator_ids(self) -> None:
        """An address keeps its id; another service's has another."""
        name = PAYLOADS["curator"].name
        self.assertEqual(name(ONE), name(Announcement("/svc/web", "[::1]:8080", {}, 0)))
        self.assertNotEqual(name(ONE), name(Announcement("/svc/db", "[::1]:8080", {}, 0)))
