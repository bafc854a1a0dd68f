"""Read once which addresses are registered below a path, in any format."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple

from twisted.internet.defer import Deferred

from zkservice.client import Retrying, ZooKeeperClient
from zkservice.errors import FormatError, NoAuthError, NoNodeError
from zkservice.following.lookup import gather_all, look_up
from zkservice.formats import FORMATS, Member, read_member
from zkservice.tree.links import resolve
from zkservice.znodes import join

#: Children that are read at the same time; bounds the memory for a znode with many children.
AT_A_TIME: Final = 200


class FoundMembers(NamedTuple):
    """The members of a service, and why other children are not members."""

    members: list[Member]
    problems: list[FormatError]


def find_members(
    client: ZooKeeperClient, path: str, formats: Iterable[str] = FORMATS, *, reactor: object = None
) -> Deferred[FoundMembers]:
    """Read the members of a service once; lost connections are retried.

    Args:
        client: need not be connected yet.
        path: may lead through symbolic links.
        formats: the names of the formats to expect.
        reactor: tells the time; the installed one if None.

    Fails with:
        NoNodeError: the path leads to no node.
        LinkLoopError: the links form a loop.
    """
    retrying = Retrying(client, reactor=reactor)
    return Deferred.fromCoroutine(_find(client, retrying, path, tuple(formats)))


async def _find(
    client: ZooKeeperClient, retrying: Retrying, path: str, formats: tuple[str, ...]
) -> FoundMembers:
    resolution = await retrying.read(lambda: look_up(client, resolve(path)))
    parent = resolution.real_path
    names = sorted(await retrying.read(lambda: client.get_children(parent)))
    found = FoundMembers([], [])
    for start in range(0, len(names), AT_A_TIME):
        batch = names[start : start + AT_A_TIME]
        replies = await gather_all(
            retrying.read(_reader(client, join(parent, name))) for name in batch
        )
        for name, data in zip(batch, replies, strict=True):
            if data is not None:
                _add(found, name, data, formats)
    return found


def _reader(client: ZooKeeperClient, path: str) -> Callable[[], Awaitable[bytes | None]]:
    """A function that reads a child's data.

    It returns None if the child does not exist, and b"" if the ACL forbids reading.
    """

    async def read() -> bytes | None:
        try:
            return (await client.get(path))[0] or b""
        except NoNodeError:
            return None
        except NoAuthError:
            return b""

    return read


def _add(found: FoundMembers, name: str, data: bytes, formats: tuple[str, ...]) -> None:
    try:
        found.members.append(read_member(name, data, formats))
    except FormatError as error:
        found.problems.append(error)
