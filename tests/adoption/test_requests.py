"""Requests of three adopted applications, by host and by path, and what their old names lead to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from tenantcache import Settings, TenantCache, TenantMiddleware, current_tenant
from tenantcache.schema.adopt import Adoption, AdoptionError, install, prepare
from tenantcache.web.strategies import PathPrefix, ReadHost, match_of
from tests.adoption.applications import Application, dispatch, documenso, zulip
from tests.adoption.test_applications_fixtures import named
from tests.asgi import get, http_scope
from tests.fakes import until


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    tenant = current_tenant()
    seen = None if tenant is None else (tenant.kind, tenant.key)
    await JSONResponse({"tenant": seen, "root": scope["root_path"]})(scope, receive, send)


class World:
    def __init__(self, db: asyncpg.Connection, cache: TenantCache) -> None:
        self.db, self.cache = db, cache
        self.app = TenantMiddleware(echo, cache=cache)

    async def ask(self, host: bytes, path: str = "/") -> Any:
        """The tenant's kind and key, the status of a refusal, or where it leads."""
        answer = await get(self.app, host, path)
        if answer.status == 308:
            return answer.header("location")
        if answer.status != 200:
            return answer.status
        tenant = answer.json()["tenant"]
        return None if tenant is None else tuple(tenant)

    async def write(self, application: Application, what: str) -> None:
        [sql] = [write.sql for write in application.writes if write.what.startswith(what)]
        await self.execute(sql)

    async def execute(self, sql: str) -> None:
        await self.db.execute(sql)
        await self.cache.sync()
        # A change of a table any row of which may concern any tenant has the names of all tenants read anew.
        async with asyncio.timeout(10):
            while await self.db.fetchval("select tenantcache.fault()") is not None:
                await asyncio.sleep(0.02)
        await self.cache.sync()


@asynccontextmanager
async def world(url: str, **options: Any) -> AsyncIterator[World]:
    db = await asyncpg.connect(url)
    try:
        async with TenantCache(Settings({}, database_url=url, **options)) as cache:
            yield World(db, cache)
    finally:
        await db.close()


@pytest.mark.parametrize("application", [dispatch.APPLICATION], ids=named)
async def test_dispatch_names_organisations_and_projects_in_the_path(adopted_url: str) -> None:
    strategies = "path:/api/v1,kind=organization,keep, path:/projects,kind=project"
    async with world(adopted_url, strategies=strategies) as made:
        for _ in range(2):
            assert await made.ask(b"localhost", "/api/v1/default/incidents") == ("organization", "1")
            assert await made.ask(b"localhost", "/api/v1/upper_case") == ("organization", "6")
            assert await made.ask(b"localhost", "/api/v1/größe_söhne/x") == ("organization", "4")
            assert await made.ask(b"localhost", "/api/v1/my_org/x") == 404, "two organisations have that slug"
            assert await made.ask(b"localhost", "/api/v1/my-org/x") == 404, "it is a project"
            assert await made.ask(b"localhost", "/projects/my-org/x") == ("project", "2")
            assert await made.ask(b"localhost", "/projects/frozen-project/x") == 403
            assert await made.ask(b"localhost", "/api/v1") is None
        assert (await get(made.app, b"localhost", "/api/v1/default/x")).json()["root"] == ""
        assert (await get(made.app, b"localhost", "/projects/default/x")).json()["root"] == "/projects/default"
        await made.write(dispatch.APPLICATION, "a slug that another row has too")
        assert await made.ask(b"localhost", "/api/v1/my_org/x") == ("organization", "3")
        await made.write(dispatch.APPLICATION, "an organisation of two words")
        assert await made.ask(b"localhost", "/api/v1/new_org") == ("organization", "8")


@pytest.mark.parametrize("application", [documenso.APPLICATION], ids=named)
async def test_documenso_names_teams_in_the_path_and_organisations_by_host(adopted_url: str) -> None:
    strategies = "path:/t,kind=team,path:/o,kind=organisation,host"
    options = {"strategies": strategies, "base_domains": ["documenso.example"]}
    async with world(adopted_url, **options) as made:
        base = b"documenso.example"
        for _ in range(2):
            assert await made.ask(base, "/t/acme/documents") == ("team", "1")
            assert await made.ask(b"acme.documenso.example", "/t/acme-legal") == ("team", "2")
            assert await made.ask(b"acme.documenso.example") == ("organisation", "org_acme")
            assert await made.ask(b"sign.acme.example") == ("organisation", "org_acme")
            assert await made.ask(b"acme-legal.documenso.example") == 404
            assert await made.ask(base, "/o/zoe_personal") == ("organisation", "org_zoe")
            assert await made.ask(base, "/t/zoe_personal") == 404
            assert await made.ask(base, "/t/globex_sales") == 503
            assert await made.ask(base) is None
        await until(lambda: made.cache.indexer.is_ready)
        made.cache.memory.clear()
        assert await made.ask(base, "/t/acme-legal") == ("team", "2"), "the index of names knows it"
        ruled_out = made.cache.resolver.ruled_out
        assert await made.ask(base, "/t/nobody_at_all") == 404
        assert made.cache.resolver.ruled_out == ruled_out + 1
        team = await made.cache.resolve_name("globex_sales", kind="team")
        assert team is not None and (team.id, team.attributes["organisation"]) == ("team:3", "org_globex")


OLD_TEAMS = documenso.TEAMS.replace(
    't."url" as slug,', """t."url" as slug, array[t."url" || '_before', 'one_before'] as old_slugs,"""
)


