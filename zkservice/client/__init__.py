"""A ZooKeeper client for Twisted: no threads, every operation a Deferred."""

from __future__ import annotations

from zkservice.client.client import ZooKeeperClient
from zkservice.client.counters import LATENCY_BOUNDS, Statistics
from zkservice.client.four_letter import four_letter_word
from zkservice.client.read_ops import Get, GetChildren, ReadResult
from zkservice.client.retry import Retrying
from zkservice.client.sasl import DigestMD5
from zkservice.client.secrets import read_secret
from zkservice.client.subscribers import Subscription
from zkservice.client.tls import TLS
from zkservice.client.transaction import Transaction
from zkservice.client.watchers import PersistentWatch
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
from zkservice.wire.records import Stat, WatcherType
from zkservice.wire.session import State
from zkservice.wire.watches import EventType, KeeperState, WatchEvent

__all__ = [
    "ACL",
    "ANYONE",
    "CREATOR_ALL_ACL",
    "LATENCY_BOUNDS",
    "OPEN_ACL_UNSAFE",
    "READ_ACL_UNSAFE",
    "TLS",
    "DigestMD5",
    "EventType",
    "Get",
    "GetChildren",
    "Id",
    "KeeperState",
    "Permission",
    "PersistentWatch",
    "ReadResult",
    "Retrying",
    "Stat",
    "State",
    "Statistics",
    "Subscription",
    "Transaction",
    "WatchEvent",
    "WatcherType",
    "ZooKeeperClient",
    "digest_acl",
    "digest_id",
    "four_letter_word",
    "read_secret",
]
