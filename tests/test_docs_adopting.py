"""What docs/adopting.md says is true: its recipes run on a real Postgres, its tables name all columns and options."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import asyncpg
import pytest

from tenantcache import Settings, Tenant, TenantCache
from tenantcache.cli.main import main
from tenantcache.errors import StoreUnavailableError
from tenantcache.schema.adopt import TableOptions
from tenantcache.schema.adopt.query import COLUMNS

TEXT = (Path(__file__).parents[1] / "docs" / "adopting.md").read_text(encoding="utf-8")

Expected = Mapping[str, Mapping[str, object] | None]
"""By host, what its tenant must have; None: the host leads to no tenant."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """`heading` is that of its part of the document. `rows` and `write` are what the ORM sends. After the migration the
    query can be asked (`works`) and PostgreSQL prints it as before (`is_same`)."""

    heading: str
    rows: Sequence[str]
    found: Expected
    write: Sequence[str]
    written: Expected
    migrated: Expected
    count: int
    works: bool = True
    is_same: bool = True
    command: int = 0
    base: str = "example.com"


ORGANIZATIONS = Recipe(
    "One table, by generated columns (SQLAlchemy)",
    rows=[
        """insert into organizations (id, name, slug, is_blocked, settings) values
            ('00000000-0000-4000-8000-000000000001', 'Acme', 'Acme', false, '{"per_minute": 60, "color": "red"}'),
            ('00000000-0000-4000-8000-000000000002', 'Globex', 'globex', true, '{"per_minute": "many"}')"""
    ],
    found={
        "acme.example.com": {
            "name": "Acme",
            "status": "active",
            "per_minute": 60,
            "attributes": {"per_minute": 60, "color": "red"},
        },
        "globex.example.com": {"status": "suspended", "per_minute": 600},
        "other.example.com": None,
    },
    write=[
        "begin",
        "update organizations set deleted_at = now() where id = '00000000-0000-4000-8000-000000000002'::uuid",
        "update organizations set slug = 'acme-inc' where id = '00000000-0000-4000-8000-000000000001'::uuid",
        "commit",
    ],
    written={
        "globex.example.com": {"status": "deleted"},
        "acme-inc.example.com": {"name": "Acme"},
        "acme.example.com": None,
    },
    migrated={"acme-inc.example.com": {"per_minute": 60}},
    count=2,
)

DJANGO = Recipe(
    "Django",
    rows=[
        """insert into "teams_team" ("name", "slug", "is_active", "plan", "custom_domain", "legacy_code", "settings")
            values ('Acme', 'acme', true, 'trial', null, '', '{"seats": 5}'),
            ('Globex', 'globex', false, 'pro', 'shop.globex.io', '', '{}')"""
    ],
    found={
        "acme.example.com": {"id": "1", "plan": "trial", "attributes": {"seats": 5}},
        "shop.globex.io": {"id": "2", "status": "suspended", "primary_domain": "shop.globex.io"},
        "initech.example.com": None,
    },
    write=[
        "begin",
        """update "teams_team" set "name" = 'Globex', "is_active" = true, "custom_domain" = 'globex.io'
            where "teams_team"."id" = 2""",
        """insert into "teams_team" ("name", "slug", "is_active", "plan", "custom_domain", "legacy_code", "settings")
            values ('Initech', 'initech', true, 'free', null, '', '{}') returning "teams_team"."id" """,
        "commit",
    ],
    written={
        "globex.io": {"id": "2", "status": "active"},
        "shop.globex.io": None,
        "initech.example.com": {"id": "3"},
    },
    migrated={"acme.example.com": {"plan": "free", "attributes": {"seats": 5}}},
    count=2,
)

DJANGO_TENANTS = Recipe(
    "Django with django-tenants",
    rows=[
        """insert into "customers_client" ("schema_name", "name", "on_trial", "created_on") values
            ('public', 'Us', false, '2025-01-01'), ('acme', 'Acme', true, '2025-01-01'),
            ('globex', 'Globex', false, '2025-01-01')""",
        """insert into "customers_domain" ("domain", "is_primary", "tenant_id") values
            ('example.com', true, 1), ('acme.example.com', true, 2), ('a.acme.example.com', false, 2),
            ('globex.example.com', false, 3), ('globex.io', true, 3)""",
    ],
    found={
        "acme.example.com": {
            "id": "2",
            "attributes": {"schema_name": "acme", "on_trial": True},
            "primary_domain": None,
        },
        "globex.io": {"id": "3", "primary_domain": "globex.io", "subdomain": "globex"},
        "globex.example.com": {"id": "3"},
        "example.com": None,
        "a.example.com": None,
        "a.acme.example.com": None,
    },
    write=[
        "begin",
        """insert into "customers_domain" ("domain", "is_primary", "tenant_id") values ('acme.io', false, 2)""",
        """update "customers_domain" set "is_primary" = false where "tenant_id" = 2 and "is_primary" """,
        """update "customers_domain" set "is_primary" = true where "domain" = 'acme.io' """,
        """delete from "customers_domain" where "domain" = 'globex.io' """,
        "commit",
    ],
    written={"acme.io": {"id": "2", "primary_domain": "acme.io"}, "globex.io": None, "globex.example.com": {"id": "3"}},
    migrated={"acme.example.com": {"attributes": {"schema_name": "acme", "on_trial": None}}},
    count=2,
)

DJANGO_TENANTS_SHORT = Recipe(
    "Django with django-tenants",
    rows=DJANGO_TENANTS.rows,
    found={
        "example.com": {"id": "1", "attributes": {"schema_name": "public"}},
        "acme.example.com": {"id": "2", "primary_domain": "acme.example.com"},
        "a.acme.example.com": {"id": "2"},
        "globex.io": {"id": "3"},
    },
    write=DJANGO_TENANTS.write,
    written={"acme.io": {"id": "2", "primary_domain": "acme.io"}, "globex.io": None},
    migrated={"acme.example.com": {"name": "Acme"}},
    count=3,
    command=1,
    base="localhost",
)

RAILS = Recipe(
    "Rails",
    rows=[
        """insert into "plans" ("name", "requests_per_minute", "created_at", "updated_at") values
            ('pro', 1000, now(), now()), ('free', null, now(), now())""",
        """insert into "accounts" ("name", "subdomain", "custom_domain", "plan_id", "preferences", "created_at",
            "updated_at") values ('Acme', 'acme', 'acme.io', 1, '{"locale": "de"}', now(), now()),
            ('Globex', 'globex', null, null, '{}', now(), now())""",
    ],
    found={
        "acme.io": {"id": "1", "plan": "pro", "per_minute": 1000, "attributes": {"locale": "de"}},
        "acme.example.com": {"primary_domain": "acme.io"},
        "globex.example.com": {"plan": None, "per_minute": 600},
    },
    write=[
        "begin",
        """update "plans" set "requests_per_minute" = 2000, "updated_at" = now() where "plans"."id" = 1""",
        """update "accounts" set "suspended_at" = now(), "plan_id" = 2 where "accounts"."id" = 2""",
        "commit",
    ],
    written={
        "acme.example.com": {"per_minute": 2000},
        "globex.example.com": {"status": "suspended", "plan": "free"},
    },
    migrated={"acme.example.com": {"per_minute": 2000}},
    count=2,
    works=False,
)

PRISMA = Recipe(
    "Prisma",
    rows=[
        """insert into "Organization" ("id", "name", "slug") values
            ('org_1', 'Acme', 'acme'), ('org_2', 'Globex', 'globex')""",
        """insert into "Subscription" ("id", "organizationId", "status", "plan", "requestsPerMinute") values
            ('sub_1', 'org_1', 'ACTIVE', 'pro', 1000), ('sub_2', 'org_2', 'INACTIVE', 'pro', null)""",
        """insert into "Domain" ("id", "organizationId", "name", "verifiedAt") values
            ('dom_1', 'org_1', 'acme.io', now()), ('dom_2', 'org_1', 'acme.dev', null)""",
    ],
    found={
        "acme.example.com": {"id": "org_1", "plan": "pro", "per_minute": 1000, "domains": ("acme.io",)},
        "acme.io": {"id": "org_1"},
        "acme.dev": None,
        "globex.example.com": {"status": "suspended"},
    },
    write=[
        "begin",
        """update "public"."Subscription" set "status" = cast('ACTIVE'::text as "public"."SubscriptionStatus")
            where ("public"."Subscription"."id" = 'sub_2' and 1=1)""",
        """update "public"."Domain" set "verifiedAt" = now() where "public"."Domain"."id" in ('dom_2')""",
        "commit",
    ],
    written={"globex.example.com": {"status": "active"}, "acme.dev": {"id": "org_1"}},
    migrated={"globex.example.com": {"status": "active"}, "acme.example.com": {"per_minute": 1000}},
    count=2,
)

LARAVEL = Recipe(
    "Laravel",
    rows=[
        """insert into "tenants" ("id", "data", "updated_at") values
            ('acme', '{"name": "Acme", "plan": "pro", "requests_per_minute": 500, "tenancy_db_password": "x"}',
                now()),
            ('globex', '{"name": "Globex", "requests_per_minute": "many", "suspended": true}', now())""",
        """insert into "domains" ("domain", "tenant_id") values
            ('acme', 'acme'), ('acme.io', 'acme'), ('globex', 'globex')""",
    ],
    found={
        "acme.example.com": {
            "id": "acme",
            "plan": "pro",
            "per_minute": 500,
            "attributes": {"name": "Acme", "plan": "pro", "requests_per_minute": 500},
        },
        "acme.io": {"id": "acme"},
        "globex.example.com": {"status": "suspended", "name": "Globex", "per_minute": 600},
    },
    write=[
        "begin",
        """update "tenants" set "data" = '{"name": "Globex", "requests_per_minute": 40}' where "id" = 'globex'""",
        """insert into "domains" ("domain", "tenant_id") values ('globex.io', 'globex') returning "id" """,
        """delete from "domains" where "id" = 2""",
        "commit",
    ],
    written={"globex.io": {"status": "active", "per_minute": 40}, "acme.io": None},
    migrated={"globex.io": {"per_minute": 40}, "acme.example.com": {"plan": "pro"}},
    count=2,
    is_same=False,  # the cast to jsonb is none any more
)

RECIPES = [ORGANIZATIONS, DJANGO, DJANGO_TENANTS, DJANGO_TENANTS_SHORT, RAILS, PRISMA, LARAVEL]


def part(heading: str) -> str:
    """The text below a heading, up to the next one of its level or above."""
    marks, _, found = re.split(rf"^(#+) ({re.escape(heading)})$", TEXT, maxsplit=1, flags=re.MULTILINE)[1:]
    return re.split(rf"^#{{1,{len(marks)}}} ", found, maxsplit=1, flags=re.MULTILINE)[0]


def sql(heading: str, first_line: str) -> str | None:
    """The example that begins with a comment."""
    found: list[str] = re.findall(rf"```sql\n-- {re.escape(first_line)}\n(.*?)```", part(heading), re.DOTALL)
    assert len(found) <= 1
    return found[0] if found else None


def commands(heading: str) -> list[str]:
    return [one for one in re.findall(r"```sh\n(.*?)```", part(heading), re.DOTALL) if "tenantcache init" in one]


async def run(command: str) -> None:
    """Of the document, in a thread, because a command has an event loop of its own."""
    for line in command.replace("\\\n", " ").splitlines():
        program, *arguments = re.findall(r"'[^']*'|\S+", line)
        assert program == "tenantcache"
        with ThreadPoolExecutor(1) as pool, pytest.raises(SystemExit, match="0"):
            await asyncio.get_running_loop().run_in_executor(pool, main, [one.strip("'") for one in arguments])


@pytest.fixture
async def db(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[asyncpg.Connection]:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    monkeypatch.setenv("TENANTCACHE_BASE_DOMAINS", "example.com")
    monkeypatch.chdir(tmp_path)
    connection = await asyncpg.connect(empty_database_url)
    yield connection
    await connection.close()


async def load(db: asyncpg.Connection, recipe: Recipe) -> None:
    scripts = [sql(recipe.heading, "What the migrations have made"), sql(recipe.heading, "Before adopting")]
    assert scripts[0] is not None
    for statement in [*filter(None, scripts), *recipe.rows]:
        await db.execute(statement)


async def adopt(db: asyncpg.Connection, recipe: Recipe) -> None:
    if (query := sql(recipe.heading, "tenants.sql")) is not None:
        write(query)
    await run(commands(recipe.heading)[recipe.command])
    assert await db.fetchval("select tenantcache.fault()") is None


def write(query: str | None, name: str = "tenants.sql") -> None:
    assert query is not None
    Path(name).write_text(query)


def shown(tenant: Tenant, names: Mapping[str, object]) -> dict[str, object]:
    return {name: tenant.limits.per_minute if name == "per_minute" else getattr(tenant, name) for name in names}


async def check(cache: TenantCache, expected: Expected) -> None:
    await cache.sync()
    for host, wanted in expected.items():
        tenant = await cache.resolve(host)
        assert (tenant is None) == (wanted is None), host
        if tenant is not None and wanted is not None:
            assert shown(tenant, wanted) == wanted, host


async def wait_for_fault(cache: TenantCache, *, wanted: bool) -> None:
    """Processes look once a second."""
    async with asyncio.timeout(30):
        while (cache.stats()["freshness"]["fault"] is not None) != wanted:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: f"{recipe.heading} {recipe.command}")
async def test_a_recipe_is_adopted_looked_up_written_and_migrated(
    db: asyncpg.Connection,
    recipe: Recipe,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    patience: None,
) -> None:
    monkeypatch.setenv("TENANTCACHE_BASE_DOMAINS", recipe.base)
    await load(db, recipe)
    await adopt(db, recipe)
    assert f"tenantcache: {recipe.count} tenants from " in capsys.readouterr().out
    async with TenantCache(Settings()) as cache:
        await check(cache, recipe.found)
        for statement in recipe.write:
            await db.execute(statement)
        await check(cache, recipe.written)
        migration = sql(recipe.heading, "A migration")
        assert migration is not None
        await db.execute(migration)
        if recipe.works:
            await wait_for_fault(cache, wanted=False)
            await check(cache, recipe.migrated)
    if recipe.works:
        await adopt(db, recipe)
        assert ("served already, and nothing was changed" in capsys.readouterr().out) == recipe.is_same


RENAMED = "coalesce(to_jsonb(a) ->> 'handle', to_jsonb(a) ->> 'subdomain') as subdomain"


async def test_a_renamed_column_is_waited_for(db: asyncpg.Connection, patience: None) -> None:
    await load(db, RAILS)
    await adopt(db, RAILS)
    async with TenantCache(Settings(warm_up=False)) as cache:
        await check(cache, {"acme.example.com": {"id": "1"}})
        await db.execute(sql("Rails", "A migration") or "")
        await wait_for_fault(cache, wanted=True)
        known = await cache.resolve("acme.example.com")
        assert known is not None and known.id == "1"
        with pytest.raises(StoreUnavailableError):
            await cache.resolve("globex.example.com")
        write((sql("Rails", "tenants.sql") or "").replace("a.subdomain,", "a.handle as subdomain,"))
        await run(commands("Rails")[0])
        await wait_for_fault(cache, wanted=False)
        await db.execute("update accounts set handle = 'globex-inc' where id = 2")
        await check(cache, {"acme.example.com": {"id": "1"}, "globex-inc.example.com": {"id": "2"}})


async def test_a_query_that_takes_both_names_lasts_through_the_renaming(db: asyncpg.Connection, patience: None) -> None:
    assert f"`{RENAMED}`" in TEXT
    await load(db, RAILS)
    write((sql("Rails", "tenants.sql") or "").replace("a.subdomain,", RENAMED + ","))
    await run(commands("Rails")[0])
    async with TenantCache(Settings()) as cache:
        await check(cache, {"acme.example.com": {"id": "1"}})
        await db.execute(sql("Rails", "A migration") or "")
        await db.execute("update accounts set handle = 'globex-inc' where id = 2")
        await check(cache, {"acme.example.com": {"id": "1"}, "globex-inc.example.com": {"id": "2"}})
        assert cache.stats()["freshness"]["fault"] is None


async def test_kinds_stand_side_by_side(db: asyncpg.Connection, patience: None) -> None:
    await load(db, PRISMA)
    await db.execute("""insert into "Team" ("name", "slug", "organizationId") values ('Sales', 'acme', 'org_1')""")
    write(sql("Prisma", "tenants.sql"))
    write(sql("Several kinds of tenants", "teams.sql"), "teams.sql")
    await run(commands("Several kinds of tenants")[0])
    async with TenantCache(Settings()) as cache:
        await check(
            cache,
            {
                "acme.example.com": {"id": "organization:org_1", "kind": "organization", "key": "org_1"},
                "acme.teams.example": {"id": "team:1", "kind": "team", "key": "1", "slugs": ("acme",)},
            },
        )
        await db.execute("""update "Organization" set "slug" = 'acme-inc' where "id" = 'org_1'""")
        await check(cache, {"acme-inc.teams.example": {"key": "1"}, "acme.teams.example": None})
        [remove] = re.findall(r"`tenantcache (adopt remove \w+)`", part("Several kinds of tenants"))
        await run(f"tenantcache {remove}")
        await check(cache, {"acme-inc.example.com": {"key": "org_1"}, "acme-inc.teams.example": None})


async def test_explain_shows_how_a_row_leads_to_tenants(
    db: asyncpg.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    await load(db, RAILS)
    await adopt(db, RAILS)
    command = next(one for one in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) if "adopt explain" in one)
    await run(command)
    out = capsys.readouterr().out
    [told] = re.findall(r"```\n(followed:\n.*?)```", TEXT, re.DOTALL)
    assert told in out
    assert re.search(r"^  plan +\"pro\"$", out, re.MULTILINE)


async def test_what_went_around_the_triggers_is_found(
    db: asyncpg.Connection, capsys: pytest.CaptureFixture[str], patience: None
) -> None:
    await load(db, RAILS)
    write(sql("Rails", "tenants.sql"))
    await run(commands("Rails")[0].strip() + " --static plans")
    async with TenantCache(Settings()) as cache:
        await check(cache, {"acme.example.com": {"per_minute": 1000}})
        await db.execute("update plans set requests_per_minute = 5")
        await check(cache, {"acme.example.com": {"per_minute": 1000}})
        capsys.readouterr()
        [verify] = [one for one in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) if "adopt verify" in one]
        with ThreadPoolExecutor(1) as pool, pytest.raises(SystemExit, match="1"):
            await asyncio.get_running_loop().run_in_executor(pool, main, ["adopt", "verify"])
        assert "1 is not as the query says\n" in capsys.readouterr().out
        await run(verify)
        await check(cache, {"acme.example.com": {"per_minute": 5}})


async def answers(cache: TenantCache, host: str) -> str | None:
    """The id of the tenant; None if there is none, or it is not known."""
    with suppress(StoreUnavailableError):
        tenant = await cache.resolve(host)
        return None if tenant is None else tenant.id
    return None


async def test_a_job_that_switches_triggers_off_is_found_out(db: asyncpg.Connection, patience: None) -> None:
    await load(db, RAILS)
    await adopt(db, RAILS)
    async with TenantCache(Settings()) as cache:
        await check(cache, {"acme.example.com": {"id": "1"}})
        await db.execute("""
            begin;
            alter table accounts disable trigger all;
            update accounts set subdomain = 'acme-inc' where id = 1;
            alter table accounts enable trigger all;
            commit;
        """)
        async with asyncio.timeout(30):
            while await answers(cache, "acme-inc.example.com") is None:  # until it is noticed, and mended
                await asyncio.sleep(0.05)
        await wait_for_fault(cache, wanted=False)
        await check(cache, {"acme-inc.example.com": {"id": "1"}, "acme.example.com": None})


async def test_the_application_runs_as_another_role(db: asyncpg.Connection, empty_database_url: str) -> None:
    await load(db, RAILS)
    await adopt(db, RAILS)
    await db.execute("create role app login password 'app'")
    try:
        [given] = re.findall(r"```sql\n(grant .*?)```", part("Roles and rights"), re.DOTALL)
        await db.execute(given)
        url = re.sub(r"//[^@]*@", "//app:app@", empty_database_url)
        async with TenantCache(Settings(database_url=url)) as cache:
            await check(cache, {"acme.example.com": {"id": "1"}})
            await db.execute("update accounts set name = 'Acme Inc' where id = 1")
            await check(cache, {"acme.example.com": {"name": "Acme Inc"}})
    finally:
        await db.execute("drop owned by app; drop role app")


async def test_two_owners_and_odd_rows(db: asyncpg.Connection, patience: None) -> None:
    await load(db, LARAVEL)
    await adopt(db, LARAVEL)
    async with TenantCache(Settings()) as cache:
        await db.execute("insert into domains (domain, tenant_id) values ('Other', 'acme'), ('other', 'globex')")
        await check(cache, {"other.example.com": {"id": "acme"}})  # globex is suspended
        await db.execute("""update tenants set data = '{"name": "Globex"}' where id = 'globex'""")
        await check(cache, {"other.example.com": None, "globex.example.com": {"id": "globex"}})
        await db.execute(
            """update tenants set data = '{"suspended": "perhaps", "name": "Globex"}' where id = 'globex'"""
        )
        await check(cache, {"globex.example.com": {"status": "suspended", "name": "Globex"}})


def cells(after: str) -> list[str]:
    """The first cells of the first table after some text."""
    table = TEXT.partition(after)[2].partition("\n\n")[0]
    return [row.split("|")[1] for row in table.splitlines()[1:]]


def test_the_table_of_columns_is_complete() -> None:
    rows = cells("| column | what it says |")
    told = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert told == list(COLUMNS)


def test_the_tables_of_options_are_complete() -> None:
    told = {name for row in cells("| option | what it is |") for name in re.findall(r"`--([a-z-]+)`", row)}
    assert told == {field.name.replace("_", "-") for field in fields(TableOptions)} - {"table"}


def test_every_option_of_init_is_told() -> None:
    from tenantcache.cli.init import init

    options = {f"--{name.replace('_', '-')}" for name in init.__annotations__} - {"--context", "--return"}
    assert not {option for option in options if not re.search(rf"{option}\b", TEXT)}


async def test_the_first_command_says_what_it_says(
    db: asyncpg.Connection, empty_database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await load(db, DJANGO)
    command, expected = re.findall(r"```(?:sh)?\n(.*?)```", TEXT, re.DOTALL)[:2]
    await run(command)
    where = empty_database_url.partition("@")[2].partition("/")[0]
    assert capsys.readouterr().out == expected.replace("db.internal:5432", where)


async def test_a_table_that_leads_nowhere_is_asked_for(
    db: asyncpg.Connection, capsys: pytest.CaptureFixture[str], patience: None
) -> None:
    await db.execute("""
        create table orgs (id integer primary key, slug text);
        create table seats (organization_id text, amount integer);
        create table countries (code text);
        insert into orgs values (1, 'acme');
        insert into seats values ('1', 5);
    """)
    write("""
        select o.id, o.slug as subdomain,
            (select sum(s.amount) from seats s where s.organization_id = concat(o.id)) as limit_per_minute,
            jsonb_build_object('countries', (select count(*) from countries)) as attributes
        from orgs o
    """)
    with ThreadPoolExecutor(1) as pool, pytest.raises(SystemExit, match="2"):
        await asyncio.get_running_loop().run_in_executor(pool, main, ["init", "--adopt-query", "tenants.sql"])
    error = capsys.readouterr().err
    assert "public.seats is read" in error and "public.countries is read" in error
    watch, anyone, static = re.findall(r"^\| `(--(?:watch|static) .*?)` \|", TEXT, re.MULTILINE)
    assert anyone == "--watch 'public.seats=*'"
    await run(f"tenantcache init --adopt-query tenants.sql {watch} {static}")
    async with TenantCache(Settings()) as cache:
        await check(cache, {"acme.example.com": {"per_minute": 5, "attributes": {"countries": 0}}})
        await db.execute("update seats set amount = 7")
        await check(cache, {"acme.example.com": {"per_minute": 7}})
    await run(f"tenantcache init --adopt-query tenants.sql {anyone} {static}")
    async with TenantCache(Settings()) as cache:
        await check(cache, {"acme.example.com": {"per_minute": 7}})
        await db.execute("update seats set amount = 9")
        await check(cache, {"acme.example.com": {"per_minute": 9}})


async def test_whole_hosts_under_a_base_domain_are_warned_of(
    db: asyncpg.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    await load(db, DJANGO_TENANTS)
    await run(commands(DJANGO_TENANTS.heading)[1])
    assert "under the base domain example.com" in capsys.readouterr().err
