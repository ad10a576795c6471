"""A place in the log of changes, told by number and time.

The time tells an entry from another one of the same number. A database that was put back to an earlier state counts on
from there. So it gives the numbers of what it has lost a second time.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogMark:
    """An entry's number, and when it was written: microseconds since the Unix epoch, by the database's clock."""

    seq: int
    at: int
