"""The change log in Postgres, over one dedicated connection.

A pull is one statement, because one statement is one snapshot: its entries, what is pending, and the transactions that
were under way are true at the same instant.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from functools import partial

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from tenantcache.budget.core.bands import Band, BandChoice
from tenantcache.errors import POSTGRES_FAILURES, SchemaMissingError, StoreError
from tenantcache.freshness.core.logfault import read_fault
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.freshness.log import LogEntry, OnChange, Publication, Pull
from tenantcache.ratelimit.core.agreement import StoreChoice
from tenantcache.runtime.tasks import stop
from tenantcache.stores.faults import OF_BEFORE, translate_errors
from tenantcache.stores.listener import CHANNEL, Listener, tell
from tenantcache.stores.loghead import HEAD, head_of, mark_of, microseconds_of, time_of

logger = logging.getLogger(__name__)

VERIFIED_AT_ONCE = 200
"""Adopted tenants that one process a minute compares with what the query says: some 20 ms of the database, and 100,000
in eight hours."""

PUBLISH_PATIENCE = 3
"""Times the timeout of a pull. Moving thousands of changes that one statement has made takes some 0.1 s, the first of
them half a second."""

VERIFY_TIMEOUT = 60.0
"""Seconds. To compare the ids of 1,000,000 tenants takes some ten."""

REBUILD_TIMEOUT = 300.0
"""Seconds. Reading the aliases of 1,000,000 tenants by a query of five tables takes about a minute."""

_CHOICE = """
    select (choice).version, (choice).store, (choice).from_minute, (choice).previous, (choice).previous_from,
        (choice).why, extract(epoch from (choice).changed_at)::float8 as changed_at,
        extract(epoch from (choice).complained_at)::float8 as complained_at, (choice).quiet, settled_until,
        (choice).band, (choice).band_version, extract(epoch from (choice).band_period)::float8 as band_period,
        (choice).band_budget, (choice).band_edge,
        extract(epoch from (choice).band_changed_at)::float8 as band_changed_at,
        extract(epoch from (choice).band_wanted_at)::float8 as band_wanted_at, (choice).band_told
    from tenantcache.counter_choice()
"""

MAX_RUNNING = 100
"""Transactions under way that a pull tells of; if there are more, none are."""

MAX_PAGE_BYTES = 1_000_000
"""Bytes of names that one answer may hold, unless its first entry alone has more: 200 names of 253 octets each."""

# As text: the driver has to ask Postgres what an array of numbers is.
_SNAPSHOT = f"""pg_current_snapshot()::text as snapshot,
            array(
                select x::text from pg_snapshot_xip(pg_current_snapshot()) x limit {MAX_RUNNING + 1}
            ) as running"""

_WHOLE = f"""
    select head.*, counted.*, about.*, extract(epoch from clock_timestamp())::float8 as server_time, 1::bigint as first
    from ({HEAD}) as head cross join ({_CHOICE}) as counted cross join (
        select (select count(*) from tenantcache.processes where seen_at > now() - interval '30 seconds') as processes,
            {_SNAPSHOT}
        offset 0
    ) as about
"""

_PAGE = f"""
    select * from (
        select seq, at, tenant_id, hosts, row_number() over (order by seq) as place,
            sum(octet_length(hosts::text)) over (order by seq) as bytes
        from (
            select * from tenantcache.change_log
            where seq > $1 and (select max(seq) from tenantcache.change_log) - $1 <= $3 order by seq limit $4
        ) as page
    ) as measured where bytes <= {MAX_PAGE_BYTES} or bytes is null or place = 1
