"""Usage, write-behind, on a real Postgres: nothing lost, nothing counted twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, date, datetime
from uuid import UUID

import asyncpg
import pytest

from tenantcache import StoreUnavailableError
from tenantcache.admin.usage import MAX_ROWS, Usage
from tenantcache.admin.usagestore import UsageRow
from tenantcache.errors import StoreError, TenantCacheError
from tenantcache.ratelimit.core.spending import Spent
from tenantcache.stores.postgres import PostgresTenants
from tenantcache.stores.usage import PostgresUsage
from tests.fakes import until

TODAY = 19_675
NOON = TODAY * 86_400 + 43_200.0
LONG = 3600.0


class Source:
    """What the limiter would say was admitted."""

    def __init__(self) -> None:
        self._spent: list[tuple[str, list[Spent]]] = []

    def spend(self, tenant_id: str, tokens: int, day: int = TODAY) -> None:
        self._spent.append((tenant_id, [Spent(day, tokens)]))

    def drain(self) -> Iterator[tuple[str, Sequence[Spent]]]:
        spent, self._spent = self._spent, [("idle", [])]
        yield from spent


class Unreliable(PostgresUsage):
    """Loses the answers of the next `lost` batches, and fails before sending while `away`."""

    lost = 0
    away = False
    answered = 0

    async def add(self, process_id: UUID, batch: int, rows: Sequence[UsageRow]) -> None:
        if self.away:
            raise StoreError("away")
        await super().add(process_id, batch, rows)
        if self.lost:
            self.lost -= 1
            raise StoreError("the answer was lost")
        self.answered += 1


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def store(postgres: PostgresTenants) -> Unreliable:
    return Unreliable(postgres)


def make_usage(store: PostgresUsage | None, source: Source, *, interval: float = LONG) -> Usage:
    return Usage(store, source.drain, server_now=lambda: NOON, interval=interval)


@pytest.fixture
async def usage(store: Unreliable, source: Source) -> AsyncIterator[Usage]:
    usage = make_usage(store, source)
    usage.open()
    yield usage
    await usage.close()


async def written(admin: asyncpg.Connection) -> dict[tuple[str, int], int]:
    rows = await admin.fetch("select tenant_id, day - date '1970-01-01' as day, requests from tenantcache.usage")
    return {(row["tenant_id"], row["day"]): row["requests"] for row in rows}


async def test_requests_are_added_up_by_tenant_and_day(usage: Usage, source: Source, admin: asyncpg.Connection) -> None:
    source.spend("acme", 5)
    source.spend("globex", 1)
    source.spend("acme", 2, day=TODAY - 1)
    await usage.flush()
    source.spend("acme", 3)
    source.spend("acme", 4)
    await usage.flush()
    assert await written(admin) == {("acme", TODAY): 12, ("acme", TODAY - 1): 2, ("globex", TODAY): 1}


async def test_what_nobody_used_is_not_written(usage: Usage, admin: asyncpg.Connection) -> None:
    await usage.flush()
    assert await written(admin) == {}
    assert usage.batches == 0


async def test_a_tenants_usage_can_be_read(usage: Usage, source: Source) -> None:
    for day, tokens in ((TODAY - 30, 9), (TODAY - 29, 1), (TODAY, 7)):
        source.spend("acme", tokens, day=day)
    source.spend("globex", 1)
    await usage.flush()
    noon = datetime(2023, 11, 14, 12, tzinfo=UTC)
    assert await usage.read("acme") == [
        (date(2023, 10, 16), 1, datetime(2023, 10, 17, 12, tzinfo=UTC)),
        (date(2023, 11, 14), 7, noon),
    ]
    assert await usage.read("acme", date(2023, 11, 14)) == [(date(2023, 11, 14), 7, noon)]
    assert await usage.read("nobody") == []


async def test_last_seen_never_goes_back(
    usage: Usage, source: Source, store: Unreliable, admin: asyncpg.Connection
) -> None:
    source.spend("acme", 1)
    await usage.flush()
    earlier = Usage(store, source.drain, server_now=lambda: NOON - 60, interval=LONG)
    source.spend("acme", 1)
    await earlier.flush()
    assert await admin.fetchval("select last_seen_at from tenantcache.usage") == datetime.fromtimestamp(NOON, UTC)


async def test_a_batch_whose_answer_was_lost_counts_once(
    usage: Usage, source: Source, store: Unreliable, admin: asyncpg.Connection
) -> None:
    store.lost = 2
    source.spend("acme", 5)
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="the answer was lost"):
            await usage.flush()
        source.spend("acme", 1)
    await usage.flush()
    assert await written(admin) == {("acme", TODAY): 7}


async def test_it_waits_while_postgres_is_away(
    usage: Usage, source: Source, store: Unreliable, admin: asyncpg.Connection
) -> None:
    store.away = True
    for _ in range(5):
        source.spend("acme", 1)
        with pytest.raises(StoreUnavailableError):
            await usage.flush()
    store.away = False
    await usage.flush()
    assert await written(admin) == {("acme", TODAY): 5}


async def test_many_tenants_go_in_several_batches(usage: Usage, source: Source, admin: asyncpg.Connection) -> None:
    for number in range(2 * MAX_ROWS + 1):
        source.spend(f"t{number}", 1)
    await usage.flush()
    assert usage.batches == 3
    assert await admin.fetchval("select count(*) from tenantcache.usage where requests = 1") == 2 * MAX_ROWS + 1


@pytest.mark.parametrize(
    ("tenant_id", "tokens", "day"),
    [
        ("big", 2**63, TODAY),
        ("full", 1, TODAY),
        ("nul\0", 1, TODAY),
        ("half\ud800", 1, TODAY),
        ("late", 1, 10**9),
    ],
)
async def test_a_row_that_cannot_be_written_blocks_no_other(
    usage: Usage,
    source: Source,
    admin: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
    tenant_id: str,
    tokens: int,
    day: int,
) -> None:
    await admin.execute(
        "insert into tenantcache.usage (tenant_id, day, requests, last_seen_at)"
        " values ('full', date '1970-01-01' + $1::int, 9223372036854775807, now())",
        TODAY,
    )
    for number in range(20):
        source.spend(f"before{number}", 1)
    source.spend(tenant_id, tokens, day)
    for number in range(20):
        source.spend(f"after{number}", 1)
    await usage.flush()
    assert usage.waiting == 0
    found = await written(admin)
    assert {key: found[key] for key in found if key[0] != "full"} == {
        (f"{when}{number}", TODAY): 1 for when in ("before", "after") for number in range(20)
    }
    [said] = [record.getMessage() for record in caplog.records if record.name == "tenantcache.admin.usage"]
    assert said.startswith(f"{tokens} requests of tenant {tenant_id!r} on day {day} are missing from the usage: ")
    source.spend("after0", 2)
    await usage.flush()
    assert (await written(admin))["after0", TODAY] == 3


async def test_halves_of_a_batch_whose_answer_was_lost_count_once(
    usage: Usage, store: Unreliable, source: Source, admin: asyncpg.Connection
) -> None:
    source.spend("big", 2**63)
    for number in range(9):
        source.spend(f"t{number}", 1)
    store.lost = 2
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            await usage.flush()
    await usage.flush()
    assert await written(admin) == {(f"t{number}", TODAY): 1 for number in range(9)}


async def test_it_is_written_by_itself(store: Unreliable, source: Source, admin: asyncpg.Connection) -> None:
    usage = make_usage(store, source, interval=0.01)
    usage.open()
    store.away = True
    source.spend("acme", 5)
    await until(lambda: usage.batches == 1)
    assert store.answered == 0
    store.away = False
    await until(lambda: store.answered == 1)
    assert await written(admin) == {("acme", TODAY): 5}
    await usage.close()


async def test_an_orderly_stop_loses_nothing_and_leaves_nothing(
    store: Unreliable, source: Source, admin: asyncpg.Connection
) -> None:
    usage = make_usage(store, source)
    usage.open()
    source.spend("acme", 5)
    await usage.close()
    await usage.close()
    assert await written(admin) == {("acme", TODAY): 5}
    assert await admin.fetchval("select count(*) from tenantcache.usage_writers") == 0


async def test_a_stop_while_a_batch_is_on_its_way_counts_it_once(
    postgres: PostgresTenants, source: Source, admin: asyncpg.Connection, database_url: str
) -> None:
    usage = make_usage(PostgresUsage(postgres), source, interval=0.01)
    blocker = await asyncpg.connect(database_url)
    transaction = blocker.transaction()
    await transaction.start()
    await blocker.execute("lock table tenantcache.usage in share mode")
    source.spend("acme", 5)
    usage.open()
    waiting = "select count(*) from pg_locks where not granted and relation = 'tenantcache.usage'::regclass"
    while not await admin.fetchval(waiting):
        await asyncio.sleep(0.005)
    closing = asyncio.create_task(usage.close())
    await asyncio.sleep(0.05)
    await transaction.rollback()
    await blocker.close()
    await closing
    assert await written(admin) == {("acme", TODAY): 5}


async def test_an_outage_is_told_once_and_its_end(
    store: Unreliable, source: Source, admin: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tenantcache.admin.usage")
    usage = make_usage(store, source, interval=0.01)
    usage.open()
    store.away = True
    source.spend("acme", 5)
    await until(lambda: len(caplog.messages) > 0)
    source.spend("globex", 5)
    await until(lambda: usage.waiting == 2)  # it has tried again
    store.away = False
    await until(lambda: len(caplog.messages) > 1)
    await usage.close()
    assert caplog.messages == ["usage waits in memory: away", "usage is written again"]


async def test_what_is_lost_at_a_stop_is_said(
    store: Unreliable, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    usage = make_usage(store, source)
    usage.open()
    store.away = True
    source.spend("acme", 5)
    source.spend("globex", 2)
    await usage.close()
    assert "7 requests are missing from the usage: away" in caplog.text


async def test_a_child_of_a_fork_writes_nothing_of_its_parents(
    usage: Usage, source: Source, store: Unreliable, admin: asyncpg.Connection
) -> None:
    store.away = True
    source.spend("acme", 5)
    with pytest.raises(StoreUnavailableError):
        await usage.flush()
    usage.forget()
    store.away = False
    await usage.flush()
    assert await written(admin) == {}


async def test_processes_that_write_the_same_tenants_at_once(store: Unreliable, admin: asyncpg.Connection) -> None:
    expected: Counter[tuple[str, int]] = Counter()
    usages = []
    for process in range(6):
        source = Source()
        names = [f"t{number}" for number in range(50)]
        for name in names if process % 2 else reversed(names):
            source.spend(name, process + 1)
            expected[name, TODAY] += process + 1
        usages.append(make_usage(store, source))
    await asyncio.gather(*(usage.flush() for usage in usages))
    assert await written(admin) == expected


async def test_an_engine_without_postgres_counts_nothing(source: Source) -> None:
    usage = make_usage(None, source)
    usage.open()
    source.spend("acme", 5)
    await usage.close()
    with pytest.raises(TenantCacheError, match="nothing counts its usage"):
        await usage.read("acme")
