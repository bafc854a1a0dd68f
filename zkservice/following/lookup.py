"""Read the nodes that a look-up of ``zkservice.tree.links`` asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.python.failure import Failure

from zkservice.client import ZooKeeperClient
from zkservice.errors import NoAuthError, NoNodeError
from zkservice.properties import Properties, decode
from zkservice.tree.links import Lookup
from zkservice.wire.records import Stat

T = TypeVar("T")

_NOTHING: Final[Mapping[str, Properties]] = {}


def look_up(
    client: ZooKeeperClient, lookup: Lookup[T], known: Mapping[str, Properties] = _NOTHING
) -> Deferred[T]:
    """Run a lookup of ``zkservice.tree.links``: one round trip for each list of paths.

    Args:
        client: connected.
        lookup: the generator that ``resolve``, ``trace`` or ``follow`` returns.  It yields lists
            of paths, and gets their properties.
        known: properties by path; these paths are not read.

    Fails with:
        Exception: whatever the lookup raises.
    """
    return Deferred.fromCoroutine(_look_up(client, lookup, known))


async def _look_up(
    client: ZooKeeperClient, lookup: Lookup[T], known: Mapping[str, Properties]
) -> T:
    found: dict[str, Properties | None] = {}
    try:
        wanted = next(lookup)
        while True:
            unknown = [path for path in wanted if path not in known]
            values = await gather_all(_read_properties(client, path) for path in unknown)
            found = {**dict(zip(unknown, values, strict=True)), **known}
            wanted = lookup.send(found)
    except StopIteration as end:
        result: T = end.value
        return result


async def gather_all(deferreds: Iterable[Deferred[T]]) -> list[T]:
    """Wait for all values; raise the first error itself, not a `FirstError`."""
    try:
        return await gatherResults(list(deferreds), consumeErrors=True)
    except FirstError as error:
        raise error.subFailure.value or error from None


def _read_properties(client: ZooKeeperClient, path: str) -> Deferred[Properties | None]:
    """The properties of a node; None if there is no node, empty if reading is forbidden."""

    def decoded(reply: tuple[bytes, Stat]) -> Properties:
        return decode(reply[0])

    def failed(failure: Failure) -> Properties | None:
        return None if failure.trap(NoNodeError, NoAuthError) is NoNodeError else {}

    return client.get(path).addCallbacks(decoded, failed)
