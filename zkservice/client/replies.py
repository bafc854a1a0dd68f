"""Functions that decode the replies to the operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from zkservice.client.calls import REPLY_HEADER_SIZE
from zkservice.wire.acl import ACL, Id
from zkservice.wire.jute import Buffer, codec_of, decode
from zkservice.wire.records import (
    GetACLResponse,
    GetAllChildrenNumberResponse,
    GetChildren2Response,
    GetChildrenResponse,
    GetEphemeralsResponse,
    Stat,
    WhoAmIResponse,
)

# The most frequent replies are decoded without a record object, which is faster: a
# GetDataResponse is a Buffer and a Stat, a StatResponse only a Stat.
_get_stat: Final[Callable[[bytes, int], tuple[Stat, int]]] = codec_of(Stat).get
_get_buffer: Final[Callable[[bytes, int], tuple[bytes | None, int]]] = codec_of(Buffer).get


def read_stat(reply: bytes) -> Stat:
    """The Stat of exists, set and set_acl."""
    return _get_stat(reply, REPLY_HEADER_SIZE)[0]


def read_data(reply: bytes) -> tuple[bytes, Stat]:
    """Data and Stat; a node without data has the data ``b""``."""
    data, offset = _get_buffer(reply, REPLY_HEADER_SIZE)
    return data or b"", _get_stat(reply, offset)[0]


def read_children(reply: bytes) -> list[str]:
    """The children's names."""
    return decode(GetChildrenResponse, reply, REPLY_HEADER_SIZE).children


def read_children_and_stat(reply: bytes) -> tuple[list[str], Stat]:
    """The children's names and their parent's Stat."""
    body = decode(GetChildren2Response, reply, REPLY_HEADER_SIZE)
    return body.children, body.stat


def read_acl(reply: bytes) -> tuple[list[ACL], Stat]:
    """The access control list and the Stat."""
    body = decode(GetACLResponse, reply, REPLY_HEADER_SIZE)
    return body.acl, body.stat


def read_ephemerals(reply: bytes) -> list[str]:
    """The server's paths of ephemeral nodes."""
    return decode(GetEphemeralsResponse, reply, REPLY_HEADER_SIZE).ephemerals


def read_total(reply: bytes) -> int:
    """A number of nodes."""
    return decode(GetAllChildrenNumberResponse, reply, REPLY_HEADER_SIZE).total_number


def read_identities(reply: bytes) -> list[Id]:
    """Schemes and users."""
    infos = decode(WhoAmIResponse, reply, REPLY_HEADER_SIZE).client_info
    return [Id(info.auth_scheme, info.user) for info in infos]