"""


def _answer(whole: str, entries: str) -> str:
    """Join two queries. What concerns the whole answer stands in its first row alone: twenty columns of a thousand rows
    take longer to decode than the entries."""
    return f"""
        select whole.*, new.seq, new.at, new.tenant_id, new.hosts
        from ({whole}) as whole full join ({entries}) as new on new.place = whole.first
        order by new.seq
    """


_CONTINUOUS = "exists (select from tenantcache.change_log where seq = $1 and at = $2) as continuous"

_CHECKED_PULL = _answer(
    f"""
        select w.*, {_CONTINUOUS}, tenantcache.fault() as fault, true as checked, tenantcache.covers($5) as covers
        from ({_WHOLE}) as w
    """,
    _PAGE,
)

# After a notification, by each process: it asks for no more than the change. With its plan kept it takes 0.2 ms on a
# quiet server, and the other one 0.8 ms.
_QUICK_PULL = _answer(
    f"""
        select head.*, {_CONTINUOUS}, false as checked, tenantcache.covers($5) as covers, 1::bigint as first,
            extract(epoch from clock_timestamp())::float8 as server_time, {_SNAPSHOT}
        from ({HEAD}) as head
    """,
    _PAGE,
)

# The tail of the log at the start: its oldest entry tells how far back it reaches. It begins with the newest entry
# that is too old: if little changes, most copies are from then. Not before the oldest that is young enough, which is
# another one if a clock was set: the tail must have no gaps.
_TAIL = _answer(
    f"""
        select w.*, true as continuous, tenantcache.fault() as fault, true as checked, false as covers
        from ({_WHOLE}) as w
    """,
    f"""
        with newest as (
            select * from (
                select seq, at, tenant_id, hosts, row_number() over (order by seq desc) as age,
                    sum(octet_length(hosts::text)) over (order by seq desc) as bytes
                from (select * from tenantcache.change_log order by seq desc limit $2) as last
            ) as measured where bytes <= {MAX_PAGE_BYTES} or bytes is null or age = 1
        )
        select seq, at, tenant_id, hosts, row_number() over (order by seq) as place from newest
        where seq >= coalesce((select max(seq) from newest where at <= now() - make_interval(secs => $1)), 0)
    """,
)

# By its name in JSON, a schema of before may lack the column, and the process is counted all the same.
_BEAT = """
    insert into tenantcache.processes (id, seen_at) values ($1, now())
    on conflict (id) do update set seen_at = excluded.seen_at
    returning coalesce((
        select (to_jsonb(s) ->> 'watched_at')::timestamptz > now() - interval '60 seconds'
        from tenantcache.counter_store s
    ), false) as watched
"""

# One process at a time; the newest entry stays, so that the log is never empty. What is deleted is a first part of the
# log, without gaps: a process that still has to apply some of it lacks its own mark too, and finds out. Counters are
# first touched up to an hour before their minute and at any time of their day.
_PRUNE = """
    with oldest as (select seq, at from tenantcache.change_log order by seq limit $2 + 1),
    lucky as (select pg_try_advisory_xact_lock(7307199743) as mine),
    dead as (delete from tenantcache.processes where seen_at < now() - interval '1 hour' and (select mine from lucky)),
    over as (
        delete from tenantcache.counters where (select mine from lucky) and touched_at < now()
            - case policy when 'day' then interval '3 days' else interval '3 hours' end
    )
    delete from tenantcache.change_log
    where (select mine from lucky) and seq < coalesce(
        (select min(seq) from oldest where at >= now() - make_interval(secs => $1)),
        (select max(seq) from oldest))
