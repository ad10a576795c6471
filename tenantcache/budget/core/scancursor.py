"""The cursors of SCAN as positions in a server's keys.

Redis walks its hash table in the order of the bucket numbers with their bits reversed (`dictScan` in dict.c). So a walk
survives a table that grows. A cursor is the next bucket's number, and bits beyond the table's size do not count. So one
cursor names the same position, a share of all buckets, in a table of any size. One that is made up is as good as one
that was returned. Buckets are numbered by a hash with a secret seed: a run of them is a random sample of keys.
"""

from __future__ import annotations

from collections.abc import Sequence

_BITS = 64


def cursor_at(position: float) -> int:
    """The cursor of a position from 0 up to 1."""
    return _reverse(int(position * 2**_BITS))


def position_of(cursor: int) -> float:
    """The position of a cursor that SCAN returned: 0 says that the walk is at its end."""
    return _reverse(cursor) / 2**_BITS if cursor else 1.0


def _reverse(number: int) -> int:
    return int(f"{number:0{_BITS}b}"[::-1], 2)


TOLERANCE = 0.35
"""Keys that expired may still be counted, about a quarter at most."""


def are_positions(spans: Sequence[float], sizes: Sequence[int], keys: int) -> bool:
    """Whether this server's cursors are positions: then the keys of runs and their spans tell how many keys it has."""
    covered = sum(spans)
    return covered > 0 and min(spans) > 0 and abs(sum(sizes) / covered / keys - 1) <= TOLERANCE
