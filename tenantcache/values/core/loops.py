"""A loop of single loads that could be one batch: as many, of one pattern, one right after the other in one task.

A worker loads one value after another as well, for one job after another. So what lies between two loads counts: in a
loop over keys there is next to nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from tenantcache.values.core.secrecy import shown_pattern

LOADS: Final = 10
"""Loads of one pattern that make a loop."""

GAP: Final = 0.005
"""Seconds from the end of a load to the next one, at most: no request to another server fits into them."""

MOST_REMEMBERED: Final = 3 * LOADS


class Run:
    """The loads of one task that follow each other. Instants are seconds of the process's clock."""

    __slots__ = ("_ended_at", "_is_found", "_keys")

    def __init__(self) -> None:
        self._keys: list[str] = []
        self._ended_at = 0.0
        self._is_found = False

    def begin(self, key: str, now: float) -> str | None:
        """A single load begins. The pattern of its keys if it makes a loop, once for each loop."""
        keys = self._keys
        if now - self._ended_at > GAP:
            keys.clear()
            self._is_found = False
        if self._is_found:
            return None
        keys.append(key)
        if len(keys) % LOADS:
            return None
        pattern, loads = Counter(shown_pattern(one) for one in dict.fromkeys(keys)).most_common(1)[0]
        self._is_found = loads >= LOADS and "{" in pattern
        if self._is_found or len(keys) >= MOST_REMEMBERED:
            keys.clear()
        return pattern if self._is_found else None

    def end(self, now: float) -> None:
        """That load has come to its end."""
        self._ended_at = now