"""

_CHOICE_FIELDS = [field.name for field in fields(StoreChoice)]
_BAND_FIELDS = [field.name for field in fields(BandChoice) if field.name != "band"]


class PostgresLog:
    """`ChangeLog` over one dedicated connection that also listens.

    A statement that takes longer than `timeout` seconds makes the connection useless, because it may be half-open. It
    is dropped, and the caller opens another.

    With `listen_url`, a connection of its own listens, and its faults do not matter to anything else. Without it, and
    behind a pooler, there is no listener. In transaction mode LISTEN would succeed on a server connection that belongs
    to another client a moment later, and would stay there.
    """

    def __init__(self, url: str, *, listen_url: str | None = None, timeout: float = 0.5) -> None:
        self._url = url
        self._listen_url = listen_url
        self._timeout = timeout
        self._connection: asyncpg.Connection | None = None
        self._listener: Listener | None = None
        self._listens_itself = False
        self._has_warned = False
        self._isolates = False
        self._is_direct = False  # no pooler in between, so that statements may be prepared
        self._statements: dict[str, PreparedStatement[asyncpg.Record]] = {}
        self._verifier: asyncio.Task[None] | None = None
        self.queries: int = 0

    async def open(self, on_change: OnChange) -> None:
        """Connect and listen; `on_change` is called, from the event loop, whenever a change was committed."""
        async with translate_errors("connecting the follower"):
            self._connection = await self._connect(self._url)
            self._statements = {}
            isolation = await self._connection.fetchval("show default_transaction_isolation")
            self._isolates = isolation != "read committed"
            # A connection that is lost is found out by the next pull: now, rather than within a second.
            self._connection.add_termination_listener(lambda *_: on_change())
            if self._listen_url is None:
                self._listens_itself = await self._listen(self._connection, on_change)
        if self._listen_url is not None:
            self._listener = Listener(partial(self._connect, self._listen_url), on_change)

    async def _connect(self, url: str) -> asyncpg.Connection:
        async with asyncio.timeout(self._timeout * 4):
            return await asyncpg.connect(
                url,
                command_timeout=self._timeout,
                statement_cache_size=0,
                server_settings={"application_name": "tenantcache follower"},
            )

    async def _listen(self, connection: asyncpg.Connection, on_change: OnChange) -> bool:
        # A pooler makes up the process id that it tells its clients: they may use it to cancel, and for nothing else.
        self._is_direct = await connection.fetchval("select pg_backend_pid()") == connection.get_server_pid()
        if not self._is_direct:
            self._warn("it is behind a pooler; set TENANTCACHE_LISTEN_URL to the address of Postgres itself")
            return False
        try:
            await connection.add_listener(CHANNEL, lambda *told: tell(on_change, told[-1]))
        except asyncpg.PostgresError as error:  # a server in recovery, for one
            self._warn(str(error))
            return False
        return True

    def _warn(self, reason: str) -> None:
        if not self._has_warned:
            logger.warning("Postgres cannot tell of changes: %s. They are seen by pulling, once a second", reason)
        self._has_warned = True

    async def close(self) -> None:
        """Disconnect in order if that is quick; never raises."""
        await stop(self._verifier)
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.close()
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close(timeout=self._timeout)
            except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection.terminate()
        self._listens_itself = False

    @property
    def listening(self) -> bool:
        """Whether commits are told of at once."""
        return self._listens_itself if self._listener is None else self._listener.listening

    async def tail(self, max_age: float, max_entries: int) -> Pull:
        return _pull(await self._fetch("reading the tail of the log", _TAIL, max_age, max_entries))

    async def pull(
        self, applied: LogMark, max_behind: int, page: int, *, since: str | None = None, check: bool = True
    ) -> Pull:
        """At most `page` entries after `applied`; none, and `truncated`, if there are more than `max_behind`."""
        at = time_of(applied.at)
        query = _CHECKED_PULL if check else _QUICK_PULL
        rows = await self._fetch("pulling the log", query, applied.seq, at, max_behind, page, since or "")
        return _pull(rows, truncated=head_of(rows)["watermark"] - applied.seq > max_behind)

    async def publish(self, most: int) -> Publication:
        query, patience = "select tenantcache.publish($1)", self._timeout * PUBLISH_PATIENCE
        if not self._isolates:
            return Publication((await self._fetch("publishing changes", query, most, timeout=patience))[0][0])
        # A serializable publisher that meets serializable writers would make theirs fail.
        async with translate_errors("publishing changes"), self._transaction():
            return Publication((await self._fetch("publishing changes", query, most, timeout=patience))[0][0])

    async def rebuild(self) -> None:
        """Read the aliases of all adopted tenants anew, on a connection of its own: it takes some seconds."""
        async with translate_errors("reading the names of all tenants"), asyncio.timeout(REBUILD_TIMEOUT):
            connection = await self._connect(self._url)
            try:
                await connection.execute("select tenantcache.rebuild()", timeout=REBUILD_TIMEOUT)
            finally:
                connection.terminate()

    async def beat(self, process_id: object) -> bool:
        [row] = await self._fetch("registering this process", _BEAT, process_id)
        return bool(row["watched"])

    async def leave(self, process_id: object) -> None:
        await self._fetch("signing this process off", "delete from tenantcache.processes where id = $1", process_id)

    async def prune(self, max_age: float, most: int) -> None:
        await self._fetch("pruning the log", _PRUNE, max_age, most)
        if self._verifier is None or self._verifier.done():
            self._verifier = asyncio.create_task(self._verify(), name="tenantcache verify")

    async def _verify(self) -> None:
        """On a connection of its own: to compare all ids takes longer than the next change should wait."""
        try:
            async with translate_errors("comparing tenants with their tables"), asyncio.timeout(VERIFY_TIMEOUT):
                connection = await self._connect(self._url)
                try:
                    await connection.execute(
                        f"select tenantcache.verify_some({VERIFIED_AT_ONCE})", timeout=VERIFY_TIMEOUT
                    )
                finally:
                    connection.terminate()
        except POSTGRES_FAILURES as error:
            logger.info("tenants are not compared with their tables: %s", error)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        if self._connection is None or self._connection.is_closed():
            raise StoreError("the follower is not connected to Postgres")
        async with self._connection.transaction(isolation="read_committed"):
            yield

    async def _fetch(self, doing: str, query: str, *args: object, timeout: float | None = None) -> list[asyncpg.Record]:
        if self._connection is None or self._connection.is_closed():
            raise StoreError("the follower is not connected to Postgres")
        self.queries += 1
        async with translate_errors(doing):
            try:
                async with asyncio.timeout(timeout or self._timeout):
                    return await self._rows(self._connection, query, args, timeout or self._timeout)
            except TimeoutError:
                self._connection.terminate()  # to close in order could take as long again
                raise

    async def _rows(
        self, connection: asyncpg.Connection, query: str, args: Sequence[object], timeout: float
    ) -> list[asyncpg.Record]:
        """Fetch by a prepared statement if no pooler is in between: planning a pull takes a third of its time."""
        if not self._is_direct:
            rows: list[asyncpg.Record] = await connection.fetch(query, *args, timeout=timeout)
            return rows
        if query not in self._statements:
            self._statements[query] = await connection.prepare(query, timeout=timeout)
        rows = await self._statements[query].fetch(*args, timeout=timeout)
        return rows


def _pull(records: Sequence[asyncpg.Record], *, truncated: bool = False) -> Pull:
    first = head_of(records)
    entries = [
        LogEntry.from_columns(record["seq"], microseconds_of(record["at"]), record["tenant_id"], record["hosts"])
        for record in records
        if record["seq"] is not None
    ]
    checked = first["checked"]
    return Pull(
        server_time=first["server_time"],
        epoch=first["epoch"],
        head=mark_of(first),
        continuous=first["continuous"],
        processes=first["processes"] if checked else 0,
        truncated=truncated,
        entries=entries,
        choice=StoreChoice(**{name: first[name] for name in _CHOICE_FIELDS}) if checked else None,
        settled_until=first["settled_until"] if checked else None,
        band=_band_of(first) if checked else BandChoice(),
        pending=first["pending"],
        covers=first["covers"],
        snapshot=first["snapshot"],
        running=frozenset(map(int, first["running"])) if len(first["running"]) <= MAX_RUNNING else frozenset(),
        checked=checked,
        fault=read_fault(first["fault"]) if checked else None,
    )


def _band_of(row: asyncpg.Record) -> BandChoice:
    if row["band"] is None:  # the column was dropped, and a plan that was made before still has its place
        raise SchemaMissingError(OF_BEFORE)
    return BandChoice(band=Band(row["band"]), **{name: row[f"band_{name}"] for name in _BAND_FIELDS})
