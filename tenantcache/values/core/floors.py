"""The newest change of each value and each tag, as far as this process knows.

The theory is that of `freshness/core/freshness.py`. A copy of a value carries the newest entry of the log that had been
applied before its load began. It is current as of entry n iff no entry after its own, up to n, names its key or one of
its tags. The floor of a name is the newest entry that names it.

Rules
-----
1. A copy from below the floor of its key, or of one of its tags, is never served.
2. A copy from below the floor of one of its expiries (`expire:`) is stale: it may be served while it is loaded again.
3. Floors are kept in two halves. When the newer half is full, the older one is forgotten, and `tail` stands for all of
   it. Every copy from before is refused. A copy that is found current as of entry n is from entry n on as new as that,
   so what is asked for now and then outlives the floors that it was tested with.
4. `version` grows whenever a copy that could be served may have become one that cannot. So a copy need not be tested
   again while it stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

MAX_FLOORS: Final = 50_000
"""As many as those of tenants: 10 MB."""


class Floors:
    """Numbers are those of log entries. Not thread-safe; no I/O."""

    __slots__ = ("_applied", "_half", "_newer", "_older", "tail", "version")

    def __init__(self, max_floors: int = MAX_FLOORS) -> None:
        self.version: int = 0
        self.tail: float = 0
        self._half = max(1, max_floors // 2)
        self._newer: dict[str, int] = {}
        self._older: dict[str, int] = {}
        self._applied = 0  # when the newer half was begun

    def raise_to(self, seq: int, names: Iterable[str]) -> None:
        """Entry `seq`, the newest so far, names these."""
        self.version += 1
        for name in names:
            if len(self._newer) >= self._half and name not in self._newer:
                self._forget_older(seq)
            self._newer[name] = seq

    def doubt(self) -> None:
        """Something is doubted that the log has not named yet (`freshness`, rule 8)."""
        self.version += 1

    def restart(self, tail: float) -> None:
        """Anything may have changed up to `tail`."""
        self.version += 1
        self.tail = tail
        self._applied = 0
        self._newer, self._older = {}, {}

    def floor(self, names: Iterable[str]) -> float:
        """The newest entry that may name one of `names`."""
        newer, older, found = self._newer, self._older, self.tail
        for name in names:
            # What the newer half has is newer.
            found = max(found, newer.get(name) or older.get(name, 0))
        return found

    def __len__(self) -> int:
        return len(self._newer) + len(self._older)

    def _forget_older(self, seq: int) -> None:
        self.tail = max(self.tail, self._applied)
        self._older, self._newer, self._applied = self._newer, {}, seq
