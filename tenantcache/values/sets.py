"""Values that are being set in this process, and what overtakes them.

The log cannot tell which of two writers has committed last. So, of what is set:

* A later `set` of the same value overtakes it, and so does an invalidation that is under way meanwhile.
* What was invalidated here less than `max_staleness` before is told to others and not held. A caller may have committed
  before that invalidation, and come with its value after it. Nothing older than an own invalidation is served.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from tenantcache.freshness.core.freshness import NEVER
from tenantcache.runtime.clock import Clock
from tenantcache.values.memory import Place

MAX_NAMES: Final = 10_000
"""Names that were invalidated of late: 2 MB. Past it nothing that is set is held for a while."""


class Sets:
    """`max_staleness` in seconds."""

    def __init__(self, max_staleness: float, clock: Clock) -> None:
        self._max_staleness, self._clock = max_staleness, clock
        self._under_way: dict[Place, object] = {}
        self._invalidations = 0  # that are under way here
        self._until: dict[str, float] = {}  # by name, oldest first
        self._all_until = NEVER

    def begin(self, place: Place) -> object:
        writing = self._under_way[place] = object()
        return writing

    def end(self, place: Place, writing: object, names: Sequence[str]) -> bool:
        """Whether nothing has overtaken it; `names` are those of the value and its tags."""
        if self._under_way.get(place) is not writing:
            return False
        del self._under_way[place]
        now = self._clock()
        is_recent = now < self._all_until or any(now < self._until.get(name, NEVER) for name in names)
        return self._invalidations == 0 and not is_recent

    @contextmanager
    def invalidating(self, names: Sequence[str]) -> Iterator[None]:
        """Around an invalidation of `names`, until it is applied here."""
        self._invalidations += 1
        try:
            yield
        finally:
            self._invalidations -= 1
            self._under_way.clear()
            self._note(names)

    def clear(self) -> None:
        self._under_way.clear()

    def _note(self, names: Sequence[str]) -> None:
        now = self._clock()
        while self._until and next(iter(self._until.values())) <= now:
            del self._until[next(iter(self._until))]
        if len(self._until) + len(names) > MAX_NAMES:
            self._until.clear()
            self._all_until = now + self._max_staleness
            return
        for name in names:
            self._until.pop(name, None)
            self._until[name] = now + self._max_staleness
