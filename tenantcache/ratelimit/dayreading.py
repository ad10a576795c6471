"""What Redis has counted of the days, read once when a fleet leaves it for its budget (rule 8 of `core/failover.py`).

Each process writes into Postgres what it has seen, a little later. That misses the last takes of a process that was
killed, and those of one that cannot reach Postgres. Redis has them, and is there to be asked: one billed command for
each date and group of accounts. What is taken after that is written down at once, because a change is announced.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from tenantcache.ratelimit.core.failover import EARLIEST_DAY
from tenantcache.ratelimit.core.windows import DAY, Debit, Window
from tenantcache.ratelimit.counterstore import Account, AccountDebits, CounterStore
from tenantcache.ratelimit.daymirror import DayMirror
from tenantcache.ratelimit.slots import group_of

LATEST_DAY = 12 * 3600
"""Seconds by which a day of some time zone ends after that of UTC."""


async def read_days(redis: CounterStore, accounts: Sequence[Account], days: DayMirror, now: float) -> None:
    """Have `days` note what Redis has of each day that goes on now in some time zone. Raises `StoreError`."""
    numbers = range(int((now - LATEST_DAY) // DAY), int((now + EARLIEST_DAY) // DAY) + 1)
    reads = [Debit(Window("day", number), 0) for number in numbers]
    for _, group in groupby(sorted(accounts, key=_slot_of), key=lambda account: group_of(account.slot)):
        batch = [AccountDebits(account, reads) for account in group]
        found = await redis.debit(batch)
        for (account, _), values in zip(batch, found, strict=True):
            for number, value in zip(numbers, values, strict=True):
                if isinstance(value, int) and value:
                    days.note_read(account.owner, number, value)


def _slot_of(account: Account) -> int:
    return account.slot
