"""Recipes as blocks: ``async with Lock(client, path)``, ``async with lock.acquire()``."""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar, Token
from functools import cached_property
from types import TracebackType
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from typing_extensions import Self, override

from zkservice.errors import LockTimeoutError


class Leavable:
    """Something that an ``async with`` block leaves at its end; subclasses define how."""

    async def leave_block(self, error: BaseException | None) -> None:
        """Leave it.

        Args:
            error: what the block raised; None if it ended normally.
        """
        raise NotImplementedError

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave it, whether or not the block raised."""
        await self.leave_block(error)


class Held(Leavable):
    """Something that is held already, so a block only leaves it."""

    async def __aenter__(self) -> Self:
        return self


R = TypeVar("R")
T = TypeVar("T", bound=Leavable)


class _BlockDeferred(Deferred[R], Leavable, Generic[R, T]):
    """A Deferred that is also a block, which waits for it and then leaves what it fired with.

    It relays another Deferred.  When it is cancelled, it fires only after the other one's
    coroutine has ended, which may take time to clean up.
    """

    def __init__(self, source: Deferred[R]) -> None:
        super().__init__()
        self._source = source
        self._held: T | None = None
        source.addCallbacks(self.callback, self.errback)

    @override
    def cancel(self) -> None:
        """Cancel the other Deferred, or what the callbacks wait for."""
        if self.called:
            super().cancel()
        else:
            self._source.cancel()

    @override
    async def leave_block(self, error: BaseException | None) -> None:
        """Leave what was entered."""
        held, self._held = self._held, None
        if held is not None:
            await held.leave_block(error)


class Entering(_BlockDeferred[T, T]):
    """A Deferred that fires with something held; a block waits for it, and leaves it at the end.

    ``async with lock.acquire() as lease`` means ``async with await lock.acquire() as lease``.
    """

    async def __aenter__(self) -> T:
        self._held = held = await self
        return held


class Trying(_BlockDeferred["T | None", T]):
    """Like `Entering`, but fires with None if others come first; a block then fails."""

    def __init__(self, source: Deferred[T | None], path: str) -> None:
        super().__init__(source)
        self._path = path

    async def __aenter__(self) -> T:
        """Wait for it.

        Raises:
            LockTimeoutError: others come first, so the block would not be protected.
        """
        held = self._held = await self
        if held is None:
            raise LockTimeoutError(self._path, "others come first")
        return held


class _OpenBlocks(Generic[T]):
    """What the blocks of one object have entered and not left yet.

    Each coroutine runs in its own context, which remembers what the coroutine has entered.
    """

    def __init__(self) -> None:
        # In the order of entering; the token resets the context variable.
        self._open: list[tuple[T, Token[tuple[T, ...]]]] = []
        # One variable for each object, so that objects do not see each other's blocks.  A context
        # keeps a variable alive while it has a value, so `remove` resets it.
        self._entered: ContextVar[tuple[T, ...]] = ContextVar("entered", default=())

    def add(self, held: T) -> None:
        """Add what the running coroutine has entered."""
        self._open.append((held, self._entered.set((*self._entered.get(), held))))

    def remove(self) -> T:
        """Remove and return what the running coroutine has entered last.

        If it has entered nothing, remove what was entered first of all.
        """
        entered = self._entered.get()
        index = len(self._open) - 1
        while index and not any(self._open[index][0] is one for one in entered):
            index -= 1
        held, token = self._open.pop(index)
        with suppress(ValueError):  # it was entered in another context
            self._entered.reset(token)
        return held


class Block(Leavable, Generic[T]):
    """A recipe that each ``async with`` block enters anew; many blocks can be open at a time.

    A block leaves what it has entered itself.  If one coroutine enters and another one leaves
    (as with `contextlib.AsyncExitStack`), what was entered first is left first.
    """

    @cached_property
    def _blocks(self) -> _OpenBlocks[T]:
        return _OpenBlocks()

    def _enter_block(self) -> Deferred[Any]:
        """Enter with default arguments; fires with a `T`."""
        raise NotImplementedError

    async def __aenter__(self) -> T:
        held: T = await self._enter_block()
        self._blocks.add(held)
        return held

    @override
    async def leave_block(self, error: BaseException | None) -> None:
        """Leave what this block has entered."""
        await self._blocks.remove().leave_block(error)
