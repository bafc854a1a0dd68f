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


class BlockExit:
    """The end of an ``async with`` block; subclasses define what it releases."""

    async def leave_block(self, error: BaseException | None) -> None:
        """Release what the block holds.

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
        """Call `leave_block`, whether or not the block raised."""
        await self.leave_block(error)


class AlreadyEntered(BlockExit):
    """Something that is held already: the block begins at once, and releases it at its end."""

    async def __aenter__(self) -> Self:
        return self


R = TypeVar("R")
T = TypeVar("T", bound=BlockExit)


class _BlockDeferred(Deferred[R], BlockExit, Generic[R, T]):
    """A Deferred that is also an ``async with`` block.

    The block waits for the result, and releases it at its end.  The Deferred relays another one,
    ``source``.  When it is cancelled, it fires only after the source's coroutine has ended, which
    may take time to clean up.
    """

    def __init__(self, source: Deferred[R]) -> None:
        super().__init__()
        self._source = source
        self._held: T | None = None
        source.addCallbacks(self.callback, self.errback)

    @override
    def cancel(self) -> None:
        """Cancel the source; once that has fired, cancel what the callbacks wait for."""
        if self.called:
            super().cancel()
        else:
            self._source.cancel()

    @override
    async def leave_block(self, error: BaseException | None) -> None:
        """Release the result."""
        held, self._held = self._held, None
        if held is not None:
            await held.leave_block(error)


class EnterDeferred(_BlockDeferred[T, T]):
    """A Deferred that fires with something held, which a block releases at its end.

    ``async with lock.acquire() as lease`` means ``async with await lock.acquire() as lease``.
    """

    async def __aenter__(self) -> T:
        self._held = held = await self
        return held


class TryEnterDeferred(_BlockDeferred["T | None", T]):
    """Like `EnterDeferred`, but fires with None if it would have to wait; a block then fails."""

    def __init__(self, source: Deferred[T | None], path: str) -> None:
        super().__init__(source)
        self._path = path

    async def __aenter__(self) -> T:
        """Wait for it.

        Raises:
            LockTimeoutError: others hold the lock or wait for it, so the block is not protected.
        """
        held = self._held = await self
        if held is None:
            raise LockTimeoutError(self._path, "it is held, or others wait for it")
        return held


class _OpenBlocks(Generic[T]):
    """What the open blocks of one object hold.

    A block has to release what it has entered itself, although all blocks share the object.  So
    a context variable remembers what the running coroutine has entered.
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
        with suppress(ValueError):  # the token is of another coroutine's context
            self._entered.reset(token)
        return held


class Block(BlockExit, Generic[T]):
    """A recipe that each ``async with`` block enters anew; many blocks can be open at a time.

    A block releases what it has entered itself.  If one coroutine enters and another one leaves
    (as with `contextlib.AsyncExitStack`), what was entered first is released first.
    """

    @cached_property
    def _blocks(self) -> _OpenBlocks[T]:
        return _OpenBlocks()

    def _enter_block(self) -> Deferred[Any]:
        """Enter with default arguments; fires with what the block holds."""
        raise NotImplementedError

    async def __aenter__(self) -> T:
        held: T = await self._enter_block()
        self._blocks.add(held)
        return held

    @override
    async def leave_block(self, error: BaseException | None) -> None:
        """Release what this block has entered."""
        await self._blocks.remove().leave_block(error)
