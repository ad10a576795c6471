"""Whether keys are read after they were written, from what they say of themselves at one moment.

A key that was never read has been idle since its write. So the seconds that it is idle and those that are left to it
add up to its whole life, which is the longest such sum among keys of the same pattern. Each read makes the sum shorter.
Keys in the first half of their life have not had the time to be read, and are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tenantcache.values.core.reuse import is_of_tokens

LEAST: Final = 10
"""Keys in the second half of their life that a pattern needs to be judged."""

MOST_READ: Final = 0.05
"""Share of them that was read, at most."""

WHOLE: Final = 0.85
"""Share of the longest life from which on a key is unread: TTLs of one pattern differ by a tenth if they are spread."""


@dataclass(frozen=True, slots=True)
class KeyLife:
    """What a key says of itself: its pattern, seconds since its last read or write, and seconds that are left to it."""

    pattern: str
    idle: int
    ttl: int


@dataclass(frozen=True, slots=True)
class Unread:
    """A pattern whose keys are not read again, as `unread` of the `judged` ones were not."""

    pattern: str
    judged: int
    unread: int


def find_unread(lives: Iterable[KeyLife]) -> list[Unread]:
    """The patterns of tokens whose keys are written and not read, those with the most keys first."""
    by_pattern: dict[str, list[KeyLife]] = {}
    for life in lives:
        if life.ttl >= 0 and is_of_tokens(life.pattern):
            by_pattern.setdefault(life.pattern, []).append(life)
    found = []
    for pattern, keys in by_pattern.items():
        longest = max(key.idle + key.ttl for key in keys)
        old = [key for key in keys if key.ttl <= longest / 2]
        unread = sum(key.idle + key.ttl + 1 >= WHOLE * longest for key in old)
        if len(old) >= LEAST and len(old) - unread <= MOST_READ * len(old):
            found.append(Unread(pattern, len(old), unread))
    return sorted(found, key=lambda one: -one.judged)
