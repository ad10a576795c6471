"""`tenantcache resolve`: it says what a request would get, and why, and a request gets that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest
import redis
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tenantcache import Settings, StoreUnavailableError, TenantCache, TenantMiddleware
from tenantcache.cli.tenantread import read_row
from tenantcache.lookup.core.snapshot import Snapshot
from tenantcache.testing.database import MemoryDatabase
from tests.servers.billing import BilledCommands
from tests.shell.conftest import Run, Sql

TENANTS = """
    insert into tenantcache.tenants (id, name, subdomain, status, plan, limit_per_minute) values
        ('acme', 'Acme', 'acme', 'active', 'pro', 7), ('away', 'Away', 'away', 'suspended', null, null),
        ('later', 'Later', 'later', 'maintenance', null, null), ('gone', 'Gone', 'gone', 'deleted', null, null)
"""
DOMAINS = "insert into tenantcache.tenant_domains values ('shop.test', 'acme', true), ('old.test', 'acme', false)"
PLANS = '{"pro": {"per_day": 5}}'

# Host, outcome, status, what decides
HOSTS = [
    ("acme.example.com", "served", None, "row"),
    ("ACME.Example.COM.:8000", "served", None, "row"),
    ("shop.test", "served", None, "row"),
    ("old.test", "served", None, "row"),
    ("away.example.com", "suspended", 403, "row"),
    ("later.example.com", "maintenance", 503, "row"),
    ("gone.example.com", "deleted", 410, "row"),
    ("nobody.example.com", "unknown", 404, "row"),
    ("nobody.test", "foreign", 404, "row"),
    ("example.com", "bypass", None, "TENANTCACHE_BASE_DOMAINS"),
    ("www.example.com", "bypass", None, "TENANTCACHE_RESERVED_SUBDOMAINS"),
    ("a.b.example.com", "unknown", 404, "TENANTCACHE_BASE_DOMAINS"),
    ("127.0.0.1", "foreign", 404, None),
    ("[::1]:8000", "foreign", 404, None),
    ("a_b.example.com", "malformed", 400, None),
    ("", "malformed", 400, None),
    ("acme.example.com:99999", "malformed", 400, None),
]


@pytest.fixture(autouse=True)
def tenants(request: pytest.FixtureRequest) -> None:
    if "run" in request.fixturenames:
        sql: Sql = request.getfixturevalue("sql")
        sql(TENANTS)
        sql(DOMAINS)


def requested(database_url: str, host: str, **settings: Any) -> tuple[int, str]:
    """Status and body of a real request through the middleware."""
    app = Starlette(routes=[Route("/", lambda request: PlainTextResponse("the application"))])
    cache = TenantCache(Settings({}, database_url=database_url, base_domains=["example.com"], **settings))
    app.add_middleware(TenantMiddleware, cache=cache)

    async def get() -> tuple[int, str]:
        async with cache, httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            request = client.build_request("GET", "http://any/", headers={"Host": host})
            answer = await client.send(request)
            return answer.status_code, answer.text

    return asyncio.run(get())


@pytest.mark.parametrize(("host", "outcome", "status", "decided_by"), HOSTS)
def test_each_outcome(
    run: Run, database_url: str, host: str, outcome: str, status: int | None, decided_by: str | None
) -> None:
    ran = run("resolve", host, "--json")
    found = ran.json
    assert (found["outcome"], found["status"], found["decided_by"]) == (outcome, status, decided_by)
    assert ran.status == (0 if status is None else 1)
    assert found["billed_commands"] == 0
    got, body = requested(database_url, host)
    assert got == (200 if status is None else status)
    assert (body == "the application") == (status is None)
    assert bool(found["advice"]) == (outcome not in ("served", "malformed"))


def test_the_steps_of_a_host(run: Run) -> None:
    found = run("resolve", "ACME.Example.COM.:8000", "--json").json
    assert [(step["step"], step["left"]) for step in found["steps"]] == [
        ("port", "ACME.Example.COM."),
        ("root dot", "ACME.Example.COM"),
        ("capitals", "acme.example.com"),
        ("labels", "acme.example.com"),
        ("meaning", "subdomain:acme"),
    ]
    assert found["alias"] == "subdomain:acme"


def test_limits_and_where_they_come_from(run: Run) -> None:
    found = run("resolve", "acme.example.com", "--json", TENANTCACHE_PLANS=PLANS).json["tenant"]
    assert found["limits"] == {"per_minute": 7, "per_day": 5}
    assert found["limits_from"] == {"per_minute": "tenant", "per_day": "plan"}
    text = run("resolve", "acme.example.com").out
    assert "7 (the tenant's own)" in text
    assert "5 (its plan's)" in text


class TestRedis:
    @pytest.fixture
    def client(self, redis_url: str) -> Iterator[redis.Redis]:
        with redis.Redis.from_url(redis_url) as client:
            yield client

    def test_only_if_it_is_asked_for_and_for_one_command(self, run: Run, billed_commands: BilledCommands) -> None:
        found = run("resolve", "acme.example.com", "--json").json
        assert (found["answered_by"], found["redis"]) == ("postgres", None)
        assert billed_commands.total() == 0
        found = run("resolve", "acme.example.com", "--redis", "--json").json
        assert (found["answered_by"], found["redis"], found["billed_commands"]) == ("postgres", "has no copy", 1)
        assert billed_commands.by_command() == {"get": 1}

    def test_a_fresh_copy_answers(self, run: Run, billed_commands: BilledCommands) -> None:
        run("tenants", "update", "acme", "--name", "New")
        billed_commands.reset()
        found = run("resolve", "shop.test", "--redis", "--json").json
        assert (found["answered_by"], found["redis"]) == ("redis", "has a copy that is fresh")
        assert found["tenant"]["name"] == "New"
        assert billed_commands.by_command() == {"get": 1}

    def test_a_copy_from_before_a_change_is_refused(self, run: Run, sql: Sql) -> None:
        run("tenants", "update", "acme", "--name", "New")
        sql("update tenantcache.tenants set name = 'Newer' where id = 'acme'")
        found = run("resolve", "shop.test", "--redis", "--json").json
        assert found["answered_by"] == "postgres"
        assert found["redis"].startswith("has a copy that is refused")
        assert found["tenant"]["name"] == "Newer"

    def test_a_redis_that_is_not_there(self, run: Run) -> None:
        ran = run("resolve", "acme.example.com", "--redis", "--json", REDIS_URL="redis://:secret@127.0.0.1:1")
        assert (ran.status, ran.json["answered_by"]) == (0, "postgres")
        assert ran.json["redis"].startswith("cannot be asked: ")
        assert "secret" not in ran.out + ran.errors

    def test_without_redis_in_the_settings(self, run: Run) -> None:
        ran = run("resolve", "acme.example.com", "--redis", REDIS_URL="")
        assert (ran.status, ran.out) == (2, "")
        assert "is not set, so there are no copies" in ran.errors


@pytest.mark.parametrize(
    ("host", "meant"),
    [
        ("https://acme.example.com/path?a=b", "acme.example.com"),
        ("https://user:secret@acme.example.com:8000", "acme.example.com:8000"),
        ("acme.example.com/path", "acme.example.com"),
        ("Büro.example.com", "xn--bro-hoa.example.com"),
        ("b\u00fccher.test:81", "xn--bcher-kva.test:81"),
    ],
)
def test_what_was_meant(run: Run, host: str, meant: str) -> None:
    ran = run("resolve", host, "--json")
    assert (ran.status, ran.json["advice"]) == (1, f"did you mean {meant}?")


def test_a_claim_that_waits_for_its_proof_is_told(run: Run) -> None:
    assert run("domains", "add", "acme", "new.test").status == 0
    assert run("resolve", "new.test", "--json").json["advice"] == (
        "the tenant 'acme' has asked for it: tenantcache domains verify new.test"
    )


@pytest.mark.parametrize(
    "host", ["\x1b[31m.example.com", "a\u202eb", "[bold]", "\udcff\udcfe", "a" * 100_000, "\n\n", "--", "%s{status}"]
)
def test_a_typed_host_is_data(run: Run, host: str) -> None:
    for options in ([], ["--json"]):
        ran = run("resolve", *options, "--", host)
        assert ran.status == 1
        assert all(line.isprintable() for line in (ran.out + ran.errors).splitlines())
        assert "malformed" in ran.out or "not a host" in ran.out
    assert run("resolve", "--json", "--", host).json["host"] == host


def test_redirects(run: Run, database_url: str) -> None:
    found = run("resolve", "old.test:81", "--json", TENANTCACHE_REDIRECT_TO_PRIMARY="true").json
    assert (found["outcome"], found["status"], found["location"]) == ("redirect", 308, "https://shop.test:81/")
    assert requested(database_url, "old.test:81", redirect_to_primary=True)[0] == 308
    assert run("resolve", "shop.test", "--json").json["outcome"] == "served"


def test_statuses_of_ones_own(run: Run) -> None:
    codes = json.dumps({"foreign": 421, "suspended": 402})
    assert run("resolve", "nobody.test", "--json", TENANTCACHE_STATUS_CODES=codes).json["status"] == 421
    assert run("resolve", "away.example.com", "--json").json["status"] == 402


def test_a_tenant_on_the_base_domain_itself(run: Run) -> None:
    found = run("resolve", "example.com", "--json", TENANTCACHE_BASE_DOMAIN_TENANT="true").json
    assert (found["outcome"], found["decided_by"]) == ("bypass", "TENANTCACHE_BASE_DOMAIN_TENANT")


def test_other_strategies_are_pointed_out(run: Run) -> None:
    ran = run("resolve", "acme.example.com", "--json", TENANTCACHE_STRATEGIES="path:/t")
    assert "do not name their tenant by the host" in ran.errors


def test_a_name_of_two_adopted_tenants(run: Run, sql: Sql) -> None:
    sql("create table public.orgs (id int primary key, slug text)")
    sql("insert into orgs values (1, 'same'), (2, 'same'), (3, 'one')")
    assert run("init", "--adopt", "orgs", "--subdomain", "slug").status == 0
    found = run("resolve", "same.example.com", "--json").json
    assert (found["outcome"], found["status"]) == ("unknown", 404)
    assert found["advice"] == "several tenants have this name (1, 2), so it is served for none of them"
    assert "adopt explain" in run("resolve", "none.example.com", "--json").json["advice"]
    assert run("resolve", "one.example.com", "--json").json["tenant"]["id"] == "3"


def test_a_malformed_host_needs_no_server(run: Run) -> None:
    ran = run("resolve", "a..b", DATABASE_URL="postgresql://u:secret@127.0.0.1:1/d")
    assert ran.status == 1
    assert "empty label" in ran.out
    assert run("resolve", "acme.example.com").status == 3


async def test_a_name_that_is_being_read_anew_is_not_absent() -> None:
    class Unsure(MemoryDatabase):
        async def read(self, aliases: Sequence[str]) -> Snapshot:
            return replace(await super().read(aliases), unknown=frozenset(aliases))

    with pytest.raises(StoreUnavailableError, match="being read anew"):
        await read_row(Unsure(lambda: 0.0), "subdomain:acme")
