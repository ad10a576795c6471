"""Transactions that change one tenant through several tables, in each order in which they can meet, on a real Postgres.

None fails that would not fail in a database without us, and what is committed last is what is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.adoption.small import make_adopted, misled, owner_in, owners, publish, said
from tests.servers.databases import Databases
from tests.thorough import effort

NAMES = [
    *(f"id:{number}" for number in range(1, 6)),
    *(f"subdomain:{name}" for name in ("one", "two", "three", "x", "y")),
    *(f"domain:{host}" for host in ("one.io", "eins.de", "two.io", "three.io", "x.io", "y.io")),
]

RESET = """
delete from domain; delete from project; delete from org;
insert into org (id, slug, plan_id) values (1, 'one', 1), (2, 'two', 2), (3, 'three', 2);
insert into project values (11, 1), (12, 1), (21, 2), (31, 3);
insert into domain values ('one.io', 11), ('eins.de', 12), ('two.io', 21), ('three.io', 31);
"""

MOVE = "update project set org_id = 2 where id = 11"
TRANSACTIONS = {
    "a project moves, a domain is added to it": [[MOVE], ["insert into domain values ('x.io', 11)"]],
    "a project moves, a domain moves to it": [[MOVE], ["update domain set project_id = 11 where host = 'two.io'"]],
    "a project moves and one comes, a domain leaves": [
        [MOVE, "insert into project values (13, 1)"],
        ["delete from domain where host = 'one.io'", "insert into domain values ('one.io', 31)"],
    ],
    "an organisation goes, a domain comes": [
        ["delete from org where id = 1"],
        ["insert into domain values ('x.io', 11)"],
    ],
    "an id changes, a project comes": [
        ["update org set id = 5 where id = 1"],
        ["insert into project values (13, 2)", "insert into domain values ('x.io', 13)"],
    ],
    "two take one name": [
        ["update org set slug = 'x' where id = 1", "update org set status = 'suspended' where id = 1"],
        ["update org set slug = 'x' where id = 2"],
    ],
    "both change one row": [
        ["update org set slug = 'x' where id = 1"],
        ["update org set slug = 'y' where id = 1", "insert into domain values ('y.io', 12)"],
    ],
    "three at once": [
        [MOVE],
        ["insert into domain values ('x.io', 11)"],
        ["update domain set project_id = 31 where project_id = 11"],
    ],
}

MANY = 50
"""Of so many orders a short run plays each eighth, and all with one level of isolation only."""


def orders(lengths: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Each way to mix sequences of these lengths: which of them makes the next step."""
    if not any(lengths):
        yield ()
    for place, length in enumerate(lengths):
        if length:
            for rest in orders([*lengths[:place], length - 1, *lengths[place + 1 :]]):
                yield (place, *rest)


async def play(
    connections: Sequence[asyncpg.Connection],
    transactions: Sequence[Sequence[str]],
    order: Sequence[int],
    isolation: str,
) -> AsyncIterator[str]:
    """What came of each step; the last of each transaction is its commit."""
    for connection in connections:
        await connection.execute(f"begin isolation level {isolation}; select 1")
    steps = [[*statements, "commit"] for statements in transactions]
    for place in order:
        try:
            await connections[place].execute(steps[place].pop(0))
            yield "done"
        except asyncpg.PostgresError as error:
            assert "tenantcache." not in f"{error} {error.context}"
            yield type(error).__name__


async def writers(url: str, number: int) -> list[asyncpg.Connection]:
    """Connections of which each gives up rather than wait for another one."""
    return [await asyncpg.connect(url, server_settings={"lock_timeout": "20ms"}) for _ in range(number)]


