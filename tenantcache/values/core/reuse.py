"""Whether the values of one pattern of keys are ever asked for again: one that is not has been cached for nothing.

The shape of a key does not tell it. Users have UUIDs as well, and a token may be asked for twice. So some keys are
watched from their load to the end of their life, and the pattern is judged when that many have ended.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from typing import Final

WATCHED: Final = 32
"""Keys of a pattern that are watched at a time."""

JUDGED: Final = 30
"""Keys whose life has ended before the pattern is judged. If a fifth is asked for again, one of a hundred such patterns
is taken for one-time: below a fifth, the guide says, there is no caching."""

MOST_USED: Final = 1 / JUDGED
"""Share of them that was asked for again, at most."""

_TOKENS = re.compile(r"\{(?:uuid|token|hash|hex|ulid|time|date|bytes|secret)\}")


def is_of_tokens(pattern: str) -> bool:
    """Whether keys of `pattern` (`budget/core/patterns.py`) may be one-time: they hold more than words and numbers."""
    return _TOKENS.search(pattern) is not None


class Reuse:
    """The keys of one pattern; `watched` are those whose end is awaited. Instants: seconds of the process's clock."""

    __slots__ = ("is_found", "unused", "used", "watched")

    def __init__(self) -> None:
        self.used: int = 0
        self.unused: int = 0
        self.is_found: bool = False
        self.watched: dict[Hashable, float] = {}

    def watch(self, key: Hashable, end: float) -> bool:
        """Watch `key`, which is loaded now and served until `end`. Whether there was room."""
        if len(self.watched) >= WATCHED or key in self.watched:
            return False
        self.watched[key] = end
        return True

    def asked_again(self, key: Hashable) -> None:
        """`key` is watched, and was asked for once more."""
        del self.watched[key]
        self.used += 1

    def settle(self, now: float, is_used: Callable[[Hashable], bool]) -> dict[Hashable, bool]:
        """Judge the keys whose life has ended, and those that were asked for again: returns whether each was."""
        settled = {}
        for key, end in self.watched.items():
            if (used := is_used(key)) or now >= end:
                settled[key] = used
        for key, used in settled.items():
            del self.watched[key]
            self.used += used
            self.unused += not used
        if self.used + self.unused > 4 * JUDGED:  # what is newer counts for more
            self.used //= 2
            self.unused //= 2
        return settled

    def forget(self) -> None:
        """Whether the watched keys were used is not known any more."""
        self.watched.clear()

    @property
    def is_one_time(self) -> bool:
        judged = self.used + self.unused
        return judged >= JUDGED and self.used <= MOST_USED * judged
