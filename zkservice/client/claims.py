"""Claims of one client's recipes and registrations on ephemeral znodes."""

from __future__ import annotations

from collections.abc import Iterable

from zkservice.errors import NodeExistsError


class Claims:
    """Keeps two registrations of one client from sharing a znode.

    A registration recognizes its znode by the session that owns it.  Two registrations of one
    client have the same session, so the second would take the first one's znode for its own,
    and its own data would never be stored.
    """

    __slots__ = ("_owners",)

    def __init__(self) -> None:
        self._owners: dict[str, object] = {}

    def take(self, owner: object, paths: Iterable[str]) -> None:
        """Claim znodes, all or none.

        Raises:
            NodeExistsError: one of them is claimed by another owner.
        """
        wanted = list(paths)
        for path in wanted:
            if self._owners.get(path, owner) is not owner:
                raise NodeExistsError(path, "registered here already: update that registration")
        self._owners.update(dict.fromkeys(wanted, owner))

    def release(self, owner: object, paths: Iterable[str]) -> None:
        """Release the owner's claims on these znodes."""
        for path in paths:
            if self._owners.get(path) is owner:
                del self._owners[path]