@pytest.mark.parametrize(
    ("transactions", "isolation"),
    [
        pytest.param(
            transactions,
            isolation,
            marks=[pytest.mark.slow] if isolation == "repeatable read" else [],
            id=f"{name}-{isolation}",
        )
        for name, transactions in TRANSACTIONS.items()
        for isolation in ("read committed", "repeatable read")
    ],
)
async def test_whoever_commits_last_is_served(
    small_adopted_url: str, small_url: str, transactions: Sequence[Sequence[str]], isolation: str
) -> None:
    ours, theirs = await asyncpg.connect(small_adopted_url), await asyncpg.connect(small_url)
    our_writers = await writers(small_adopted_url, len(transactions))
    their_writers = await writers(small_url, len(transactions))
    try:
        each = list(orders([len(statements) + 1 for statements in transactions]))
        for order in each[:: effort(8, 1) if len(each) > MANY else 1]:
            await theirs.execute(RESET)
            expected = [outcome async for outcome in play(their_writers, transactions, order, isolation)]
            await ours.execute(RESET)
            await publish(ours)
            outcomes = []
            async for outcome in play(our_writers, transactions, order, isolation):
                outcomes.append(outcome)
                await check(ours)
                await publish(ours)
                assert await misled(ours) == [], order
            assert outcomes == expected, order
            assert await said(ours) == await said(theirs), order
            await check(ours)
    finally:
        for connection in (ours, theirs, *our_writers, *their_writers):
            await connection.close()


async def check(db: asyncpg.Connection) -> None:
    """In one snapshot: what is found is what the rows say, and with nothing to publish the aliases are complete."""
    async with db.transaction(isolation="repeatable_read", readonly=True):
        fault = await db.fetchval("select tenantcache.fault()")
        is_pending = await db.fetchval("select tenantcache.pending()")
        is_known = fault is None and not await db.fetchval(
            "select exists (select from tenantcache.outbox where key is null)"
        )
        if await db.fetchval("select to_regclass('org') is null or not exists (select from pg_attribute where attname ="
                             " 'slug' and attrelid = to_regclass('org') and not attisdropped)"):  # fmt: skip
            assert fault is not None
            return
        rows, found = await said(db), await owners(db, NAMES)
        if fault is None and not is_pending:
            assert await misled(db) == []
        for name, owner in found.items():
            if is_known:
                assert owner == owner_in(rows, name), name
            else:  # another owner may not be known; who is served has the name all the same
                assert owner in ("unknown", "conflict", *(one for one, _ in rows.get(name, []))) or (
                    owner is None and name.startswith("id:") and name not in rows
                ), (name, owner, fault)


WRITES = [
    "update org set slug = '{name}' where id = {org}",
    "update org set slug = null where id = {org}",
    "update org set status = '{status}' where id = {org}",
    "update org set plan_id = {plan} where id = {org}",
    "update org set id = 5 where id = {org}",
    "insert into org (id, slug) values ({org}, '{name}') on conflict (id) do update set slug = excluded.slug",
    "delete from org where id = {org}",
    "insert into project values ({project}, {org}) on conflict (id) do nothing",
    "update project set org_id = {org} where id = {project}",
    "update project set id = 13 where id = {project}",
    "delete from project where id = {project}",
    "insert into domain values ('{host}', {project})",
    "delete from domain where host = '{host}'",
    "update domain set project_id = {project} where host = '{host}'",
    "with moved as (delete from domain where host = '{host}' returning host) insert into domain"
    " select host, {project} from moved",
    "merge into org o using (values ({org}, '{name}')) as v (id, slug) on o.id = v.id"
    " when matched and o.slug = 'x' then delete when matched then update set slug = v.slug"
    " when not matched then insert (id, slug) values (v.id, v.slug)",
    "update plan set name = name || '+' where id = {plan}",
    "truncate domain",
    "savepoint a; update org set slug = '{name}' where id = {org}; rollback to a",
    "set constraints all immediate",
]
VALUES = st.fixed_dictionaries(
    {
        "org": st.integers(1, 4),
        "project": st.sampled_from([11, 12, 21, 31]),
        "plan": st.integers(1, 2),
        "name": st.sampled_from(["one", "two", "x", "Y"]),
        "host": st.sampled_from(["one.io", "two.io", "x.io", "Y.io"]),
        "status": st.sampled_from(["active", "suspended"]),
    }
)
CHANGES = [
    "alter table {table} disable trigger all",
    "alter table {table} enable trigger all",
    "do $$ declare t record; begin for t in select tgname from pg_trigger where tgrelid = '{table}'::regclass"
    " and not tgisinternal loop execute format('alter table {table} enable always trigger %I', t.tgname); end loop;"
    " end $$",
    "alter table org rename column slug to handle",
    "alter table org rename column handle to slug",
    "alter table org add column slug2 text; update org set slug2 = slug; alter table org rename column slug to slug1;"
    " alter table org rename column slug2 to slug; alter table org drop column slug1 cascade",
    "alter table org alter column id type {type}",
    "alter table project alter column id type {type}",
]