@pytest.mark.parametrize("application", [documenso.APPLICATION], ids=named)
async def test_an_old_slug_leads_to_the_present_one(adopted_url: str) -> None:
    strategies = "path:/t,kind=team,host"
    async with world(adopted_url, strategies=strategies) as made:
        await install(made.db, await prepare(made.db, Adoption(OLD_TEAMS, "team")), beside=True)
        await made.cache.sync()
        for _ in range(2):
            assert await made.ask(b"localhost", "/t/acme_before/x y") == "/t/acme/x y"
            assert await made.ask(b"localhost", "/t/acme/x") == ("team", "1")
            assert await made.ask(b"localhost", "/t/one_before/x") == 404, "several were called that"


@pytest.mark.parametrize("application", [zulip.WITH_OLD_NAMES], ids=named)
async def test_zulip_has_a_realm_on_the_base_domain_and_old_names(adopted_url: str) -> None:
    options = {"base_domains": ["zulip.example"], "base_domain_tenant": True}
    async with world(adopted_url, **options) as made:
        for _ in range(2):
            assert await made.ask(b"zulip.example") == ("", "1")
            assert await made.ask(b"acme.zulip.example") == ("", "2")
            assert await made.ask(b"acme-old.zulip.example:8000", "/a") == "http://acme.zulip.example:8000/a"
            assert await made.ask(b"closed.zulip.example") == 403
            assert await made.ask(b"away.zulip.example") == 404
            assert await made.ask(b"www.zulip.example") is None
        assert {*made.cache.memory.hot} == {b"zulip.example", b"acme.zulip.example"}
        await made.write(zulip.WITH_OLD_NAMES, "a realm is renamed")
        for _ in range(2):
            assert await made.ask(b"acme.zulip.example", "/x") == "http://acme-labs.zulip.example/x"
            assert await made.ask(b"acme-old.zulip.example") == "http://acme-labs.zulip.example/"
            assert await made.ask(b"acme-labs.zulip.example") == ("", "2")
        await made.write(zulip.APPLICATION, "the realm on the base domain moves")
        assert await made.ask(b"zulip.example") == ("", "3")
        assert await made.ask(b"community.zulip.example") == ("", "1")
        await made.execute("update zerver_realm set deactivated_redirect = 'x' where string_id = ''")
        assert await made.ask(b"zulip.example") is None, "the application's own again"


@pytest.mark.parametrize("kind", ["team:a", "Team", "a b", "é", "x" * 64])
async def test_kinds_that_would_be_ambiguous_are_refused(empty_database_url: str, kind: str) -> None:
    db = await asyncpg.connect(empty_database_url)
    try:
        await db.execute("create table team (id integer primary key)")
        with pytest.raises(AdoptionError, match="is not possible; give 1 to 63 of a to z"):
            await prepare(db, Adoption("select id from team", kind))
    finally:
        await db.close()


# Names as the database writes them, and as a request is looked up.

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=130).filter(
    lambda name: len(name.encode()) <= 253
)


async def adopt_teams(url: str, kind: str) -> None:
    db = await asyncpg.connect(url)
    try:
        await db.execute("create table team (id integer primary key, name text)")
        query = 'select id, "name" as subdomain, "name" as slug from public.team'
        assert await install(db, await prepare(db, Adoption(query, kind)))
    finally:
        await db.close()


async def aliases_in(url: str, names: list[str]) -> list[list[str]]:
    """The aliases of a tenant for each name, as SQL says."""
    db = await asyncpg.connect(url)
    try:
        await db.execute("delete from team")
        await db.executemany("insert into team values ($1, $2)", list(enumerate(names)))
        await db.execute("update tenantcache.publisher set incomplete = 'changed'")
        assert await db.fetchval("select tenantcache.rebuild()")
        rows = await db.fetch("select tenant_id, alias from tenantcache.aliases")
    finally:
        await db.close()
    found: list[list[str]] = [[] for _ in names]
    for row in rows:
        found[int(row["tenant_id"].rpartition(":")[2])].append(row["alias"])
    return found


@pytest.mark.parametrize("kind", ["", "team"])
def test_a_name_in_a_path_is_the_one_in_the_database(empty_database_url: str, kind: str) -> None:
    @settings(max_examples=8, deadline=None)
    @given(st.lists(NAMES, min_size=1, max_size=60))
    @example(
        [
            "My_Org",
            "GRÖSSE",
            "İ",
            "\u212a",
            "ſ",
            "a:b",
            "team:a",
            "/",
            "a/b",
            "..",
            "%2F",
            " a ",
            "日本",
            "é" * 126,
            "'",
        ]
    )
    def check(names: list[str]) -> None:
        asyncio.run(compare(names))

    async def compare(names: list[str]) -> None:
        for name, aliases in zip(names, await aliases_in(empty_database_url, names), strict=True):
            segments = name.count("/") + 1
            if segments <= 8 and "" not in name.split("/"):
                assert await by_path(name, kind, segments) in aliases
            named = f"name:{kind}:{name}"
            assert {match_of(named).alias, match_of(f"subdomain:{name}").alias} <= {*aliases}

    asyncio.run(adopt_teams(empty_database_url, kind))
    check()


async def by_path(name: str, kind: str, segments: int) -> str | None:
    strategy = PathPrefix("/t", "slug", kind, segments=segments)
    scope = http_scope(b"localhost", f"/t/{name}/x")
    found = strategy.find(scope, ReadHost(b"localhost", match_of("subdomain:none")), lambda _: False)
    assert found is not None
    return found[2]().match.alias
