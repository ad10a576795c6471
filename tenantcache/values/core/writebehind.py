"""How an application has values written later, and what it is told of those that could not be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class WriteBatch(dict[str, T]):
    """What a writer is given: values by key. `tenant_id` is that of all of them, None for values of no tenant."""

    def __init__(self, values: Mapping[str, T], tenant_id: str | None) -> None:
        super().__init__(values)
        self.tenant_id: str | None = tenant_id


@dataclass(frozen=True, slots=True)
class FailedWrites:
    """Values, by key, that are given up: `error` is what their writer raised last, None if it was not asked again
    before the engine closed. A value may have been written all the same, if that was raised after a commit."""

    tenant_id: str | None
    values: Mapping[str, Any]
    error: Exception | None


Writer = Callable[[WriteBatch[Any]], Awaitable[object]]
OnFailed = Callable[[FailedWrites], object]


@dataclass(frozen=True, slots=True)
class WriteBehind(Generic[T]):
    """A writer, and how it is called: `await write(batch)`, with the values of one tenant, None for what is to be
    deleted. Make one for each table, and give the same one each time.

    A batch may come again, also after it was written, so `write` must be idempotent; if it raises, all of the batch
    counts as not written. Times are in seconds. `delay`: from a value to its batch at most, while all goes well.
    `timeout`: of one call. `give_up_after`: from the first failure of a value. `on_failed` is told of what is given up:
    a coroutine function, or a function, which is called in a thread. `max_wait`: for room in a full queue.

    Raises ValueError and TypeError.
    """

    write: Callable[[WriteBatch[T]], Awaitable[object]]
    on_failed: OnFailed | None = None
    delay: float = 1.0
    max_batch: int = 500
    timeout: float = 30.0
    give_up_after: float = 300.0
    max_wait: float = 5.0

    def __post_init__(self) -> None:
        if not callable(self.write):
            raise TypeError(f"{self.write!r:.80} cannot be a writer; give an async function of a batch")
        if self.delay < 0 or self.give_up_after < 0 or self.max_wait < 0 or self.timeout <= 0:
            raise ValueError("delay=, give_up_after= and max_wait= are seconds, 0 or more; timeout= is over 0")
        if self.max_batch < 1:
            raise ValueError("max_batch= is a number of values, at least 1")