@dataclass
class Writer:
    connection: asyncpg.Connection
    is_open: bool = False


class Application(RuleBasedStateMachine):
    """An application with three connections, and migrations between."""

    databases: Databases
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self.url = self.databases.create_like("small, adopted", make_adopted)
        self.loop.run_until_complete(self._connect())

    async def _connect(self) -> None:
        # A plan of a statement of ours does not outlive a migration.
        self.db = await asyncpg.connect(self.url, statement_cache_size=0)
        self.migrator = await asyncpg.connect(self.url)
        self.writers = [Writer(await asyncpg.connect(self.url)) for _ in range(3)]
        for connection in (self.db, self.migrator, *(writer.connection for writer in self.writers)):
            await connection.execute("set lock_timeout = '20ms'")

    def teardown(self) -> None:
        for connection in (self.db, self.migrator, *(writer.connection for writer in self.writers)):
            connection.terminate()
        self.databases.drop(self.url)

    async def _execute(self, connection: asyncpg.Connection, statement: str) -> bool:
        try:
            await connection.execute(statement)
        except asyncpg.PostgresError as error:
            assert "tenantcache." not in f"{error} {error.context}"
            return False
        return True

    @rule(place=st.integers(0, 2), isolation=st.sampled_from(["read committed", "repeatable read", "serializable"]))
    def begin(self, place: int, isolation: str) -> None:
        writer = self.writers[place]
        if not writer.is_open:
            self.loop.run_until_complete(writer.connection.execute(f"begin isolation level {isolation}"))
            writer.is_open = True

    @rule(place=st.integers(0, 2), write=st.sampled_from(WRITES), values=VALUES)
    def write(self, place: int, write: str, values: dict[str, object]) -> None:
        writer = self.writers[place]
        is_done = self.loop.run_until_complete(self._execute(writer.connection, write.format_map(values)))
        if not is_done and writer.is_open:
            self._end(writer, "rollback")

    @rule(place=st.integers(0, 2), how=st.sampled_from(["commit", "commit", "rollback"]))
    def end(self, place: int, how: str) -> None:
        self._end(self.writers[place], how)

    def _end(self, writer: Writer, how: str) -> None:
        if writer.is_open:
            self.loop.run_until_complete(self._execute(writer.connection, how))
            writer.is_open = False

    @rule(change=st.sampled_from(CHANGES), table=st.sampled_from(["org", "project", "domain"]),
          type=st.sampled_from(["bigint", "integer"]))  # fmt: skip
    def migrate(self, change: str, table: str, type: str) -> None:
        statement = f"begin; {change.format(table=table, type=type)}; commit"
        if not self.loop.run_until_complete(self._execute(self.migrator, statement)):
            self.loop.run_until_complete(self.migrator.execute("rollback"))

    @rule(most=st.sampled_from([1, 2, 1000]))
    def publish(self, most: int) -> None:
        assert self.loop.run_until_complete(self.db.fetchval("select tenantcache.publish($1)", most)) is not None

    @rule()
    def verify(self) -> None:
        if self.loop.run_until_complete(self.db.fetchval("select tenantcache.fault()")) is None:
            with contextlib.suppress(asyncpg.LockNotAvailableError):  # a transaction has truncated a table
                self.loop.run_until_complete(self.db.fetchval("select tenantcache.verify_some(2)"))

    @precondition(lambda self: not any(writer.is_open for writer in self.writers))
    @rule()
    def rebuild(self) -> None:
        with contextlib.suppress(asyncpg.UndefinedColumnError):
            self.loop.run_until_complete(self.db.fetchval("select tenantcache.rebuild()"))

    @invariant()
    def what_is_found_is_what_the_rows_say(self) -> None:
        with contextlib.suppress(asyncpg.LockNotAvailableError):  # a transaction has truncated a table
            self.loop.run_until_complete(check(self.db))


EXAMPLES = int(os.environ.get("MEETING_EXAMPLES", effort(4, 12)))
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]
"""Without shrinking, which takes minutes on a database: the steps that are printed are few enough to read."""


def test_a_whole_life(databases: Databases) -> None:
    loop = asyncio.new_event_loop()
    Application.databases, Application.loop = databases, loop
    try:
        run_state_machine_as_test(
            Application,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=PHASES,
            ),
        )
    finally:
        loop.close()
