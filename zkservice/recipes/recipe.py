"""The base of all recipes: a client, a path and an ACL."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zkservice.recipes.client_protocol import Client
from zkservice.recipes.retrying import RetryingClient
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE, acl_entries
from zkservice.znodes import validate


class Recipe:
    """The base of the recipes; the constructor sends no request.

    Args:
        client: need not be connected yet.
        path: the node that the recipe uses; created when it is missing.
        acl: the ACL of the nodes that the recipe creates, and of their parents.
        reactor: schedules timers; the installed one if None.

    Raises:
        InvalidPathError: the path is invalid.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        *,
        acl: Iterable[ACL] = OPEN_ACL_UNSAFE,
        reactor: Any = None,
    ) -> None:
        self.path = validate(path)
        self._acl = tuple(acl_entries(acl))
        self._retrying = RetryingClient(client, reactor)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}>"


class NamedRecipe(Recipe):
    """A recipe whose nodes store the identifier of their contender or member.

    Args:
        client: need not be connected yet.
        path: the parent of the nodes; created when it is missing.
        identifier: stored in the nodes that this object creates.
        acl: the ACL of the nodes, and of their parents.
        reactor: schedules timers; the installed one if None.

    Raises:
        InvalidPathError: the path is invalid.
        TypeError: the identifier is not text.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        identifier: str = "",
        *,
        acl: Iterable[ACL] = OPEN_ACL_UNSAFE,
        reactor: Any = None,
    ) -> None:
        super().__init__(client, path, acl=acl, reactor=reactor)
        if not isinstance(identifier, str):
            raise TypeError(f"identifier must be text, not {type(identifier).__name__}")
        self.identifier = identifier
