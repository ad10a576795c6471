"""The schema that tenantcache owns, and how it gets into a database."""

from __future__ import annotations

from importlib.resources import files

import asyncpg

SCRIPTS = ("schema.sql", "log.sql", "source.sql", "adopted.sql", "serve.sql")

LOCK = "select pg_advisory_xact_lock(7307199741)"
"""Two who install at once would race past "if not exists", or one would take away what the other puts there: the second
waits here instead, to the end of the first one's transaction."""


FIRST = """
-- Before anything else is locked, so that this waits for a process that publishes, and never the other way round too.
do $$
begin
    if to_regclass('tenantcache.publisher') is not null then
        perform from tenantcache.publisher for update;
    end if;
end
$$;
"""


def sql() -> str:
    """The statements that `install` runs, as one script that may be run again."""
    return FIRST + "\n".join(files(__package__).joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS)


async def install(connection: asyncpg.Connection) -> None:
    """Create what is missing, in one transaction. Raises `asyncpg.PostgresError` where the role may not."""
    async with connection.transaction():
        await connection.execute(LOCK)
        await connection.execute(sql())


async def grant(connection: asyncpg.Connection, role: str) -> None:
    """Let `role` (as it is stored) run an application. Raises `asyncpg.PostgresError`."""
    quoted = await connection.fetchval("select quote_ident($1)", role)
    await connection.execute(f"""
        grant usage on schema tenantcache to {quoted};
        grant select, insert, update, delete on all tables in schema tenantcache to {quoted};
        grant usage on all sequences in schema tenantcache to {quoted};
        grant execute on all routines in schema tenantcache to {quoted};
    """)
