"""Recipes on top of a client: locks, elections, queues, parties and others."""

from __future__ import annotations

from zkservice.recipes.barrier import Barrier
from zkservice.recipes.blocks import EnterDeferred, TryEnterDeferred
from zkservice.recipes.change import Counter, retry_change
from zkservice.recipes.client_protocol import Client
from zkservice.recipes.double_barrier import DoubleBarrier, Participant
from zkservice.recipes.election import Election
from zkservice.recipes.lease import Lease
from zkservice.recipes.lock import Lock
from zkservice.recipes.node import Node
from zkservice.recipes.party import Membership, Party, ShallowParty
from zkservice.recipes.persistent_node import PersistentEphemeralNode
from zkservice.recipes.queue import Queue
from zkservice.recipes.read_write import ReadWriteLock
from zkservice.recipes.reliable import QueueItem, ReliableQueue, SerializedQueue
from zkservice.recipes.semaphore import Semaphore

__all__ = [
    "Barrier",
    "Client",
    "Counter",
    "DoubleBarrier",
    "Election",
    "EnterDeferred",
    "Lease",
    "Lock",
    "Membership",
    "Node",
    "Participant",
    "Party",
    "PersistentEphemeralNode",
    "Queue",
    "QueueItem",
    "ReadWriteLock",
    "ReliableQueue",
    "Semaphore",
    "SerializedQueue",
    "ShallowParty",
    "TryEnterDeferred",
    "retry_change",
]
