"""Callers who wait because the queue of what is to be written later is full.

Rules

* They enter in the order in which they came. Who comes later does not overtake those who wait for the same key, so the
  last value of a key stays the last one.
* A value that takes the place of one in the queue needs no room, and does not wait.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable

from tenantcache.errors import NotOpenError, StoreUnavailableError
from tenantcache.values.core.writequeue import Name, Write, WriteQueue


class _Caller:
    """Has a value for which there is no room yet."""

    def __init__(self, write: Write) -> None:
        self.write = write
        self.entered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def has_entered(self) -> bool:
        return self.entered.done() and not self.entered.cancelled()


class WriteLine:
    """`enter` puts a value into `queue`."""

    def __init__(self, queue: WriteQueue, enter: Callable[[Write], None]) -> None:
        self._queue, self._enter = queue, enter
        self._callers: deque[_Caller] = deque()
        self._keys: Counter[Name] = Counter()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._callers)

    def may_enter(self, write: Write) -> bool:
        """Whether a value need not wait."""
        name = write.name
        is_first = not self._callers or (self._queue.replaces(name) and not self._keys[name])
        return is_first and self._queue.has_room(name, write.size)

    async def wait(self, write: Write) -> None:
        """Return once it has entered. Raises `StoreUnavailableError` after `max_wait` seconds."""
        caller = _Caller(write)
        self._callers.append(caller)
        self._keys[write.name] += 1
        try:
            async with asyncio.timeout(write.target.max_wait):
                await caller.entered
        except TimeoutError:
            if not caller.has_entered:
                raise StoreUnavailableError(
                    f"the value of {write.name[1]!r:.80} was not taken: {len(self._queue)} values wait to be written,"
                    f" and there was no room for it within {write.target.max_wait} s"
                ) from None
        finally:
            if caller in self._callers:
                self._callers.remove(caller)
                self._forget_key(write.name)
                self.admit()

    def admit(self) -> None:
        """Let those in for whom there is room, one after the other."""
        while self._callers:
            first = self._callers[0]
            if not self._queue.has_room(first.write.name, first.write.size):
                return
            self._callers.popleft()
            self._forget_key(first.write.name)
            if not first.entered.done():
                self._enter(first.write)
                first.entered.set_result(None)

    def close(self) -> None:
        """Nothing enters any more: they are told so."""
        for caller in self._callers:
            if not caller.entered.done():
                caller.entered.set_exception(NotOpenError("the engine is closing: the value was not taken"))

    def forget(self) -> None:
        """Their event loop has ended, or is the parent's of a fork."""
        self._callers.clear()
        self._keys.clear()

    def _forget_key(self, name: Name) -> None:
        self._keys[name] -= 1
        if not self._keys[name]:
            del self._keys[name]
