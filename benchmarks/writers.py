"""What our triggers cost a writer: commits a second of 8 and of one, and one statement that changes 10,000 rows.

The same table is there several times in one database: without us, with our triggers, with variants of them, and with
those of the first version, which wrote the log at commit, under a lock (its SQL stands below). Writers loop in the
server, so that no client's time is counted. Meanwhile a real process follows, and a listener is told of everything.

    python -m benchmarks.writers
    python -m benchmarks.writers --rounds 9 --seconds 2

Prints a table, and writes it into docs/adopting.md between its markers.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from benchmarks.pages import fill
from tenantcache import Settings, TenantCache
from tenantcache.devservers import PostgresServer
from tenantcache.schema import install as schema

ROWS = 10_000
WRITERS = 8
PAGE = Path(__file__).parents[1] / "docs" / "adopting.md"

PLAIN = "create table plain (like tenantcache.tenants including all);"

# The first version's protocol, with a channel and tables of its own.
DEFERRED = """
create schema deferred;
create table deferred.tenants (like tenantcache.tenants including all);
create sequence deferred.change_seq;
create table deferred.change_log (
    seq bigint primary key, tenant_id text, hosts text[], at timestamptz not null default clock_timestamp());
create index on deferred.change_log (at);
create function deferred.log_change(tenant_id text, hosts text[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_advisory_xact_lock(42);
    insert into deferred.change_log (seq, tenant_id, hosts) values (nextval('deferred.change_seq'), tenant_id, hosts);
    perform pg_notify('deferred', '');
end
$$;
create function deferred.log_tenant() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    both_sides text[] := array_remove(array['subdomain:' || old.subdomain, 'subdomain:' || new.subdomain], null);
begin
    perform deferred.log_change(coalesce(new.id, old.id), both_sides);
    if tg_op = 'UPDATE' and old.id <> new.id then
        perform deferred.log_change(old.id, both_sides);
    end if;
    return null;
end
$$;
create constraint trigger tenant_changed after update on deferred.tenants deferrable initially deferred
    for each row when (old is distinct from new) execute function deferred.log_tenant();
"""

ALWAYS = """
create or replace function tenantcache.wake_naming(names text) returns void language plpgsql as $$
begin
    if (select p.notify from tenantcache.publisher p) then
        perform pg_notify('tenantcache', names);
    end if;
    perform set_config('tenantcache.woken', pg_current_xact_id()::text, true);
end
$$;
"""

FILL = """
insert into {table} (id, name, subdomain) select n, 'Tenant ' || n, 't' || n from generate_series(1, {rows}) n;
create procedure write_{label}(number int, seconds float8, inout commits int) language plpgsql as $$
declare
    until timestamptz := clock_timestamp() + make_interval(secs => seconds);
begin
    while clock_timestamp() < until loop
        update {table} set name = clock_timestamp()::text where id = number::text;
        commit;
        commits := commits + 1;
    end loop;
end
$$;
"""


@dataclass(frozen=True)
class Variant:
    title: str
    label: str
    table: str
    before: str = ""
    after: str = ""


VARIANTS = [
    Variant("without us", "plain", "plain"),
    Variant("with our triggers", "ours", "tenantcache.tenants"),
    Variant(
        "with our triggers, `--no-notify`",
        "ours",
        "tenantcache.tenants",
        "update tenantcache.publisher set notify = false",
        "update tenantcache.publisher set notify = true",
    ),
    Variant("each transaction notifies", "ours", "tenantcache.tenants", ALWAYS, "(the function as it was)"),
    Variant("the first version: deferred, with a lock", "deferred", "deferred.tenants"),
]


@dataclass
class Figures:
    """Commits a second of 8 writers and of one; milliseconds of the statement."""

    many: list[float] = field(default_factory=list)
    one: list[float] = field(default_factory=list)
    statement: list[float] = field(default_factory=list)


async def measure(server: PostgresServer, rounds: int, seconds: float) -> list[Figures]:
    connections = [await asyncpg.connect(server.url) for _ in range(WRITERS)]
    admin = await asyncpg.connect(server.url)
    await schema.install(admin)
    await admin.execute(PLAIN + DEFERRED)
    for variant in {variant.label: variant for variant in VARIANTS}.values():
        await admin.execute(FILL.format(table=variant.table, label=variant.label, rows=ROWS))
    wake = await admin.fetchval("select pg_get_functiondef('tenantcache.wake_naming'::regproc)")
    await admin.execute("vacuum analyze", timeout=120)
    figures = [Figures() for _ in VARIANTS]
    async with following(server.url), pulling(server.url):
        for _ in range(rounds):
            for variant, found in zip(VARIANTS, figures, strict=True):
                if variant.before:
                    await admin.execute(variant.before)
                await settle(admin)
                found.many.append(await commits(connections, variant, seconds) / seconds)
                await settle(admin)
                found.one.append(await commits(connections[:1], variant, seconds) / seconds)
                await settle(admin)
                began = time.perf_counter()
                await admin.execute(f"update {variant.table} set name = clock_timestamp()::text", timeout=120)
                found.statement.append((time.perf_counter() - began) * 1e3)
                if variant.before:
                    await admin.execute(wake if variant.before == ALWAYS else variant.after)
    for connection in [*connections, admin]:
        await connection.close()
    return figures


async def commits(connections: list[asyncpg.Connection], variant: Variant, seconds: float) -> int:
    calls = [
        connection.fetchval(f"call write_{variant.label}({number}, {seconds}, 0)")
        for number, connection in enumerate(connections, 1)
    ]
    return sum(await asyncio.gather(*calls))


async def settle(admin: asyncpg.Connection) -> None:
    """Until everything is published, so that no round pays for the one before it."""
    while await admin.fetchval("select tenantcache.pending()"):
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)


@asynccontextmanager
async def following(url: str) -> AsyncIterator[None]:
    """A process of its own that follows the log."""
    command = [sys.executable, "-m", "benchmarks.writers", "--follow", url]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    await process.stdout.readline()
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def follow(url: str) -> None:
    async with TenantCache(Settings(_environ={}, database_url=url, limits="off")):
        print("following", flush=True)
        await asyncio.Event().wait()


@asynccontextmanager
async def pulling(url: str) -> AsyncIterator[None]:
    """What the first version's processes do on a notification: read what is new."""
    told = asyncio.Event()
    connection = await asyncpg.connect(url)
    await connection.add_listener("deferred", lambda *_: told.set())

    async def pull() -> None:
        applied = 0
        while True:
            await told.wait()
            told.clear()
            rows = await connection.fetch(
                "select * from deferred.change_log where seq > $1 order by seq limit 1000", applied
            )
            applied = rows[-1]["seq"] if rows else applied

    task = asyncio.create_task(pull())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await connection.close()


def table(by_durability: dict[str, list[Figures]]) -> list[str]:
    lines = [
        f"| | fsync | {WRITERS} writers, commits/s | one writer, commits/s | one statement of {ROWS:,} rows |",
        "|---|---|---|---|---|",
    ]
    for durability, figures in by_durability.items():
        for variant, found in zip(VARIANTS, figures, strict=True):
            many, one, statement = (statistics.median(values) for values in (found.many, found.one, found.statement))
            lines.append(f"| {variant.title} | {durability} | {many:,.0f} | {one:,.0f} | {statement:,.0f} ms |")
    return lines


async def run(rounds: int, seconds: float) -> dict[str, list[Figures]]:
    found = {}
    for durability, durable in (("on", True), ("off", False)):
        with tempfile.TemporaryDirectory(prefix="tenantcache-writers-") as directory:
            Path(directory).chmod(0o755)  # noqa: ASYNC240 - Postgres may run as another account
            with PostgresServer(Path(directory) / "postgres", durable=durable) as server:
                found[durability] = await measure(server, rounds, seconds)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--follow", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.follow:
        asyncio.run(follow(options.follow))
        return
    lines = table(asyncio.run(run(options.rounds, options.seconds)))
    print(*lines, sep="\n")
    fill(PAGE, "writers", "\n".join(lines))


if __name__ == "__main__":
    main()
