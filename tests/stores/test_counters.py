"""Counters in Postgres: how large a statement is, what one that fails leaves, and how long rows stay."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from tenantcache.errors import StoreError
from tenantcache.ratelimit.core.windows import Debit, Unit, Window
from tenantcache.ratelimit.counterstore import Account, AccountDebits
from tenantcache.stores.changelog import PostgresLog
from tenantcache.stores.counters import MAX_ROWS, PostgresCounters
from tenantcache.stores.postgres import PostgresTenants
from tests.fakes import debit_one

MINUTE = Window("minute", 28_333_327)
QUARTER = Window("quarter", 1_888_888)


class FailingLater:
    """Postgres until `left` statements were run."""

    def __init__(self, postgres: PostgresTenants, left: int) -> None:
        self._postgres = postgres
        self.left = left

    async def fetch(self, doing: str, query: str, *args: object) -> list[Any]:
        if not self.left:
            raise StoreError("Postgres did not answer in time")
        self.left -= 1
        return await self._postgres.fetch(doing, query, *args)


def batch_of(accounts: int, amount: int = 1) -> list[AccountDebits]:
    """Two debits each."""
    debits = [Debit(MINUTE, amount), Debit(QUARTER, 2 * amount)]
    return [AccountDebits(Account(f"t{number}", number), debits) for number in range(accounts)]


async def test_a_statement_is_bounded_and_splits_no_account(postgres: PostgresTenants) -> None:
    counters = PostgresCounters(postgres)
    for accounts, statements in ((1, 1), (MAX_ROWS // 2, 1), (MAX_ROWS // 2 + 1, 2), (MAX_ROWS, 2)):
        before = postgres.queries
        await counters.debit(batch_of(accounts))
        assert postgres.queries - before == statements
    odd = [AccountDebits(Account("odd", MAX_ROWS), [Debit(MINUTE, 1)]), *batch_of(MAX_ROWS // 2)]
    before = postgres.queries
    assert (await counters.debit(odd))[-1] == [4, 8]
    assert postgres.queries - before == 2


async def test_a_statement_that_fails_leaves_the_values_of_those_before_it(postgres: PostgresTenants) -> None:
    counters = PostgresCounters(FailingLater(postgres, 1))
    with pytest.raises(StoreError) as caught:
        await counters.debit(batch_of(MAX_ROWS // 2 + 2))
    assert caught.value.values == [*[[1, 2]] * (MAX_ROWS // 2), [None, None], [None, None]]
    with pytest.raises(StoreError) as caught:
        await counters.debit(batch_of(2))
    assert caught.value.values == ()
    counters = PostgresCounters(postgres)
    assert (await counters.debit(batch_of(MAX_ROWS // 2 + 2)))[-3:] == [[2, 4], [1, 2], [1, 2]]


async def test_what_goes_back_into_rows_that_are_there_or_not(postgres: PostgresTenants) -> None:
    counters = PostgresCounters(postgres)
    await debit_one(counters, "a b", [Debit(MINUTE, 10)])
    debits = [Debit(MINUTE, -4), Debit(QUARTER, -4)]
    batch = [AccountDebits(Account(owner, slot), debits) for slot, owner in enumerate(("a b", 'b"\\', "ünï"))]
    assert await counters.debit(batch) == [[6, 0], [0, 0], [0, 0]]
    assert await counters.debit(batch) == [[2, 0], [0, 0], [0, 0]]
    assert await counters.debit(batch) == [[0, 0], [0, 0], [0, 0]]
    assert await debit_one(counters, "a b", [Debit(MINUTE, 3), Debit(MINUTE, -1), Debit(QUARTER, 1)]) == [2, 2, 1]


async def test_large_batches_in_opposite_orders_do_not_lock_each_other_out(postgres: PostgresTenants) -> None:
    """Some rows are not there yet, some are read and some are reset."""
    counters = PostgresCounters(postgres)
    batches = [batch_of(200)[:: (-1) ** number] for number in range(12)]
    reads = [AccountDebits(account, [Debit(window, 0) for window, _ in debits[::-1]]) for account, debits in batches[0]]
    resets = [counters.reset(Account("other", 0), [QUARTER, MINUTE]) for _ in range(5)]
    other = AccountDebits(Account("other", 0), [Debit(MINUTE, 1), Debit(QUARTER, 1)])
    await asyncio.gather(*(counters.debit([*batch, other]) for batch in [*batches, reads]), *resets)
    assert await counters.debit(batch_of(200, 0)) == [[12, 24]] * 200


@pytest.mark.parametrize(
    ("unit", "hours", "kept"),
    [("minute", 2, True), ("minute", 4, False), ("quarter", 2, True), ("quarter", 4, False), ("day", 71, True),
     ("day", 73, False)],
)  # fmt: skip
async def test_rows_are_kept_as_long_as_their_windows_may_be_asked_for(
    postgres: PostgresTenants, database_url: str, admin: asyncpg.Connection, unit: Unit, hours: int, kept: bool
) -> None:
    await debit_one(PostgresCounters(postgres), "acme", [Debit(Window(unit, 1), 1)])
    await admin.execute("update tenantcache.counters set touched_at = now() - make_interval(hours => $1)", hours)
    log = PostgresLog(database_url, timeout=5.0)
    await log.open(lambda *_, **__: None)
    await log.prune(3600, 100)
    await log.close()
    assert await admin.fetchval("select count(*) from tenantcache.counters") == kept
