"""The schema that tenantcache owns, and how it gets into a database."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files

import asyncpg

SCRIPTS = ("schema.sql", "log.sql", "source.sql", "adopted.sql", "values.sql", "serve.sql")

LOCK = "select pg_advisory_xact_lock(7307199741)"
"""Two installations at once would race past "if not exists", or one would take away what the other puts there. So the
second waits here, to the end of the first one's transaction."""


FIRST = """
-- Before anything else is locked, so that this waits for a process that publishes, and never the other way round.
do $$
begin
    if to_regclass('tenantcache.publisher') is not null then
        perform from tenantcache.publisher for update;
    end if;
end
$$;
"""


def sql(*, notify: bool | None = None, roles: Sequence[str] = ()) -> str:
    """The statements that `install` runs, as one script that may be run again."""
    scripts = [files(__package__).joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS]
    return "\n".join([FIRST, *scripts, options_sql(notify=notify, roles=roles)])


def options_sql(*, notify: bool | None = None, roles: Sequence[str] = ()) -> str:
    """The statements for what is chosen at an installation.

    `notify`: whether writers wake the processes when they commit; None leaves it as it is. `roles` are those that
    processes connect as: each may do then what a process does.
    """
    chosen = [] if notify is None else [f"update tenantcache.publisher set notify = {str(notify).lower()};"]
    quoted = ["'" + role.replace("'", "''") + "'" for role in roles]
    return "".join(
        f"{statement}\n" for statement in [*chosen, *(f"call tenantcache.give_rights({q});" for q in quoted)]
    )


def digest_of(body: str) -> str:
    """Of the body of a routine: `md5(prosrc)` in Postgres, if it is the one that is there."""
    return hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()


async def install(connection: asyncpg.Connection, *, notify: bool | None = None, roles: Sequence[str] = ()) -> None:
    """Create what is missing, in one transaction. `notify` and `roles` are those of `options_sql`.

    Raises `asyncpg.PostgresError` if the role may not.
    """
    async with connection.transaction():
        await connection.execute(LOCK)
        await connection.execute(sql(notify=notify, roles=roles))
