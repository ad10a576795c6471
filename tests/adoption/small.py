"""A small schema of an application's: organisations with projects, projects with domains, and plans that many share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import asyncpg

from tenantcache.schema.adopt import Adoption, install, prepare

SCHEMA = """
create table plan (id integer primary key, name text not null);
create table org (
    id integer primary key, slug text, status text, plan_id integer references plan deferrable initially deferred,
    seats text, settings json not null default '{}', touched timestamptz not null default now()
);
create table project (id integer primary key, org_id integer references org on delete cascade on update cascade);
create table domain (
    host text not null,
    project_id integer references project on delete cascade on update cascade deferrable initially deferred
);
insert into plan values (1, 'free'), (2, 'pro');
insert into org (id, slug, plan_id) values (1, 'one', 1), (2, 'two', 2), (3, 'three', 2);
insert into project values (11, 1), (12, 1), (21, 2), (31, 3);
insert into domain values ('one.io', 11), ('eins.de', 12), ('two.io', 21), ('three.io', 31);
"""

QUERY = """
select o.id, o.slug as subdomain, o.status, p.name as plan, o.seats::integer as limit_per_minute,
    o.settings as attributes,
    array(select d.host from domain d join project j on j.id = d.project_id where j.org_id = o.id order by 1) as domains
from org o left join plan p on p.id = o.plan_id
"""

ADOPTION = Adoption(QUERY)


async def adopt(db: asyncpg.Connection, adoption: Adoption = ADOPTION) -> bool:
    return await install(db, await prepare(db, adoption))


async def make_tables(db: asyncpg.Connection) -> None:
    """For `Databases.create_like`."""
    await db.execute(SCHEMA)


async def make_adopted(db: asyncpg.Connection) -> None:
    """The same, adopted, and read once as a process reads it."""
    await make_tables(db)
    assert await adopt(db)
    assert await look_up(db, ["subdomain:one"])


async def publish(db: asyncpg.Connection) -> None:
    while await db.fetchval("select tenantcache.publish(1000)") in ("more", "busy"):
        pass


async def look_up(db: asyncpg.Connection, names: Iterable[str]) -> dict[str, dict[str, Any] | str | None]:
    """By name the tenant, "conflict" or "unknown"; None if it leads to none."""
    asked = list(names)
    found: dict[str, dict[str, Any] | str | None] = dict.fromkeys(asked)
    rows = await db.fetch("select alias, tenant, state from tenantcache.find_tenants($1)", asked)
    for row in sorted(rows, key=lambda row: row["state"] != "unknown"):
        found[row["alias"]] = json.loads(row["tenant"]) if row["state"] == "found" else row["state"]
    return found


async def owners(db: asyncpg.Connection, names: Iterable[str]) -> dict[str, str | None]:
    """By name the id of its tenant, "conflict", "unknown" or None."""
    found = await look_up(db, names)
    return {name: answer["id"] if isinstance(answer, dict) else answer for name, answer in found.items()}


async def misled(db: asyncpg.Connection) -> list[tuple[str, str]]:
    """Aliases and ids of which the query and the table of aliases say different things."""
    rows = await db.fetch(
        """
        with said as (
            select n as alias, r.tenant ->> 'id' as id
            from tenantcache.read_adopted(array(select id::text from org)) r, tenantcache.aliases_of(r.tenant) n
        )
        (select alias, id from said except select alias, tenant_id from tenantcache.aliases)
        union all (select alias, tenant_id from tenantcache.aliases except select alias, id from said)
        """
    )
    return [(row["alias"], row["id"]) for row in rows]


Said = dict[str, list[tuple[str, bool]]]
"""By name, who has it (the id) and whether that one is active."""


async def said(db: asyncpg.Connection) -> Said:
    """What the rows say, read without anything of ours."""
    found: Said = {}
    for org in await db.fetch("select id, slug, status from org"):
        owner = (str(org["id"]), org["status"] in (None, "active"))
        found.setdefault(f"id:{org['id']}", []).append(owner)
        if org["slug"] is not None:
            found.setdefault(f"subdomain:{org['slug'].lower()}", []).append(owner)
        hosts = await db.fetch(
            "select distinct lower(host) from domain where project_id in (select id from project where org_id = $1)",
            org["id"],
        )
        for (host,) in hosts:
            found.setdefault(f"domain:{host}", []).append(owner)
    return found


def owner_in(said: Said, name: str) -> str | None:
    """The id of the one that is served, "conflict" or None. An active one comes before one that is not."""
    owners = said.get(name, [])
    best = [owner for owner, is_active in owners if is_active] or [owner for owner, _ in owners]
    if len(best) > 1:
        return "conflict"
    return best[0] if best else None
