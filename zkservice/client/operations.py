"""How the replies to the operations are read."""

from __future__ import annotations

from zkservice.client.calls import BODY
from zkservice.wire.acl import ACL, Id
from zkservice.wire.jute import decode
from zkservice.wire.records import (
    GetACLResponse,
    GetAllChildrenNumberResponse,
    GetChildren2Response,
    GetChildrenResponse,
    GetDataResponse,
    GetEphemeralsResponse,
    Stat,
    StatResponse,
    WhoAmIResponse,
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


def read_ephemerals(reply: bytes) -> list[str]:
    """The server's paths of ephemeral nodes."""
    return decode(GetEphemeralsResponse, reply, BODY).ephemerals


def read_total(reply: bytes) -> int:
    """A number of nodes."""
    return decode(GetAllChildrenNumberResponse, reply, BODY).total_number


def read_identities(reply: bytes) -> list[Id]:
    """Schemes and users."""
    infos = decode(WhoAmIResponse, reply, BODY).client_info
    return [Id(info.auth_scheme, info.user) for info in infos]
