"""How the replies to the operations are read."""

from __future__ import annotations

from zkservice.client.calls import BODY
from zkservice.wire.acl import ACL
from zkservice.wire.jute import decode
from zkservice.wire.records import (
    GetACLResponse,
    GetChildren2Response,
    GetChildrenResponse,
    GetDataResponse,
    Stat,
    StatResponse,
)


def read_stat(reply: bytes) -> Stat:
    """The Stat of exists, set and set_acl."""
    return decode(StatResponse, reply, BODY).stat


def read_data(reply: bytes) -> tuple[bytes, Stat]:
    """Data and Stat; a node without data has the data ``b""``."""
    body = decode(GetDataResponse, reply, BODY)
    return body.data or b"", body.stat


def read_children(reply: bytes) -> list[str]:
    """The children's names."""
    return decode(GetChildrenResponse, reply, BODY).children


def read_children_and_stat(reply: bytes) -> tuple[list[str], Stat]:
    """The children's names and their parent's Stat."""
    body = decode(GetChildren2Response, reply, BODY)
    return body.children, body.stat


def read_acl(reply: bytes) -> tuple[list[ACL], Stat]:
    """The access control list and the Stat."""
    body = decode(GetACLResponse, reply, BODY)
    return body.acl, body.stat
