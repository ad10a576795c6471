"""Names beside the present host: within a kind, in the path, old ones that lead on, and the base domain itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from tenantcache import Tenant, TenantMiddleware, current_tenant
from tenantcache.errors import InvalidTenantError, NameTakenError
from tenantcache.lookup.core.hosts import HostRules
from tenantcache.testing import MemoryCache, TenantTable
from tenantcache.web.redirect import Redirects
from tenantcache.web.strategies import Header, NameInPath, PathPrefix, ReadHost, match_of
from tests.asgi import Answer, connect, get, http_scope, request
from tests.fakes import FakeClock, FakeDatabase, make_cache, row

BASE = b"example.com"
HTTP_PROXY = ("10.1.2.3", 5000)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        return
    tenant = current_tenant()
    seen = {"tenant": tenant and tenant.id, "kind": tenant and tenant.kind, "root": scope.get("root_path", "")}
    await JSONResponse(seen | {"path": scope["path"]})(scope, receive, send)


class World:
    def __init__(self, **settings: Any) -> None:
        self.cache = MemoryCache(**{"base_domains": ["example.com", "example.net"]} | settings)
        self.tenants = TenantTable(self.cache)
        self.app = TenantMiddleware(echo, cache=self.cache)
        assert self.app._fault is None

    async def get(self, host: bytes = BASE, path: str = "/", **options: Any) -> Answer:
        return await get(self.app, host, path, **options)

    async def tenant(self, host: bytes = BASE, path: str = "/", **options: Any) -> Any:
        """The tenant's id, the status of a refusal, or where it leads."""
        answer = await self.get(host, path, **options)
        if answer.status == 308:
            assert answer.header("cache-control") == "no-store"
            return answer.header("location")
        return answer.json()["tenant"] if answer.status == 200 else answer.status


@asynccontextmanager
async def world(**settings: Any) -> AsyncIterator[World]:
    made = World(**settings)
    async with made.cache:
        yield made


# Names within a kind.


@pytest.mark.parametrize(
    ("strategies", "path", "header"),
    [
        ("path:/t,kind=team,host", "/t/{}/x", None),
        ("path:/t,kind=team,keep", "/t/{}", None),
        ("header:x-team,kind=team", "/", b"x-team"),
    ],
)
async def test_a_name_within_a_kind(strategies: str, path: str, header: bytes | None) -> None:
    async with world(strategies=strategies, trusted_proxies=["10.0.0.0/8"]) as made:
        made.tenants.add("1", kind="team", slugs=["my_team", "größe", "a:b"])
        made.tenants.add("1", kind="organisation", slugs=["my_team", "org_only"], subdomain="my-org")
        made.tenants.add("b", kind="team-a", slugs=["b"])
        made.tenants.add("2", kind="team", slugs=["grösse"])  # no way to write it with a capital Ö
        made.tenants.add("plain", slugs=["plain_slug"])

        async def named(name: str) -> Any:
            headers = [] if header is None else [(header, name.encode())]
            return await made.tenant(path=path.format(name), headers=headers, client=HTTP_PROXY)

        for _ in range(2):
            assert [await named(name) for name in ("my_team", "MY_Team", "größe", "a:b")] == ["team:1"] * 4
            for name in ("org_only", "my-org", "plain", "plain_slug", "b", "team:my_team", "-a:b", "1", "GRÖSSE"):
                assert await named(name) == 404


async def test_names_of_every_sort() -> None:
    strategies = "path:/slug:slug,path:/id:id,path:/team:id,kind=team,path:/domain:domain,path:/t,host"
    async with world(strategies=strategies) as made:
        made.tenants.add("1", kind="team", domains=["acme.io"])
        made.tenants.add("2", subdomain="my-org", slugs=["my_org"])
        for path, expected in {
            "/slug/my_org": "2",
            "/slug/my-org": 404,
            "/slug/1": 404,
            "/id/2": "2",
            "/id/team:1": "team:1",
            "/id/1": 404,
            "/team/1": "team:1",
            "/team/2": 404,
            "/domain/Acme.io": "team:1",
            "/t/my-org": "2",
            "/t/my_org": 404,
            "/t/my%2Dorg": 404,  # as ASGI has it: decoded already
        }.items():
            assert await made.tenant(path=path) == expected, path


async def test_a_name_of_two_segments() -> None:
    async with world(strategies="path:/t,kind=team,segments=2,path:/t,kind=org") as made:
        made.tenants.add("7", kind="team", slugs=["acme/sales"])
        made.tenants.add("1", kind="org", slugs=["acme"])
        answer = (await made.get(path="/t/acme/sales/orders/1")).json()
        assert answer == {"tenant": "team:7", "kind": "team", "root": "/t/acme/sales", "path": "/t/acme/sales/orders/1"}
        assert await made.tenant(path="/t/acme/sales") == "team:7"
        assert await made.tenant(path="/t/acme/other") == 404
        for path in ("/t/acme", "/t/acme/", "/t/acme//sales"):
            assert await made.tenant(path=path) == "org:1", "two segments name none here: the next strategy is asked"


async def test_a_path_that_is_kept() -> None:
    async with world(strategies="path:/api/v1,keep,host") as made:
        made.tenants.add("my_org", subdomain=None, slugs=["x"])
        made.tenants.add("my-org")
        answer = (await made.get(path="/api/v1/my-org/orders")).json()
        assert answer == {"tenant": "my-org", "kind": "", "root": "", "path": "/api/v1/my-org/orders"}
        assert await made.tenant(b"my-org.example.com", "/api/v2") == "my-org"


async def test_labels_that_no_host_can_be_are_found_by_path() -> None:
    database = FakeDatabase(FakeClock(), row("1", subdomain="my_org"), row("2", subdomain="größe"))
    async with make_cache(database, FakeClock(), strategies="path:/t,host") as cache:
        app = TenantMiddleware(echo, cache=cache)
        assert (await get(app, BASE, "/t/My_Org")).json()["tenant"] == "1"
        assert (await get(app, BASE, "/t/größe/x")).json()["tenant"] == "2"
        assert (await get(app, b"my_org.example.com")).status == 400


async def test_a_function_may_name_within_a_kind() -> None:
    def by_query(scope: Scope) -> str | None:
        query = unquote(scope["query_string"].decode("ascii"))
        return f"name:team:{query}" if query else None

    async with world() as made:
        made.tenants.add("acme", kind="team")
        made.tenants.add("acme", kind="org", slugs=["acme", "org_only"])
        app = TenantMiddleware(echo, cache=made.cache, strategies=[by_query])
        for query, status in {b"acme": 200, b"ACME": 200, b"org_only": 404, b"org:acme": 404, b"%00": 404}.items():
            assert (await request(app, http_scope(BASE) | {"query_string": query})).status == status


async def test_a_name_is_resolved_within_a_kind() -> None:
    async with world() as made:
        team = made.tenants.add("1", kind="team", slugs=["sales"], old_slugs=["sellers"], status="suspended")
        org = made.tenants.add("1", kind="org", slugs=["sales"])
        plain = made.tenants.add("acme", slugs=["my_org"])
        assert await made.cache.resolve_name("Sales", kind="team") == team
        assert await made.cache.resolve_name("sellers", kind="team") == team
        assert await made.cache.resolve_name("sales", kind="org") == org
        assert await made.cache.resolve_name("my_org") == plain
        for name in ("sales", "acme", "", "a\0", "x" * 254):
            assert await made.cache.resolve_name(name) is None
        for kind in ("Team", "a:b", " "):
            with pytest.raises(ValueError, match="is not possible"):
                await made.cache.resolve_name("sales", kind=kind)


@given(
    st.sampled_from(["subdomain", "slug", "id", "domain"]), st.text(max_size=12) | st.sampled_from(["team:x", "a:b"])
)
async def test_whatever_stands_in_a_path_stays_within_its_sort_and_kind(by: Any, name: str) -> None:
    for kind in ("", "org") if by != "domain" else ("",):
        prefix = {"id": f"id:{kind}:" if kind else "id:", "domain": "domain:"}.get(by, f"name:{kind}:")
        if by == "subdomain" and not kind:
            prefix = "subdomain:"
        for strategy in (PathPrefix("/t", by, kind), Header("x", by, kind, from_anyone=True)):
            scope = http_scope(BASE, f"/t/{name}", headers=[(b"x", name.encode("utf-8", "replace"))], raw_path=b"/")
            found = strategy.find(scope, ReadHost(BASE, match_of("subdomain:none")), lambda _: False)
            alias = None if found is None else found[2]().match.alias
            if alias is not None:
                assert alias.startswith(prefix)
                assert len(alias) > len(prefix)


# Old names.


@asynccontextmanager
async def renamed(**settings: Any) -> AsyncIterator[World]:
    async with world(**settings) as made:
        made.tenants.add(
            "1", subdomain="new", old_names=["old", "older", "old.io"], old_slugs=["old_slug"], slugs=["new_slug"]
        )
        two = {"domains": ["two.io", "shop.two.io"], "primary_domain": "shop.two.io"}
        made.tenants.add("2", subdomain=None, old_names=["two", "was.io"], **two)  # type: ignore[arg-type]
        made.tenants.add("3", subdomain="www-3", old_names=["away"], status="suspended")
        yield made


async def test_an_old_host_leads_to_the_present_one() -> None:
    async with renamed() as made:
        for _ in range(3):
            assert await made.tenant(b"old.example.com") == "http://new.example.com/"
            assert await made.tenant(b"OLDER.example.net.:8000", "/a") == "http://new.example.net:8000/a"
            assert await made.tenant(b"old.io") == "http://new.example.com/"
            assert await made.tenant(b"two.example.com") == "http://shop.two.io/"
            assert await made.tenant(b"was.io") == "http://shop.two.io/"
            assert await made.tenant(b"two.io") == "2", "a present name is not redirected unless it is asked for"
            assert await made.tenant(b"new.example.com") == "1"
            assert await made.tenant(b"away.example.com") == 403, "a refusal comes first"
        assert {*made.cache.memory.hot} == {b"two.io", b"new.example.com"}


async def test_an_old_host_leads_to_the_primary_domain_where_every_name_does() -> None:
    async with renamed(redirect_to_primary=True) as made:
        assert await made.tenant(b"two.example.com") == "http://shop.two.io/"
        assert await made.tenant(b"two.io") == "http://shop.two.io/"
        assert await made.tenant(b"old.example.com") == "http://new.example.com/", "it has no primary domain"
        made.tenants.add("4", subdomain="four", domains=["four.io"], primary_domain="four.io", old_names=["vier"])
        assert await made.tenant(b"vier.example.com") == "http://four.io/", "in one step"


async def test_path_and_query_are_kept_when_a_host_is_old() -> None:
    async with renamed() as made:
        scope = http_scope(b"old.example.com", "/a b/c", raw_path=b"/a%20b/c%2Fd") | {
            "scheme": "https",
            "method": "POST",
            "query_string": b"q=%C3%BC&r=//x",
        }
        answer = await request(made.app, scope)
        assert (answer.status, answer.header("location")) == (308, "https://new.example.com/a%20b/c%2Fd?q=%C3%BC&r=//x")


async def test_an_old_name_costs_no_token() -> None:
    async with world(strategies="path:/t,host") as made:
        made.tenants.add("new", old_names=["old"], limit_per_minute=1)
        for _ in range(3):
            assert (await made.get(b"old.example.com")).status == 308
            assert (await made.get(path="/t/old")).status == 308
        assert [(await made.get(b"new.example.com")).status for _ in range(2)] == [200, 429]
        assert (await made.get(b"old.example.com")).status == 308


@pytest.mark.parametrize("said", [(b"x-forwarded-host", b"new.example.com"), (b"forwarded", b"host=new.example.com")])
async def test_a_proxy_that_asks_by_an_old_name_ends_no_client_in_a_loop(said: tuple[bytes, bytes]) -> None:
    async with renamed() as made:
        for _ in range(2):
            assert await made.tenant(b"old.example.com", headers=[said]) == "1"
            assert await made.tenant(b"old.example.com") == "http://new.example.com/", "it did not become hot"
            other = (b"x-forwarded-host", b"two.io")
            assert await made.tenant(b"old.example.com", headers=[other]) == "http://new.example.com/"


async def test_websockets_and_bypass_paths_of_old_names_stay() -> None:
    async with renamed() as made:
        assert (await connect(made.app, b"old.example.com"))[0]["type"] == "websocket.accept"
        assert (await made.get(b"old.example.com", "/health")).status == 200
        assert await made.tenant(b"old.example.com") == "http://new.example.com/"


async def test_a_tenant_that_no_host_reaches_now_is_served_by_its_old_name() -> None:
    async with world(reserved_subdomains=["www"]) as made:
        made.tenants.add("1", subdomain=None, old_names=["old"], slugs=["some_slug"])
        for _ in range(2):
            assert await made.tenant(b"old.example.com") == "1"
        assert made.cache.memory.hot == {}


async def test_an_old_name_that_another_tenant_took_is_that_tenants() -> None:
    async with renamed() as made:
        assert await made.tenant(b"old.example.com") == "http://new.example.com/"
        made.tenants.add("5", subdomain="old")
        for _ in range(2):
            assert await made.tenant(b"old.example.com") == "5"


async def test_a_rename_back_and_forth_ends_in_the_present_name() -> None:
    async with world() as made:
        made.tenants.add("1", subdomain="b", old_names=["a", "b"])
        assert await made.tenant(b"a.example.com") == "http://b.example.com/"
        assert await made.tenant(b"b.example.com") == "1"
        made.tenants.update("1", subdomain="a")
        assert await made.tenant(b"b.example.com") == "http://a.example.com/"
        assert await made.tenant(b"a.example.com") == "1"


async def test_an_old_name_in_the_path_is_replaced_there() -> None:
    async with world(strategies="path:/t,kind=team,path:/k,kind=team,keep,path:/s,path:/d:domain,host") as made:
        made.tenants.add("1", kind="team", slugs=["größe & co"], old_slugs=["klein", "alt/neu"])
        made.tenants.add("2", subdomain="new", old_names=["old", "old.io"], domains=["new.io"], primary_domain="new.io")
        for _ in range(2):
            assert await made.tenant(path="/t/klein/orders") == "/t/gr%C3%B6%C3%9Fe%20%26%20co/orders"
            assert await made.tenant(path="/t/Klein") == "/t/gr%C3%B6%C3%9Fe%20%26%20co"
            assert await made.tenant(path="/k/klein/") == "/k/gr%C3%B6%C3%9Fe%20%26%20co/"
            assert await made.tenant(path="/t/größe & co/orders") == "team:1"
            assert await made.tenant(path="/s/old/x", raw_path=b"/s/old/x%2Fy%3F") == "/s/new/x%2Fy%3F"
            assert await made.tenant(path="/s/old/x", raw_path=b"/s/%6Fld/x?no") == "/s/new/x"
            assert await made.tenant(path="/d/old.io/x") == "/d/new.io/x"
        scope = http_scope(BASE, "/shop/s/old/a b", raw_path=b"") | {"root_path": "/shop", "query_string": b"q=1"}
        assert (await request(made.app, scope)).header("location") == "/shop/s/new/a%20b?q=1"


async def test_an_old_name_of_two_segments_is_replaced_whole() -> None:
    async with world(strategies="path:/t,kind=team,segments=2") as made:
        made.tenants.add("1", kind="team", slugs=["short", "acme/new sales"], old_slugs=["acme/sales"])
        assert await made.tenant(path="/t/acme/sales/x") == "/t/acme/new%20sales/x"
        assert await made.tenant(path="/t/acme/sales/x", raw_path=b"/t/acme%2Fsales/x") == "/t/acme/new%20sales/x"


@pytest.mark.parametrize("slugs", [["."], [".."], ["a/b"], ["a/.."]])
async def test_a_path_that_cannot_carry_the_present_name_is_served(slugs: list[str]) -> None:
    async with world(strategies="path:/t,kind=team") as made:
        made.tenants.add("1", kind="team", slugs=slugs, old_slugs=["old"])
        for _ in range(2):
            assert await made.tenant(path="/t/old/x") == "team:1"


async def test_an_old_name_in_a_header_or_a_function_is_served() -> None:
    async with world(strategies="header:x-t", trusted_proxies=["10.0.0.0/8"]) as made:
        made.tenants.add("1", subdomain="new", old_names=["old"])
        for _ in range(2):
            assert await made.tenant(headers=[(b"x-t", b"old")], client=HTTP_PROXY) == "1"
        app = TenantMiddleware(echo, cache=made.cache, strategies=[lambda _scope: "subdomain:old"])
        assert (await get(app, BASE)).json()["tenant"] == "1"


RENAMED = Tenant(
    "1", "Acme", "new", domains=("new.io",), primary_domain="new.io", slugs=("né",), old_names=("old", "old.io"),
    old_slugs=("was",),
)  # fmt: skip


@given(
    st.text(st.characters(codec="utf-8"), max_size=30),
    st.from_regex(rb"/[!-~]{0,30}", fullmatch=True) | st.from_regex(rb"/t/old/[!-~]{0,30}", fullmatch=True) | st.none(),
    st.sampled_from(["", "/", "/shop", "//evil.example", "/\\evil.example"]),
    st.sampled_from(["old", "was", "old.io"]),
)
@example("/..//@evil.example", None, "", "was")
@example("//evil.example", b"//evil.example/t/was//evil.example", "", "was")
def test_a_redirect_stays_on_the_host_and_leads_to_the_tenant(
    rest: str, raw: bytes | None, root: str, name: str
) -> None:
    by: Any = {"old": "subdomain", "was": "slug", "old.io": "domain"}[name]
    strategy, start = PathPrefix("/t", by), f"{root}/t/"
    scope = http_scope(BASE, f"{start}{name}/{rest}") | {"root_path": root}
    scope["raw_path"] = raw  # None from servers that do not know it
    alias = match_of({"old": "subdomain:old", "was": "name::was", "old.io": "domain:old.io"}[name]).alias
    redirects = Redirects(HostRules(("example.com",)), to_primary=False)
    redirect = redirects.find(scope, None, NameInPath(strategy, start, name), alias, RENAMED)
    if redirect is None:
        assert start.startswith("//")
        return
    location = redirect.location.decode("ascii")
    assert location.startswith("/") and location[1:2] not in ("/", "\\")
    assert location.isprintable()
    present = {"subdomain": "new", "slug": "né", "domain": "new.io"}[by]
    if raw is None:
        assert unquote(location.partition("?")[0]) == f"{start}{present}/{rest}"


# A tenant on the base domain itself.


async def test_a_tenant_may_be_on_the_base_domain_itself() -> None:
    async with world(base_domain_tenant=True) as made:
        assert (await made.get()).json()["tenant"] is None, "without such a tenant it is the application's own"
        assert (await connect(made.app, BASE))[0]["type"] == "websocket.accept"
        made.tenants.add("root", subdomain="", limit_per_minute=5)
        made.tenants.add("acme")
        for _ in range(2):
            assert await made.tenant(b"Example.com:8000") == "root"
            assert await made.tenant(b"example.net") == "root"
            assert await made.tenant(b"www.example.com") is None
            assert await made.tenant(b"acme.example.com") == "acme"
        assert {b"Example.com:8000", b"example.net"} <= {*made.cache.memory.hot}
        assert await made.tenant() == "root"
        assert await made.tenant() == 429
        assert await made.cache.resolve("example.net") == made.tenants.get("root")
        made.tenants.suspend("root")
        assert await made.tenant() == 403
        made.tenants.delete("root")
        assert await made.tenant() is None


async def test_the_base_domain_is_nobodys_unless_it_is_asked_for() -> None:
    async with world() as made:
        made.tenants.add("root", subdomain="")
        assert await made.tenant() is None
        assert await made.cache.resolve("example.com") is None


async def test_the_base_domain_and_other_strategies() -> None:
    async with world(base_domain_tenant=True, strategies="path:/t,host") as made:
        made.tenants.add("root", subdomain="")
        made.tenants.add("acme")
        assert await made.tenant(path="/t/acme") == "acme"
        assert await made.tenant(path="/x") == "root"
        alone = TenantMiddleware(echo, cache=made.cache, strategies=["path:/t"])
        assert (await get(alone, BASE, "/x")).json()["tenant"] is None, "the host is not to be asked"
        assert (await get(alone, b"acme.example.com", "/x")).status == 404
        for path in ("/t/", "/t"):
            assert await made.tenant(path=path) == "root"
    async with world(base_domain_tenant=True, strategies="header:x-t", trusted_proxies=["10.0.0.0/8"]) as made:
        made.tenants.add("root", subdomain="")
        assert await made.tenant(headers=[(b"x-t", b"")], client=HTTP_PROXY) == 404, "no name is not the name ''"


async def test_old_names_of_the_tenant_on_the_base_domain() -> None:
    async with world(base_domain_tenant=True) as made:
        made.tenants.add("root", subdomain="", old_names=["lobby"])
        assert await made.tenant(b"lobby.example.net:81", "/x") == "http://example.net:81/x"
        assert await made.tenant(b"example.net:81", "/x") == "root"
    async with world() as made:
        made.tenants.add("root", subdomain="", old_names=["lobby"])
        assert await made.tenant(b"lobby.example.net", "/x") == "root", "the base domain does not lead to it"


# For the tests of applications.


def test_acting_as_tenants_without_a_host(tenants: TenantTable, as_tenant: Any) -> None:
    root = tenants.add("root", subdomain="")
    with as_tenant("root") as acting:
        assert acting.host == "testserver"
        assert current_tenant() == root
    team = tenants.add("1", kind="team", slugs=["Sales"], old_slugs=["sellers"])
    assert (team.id, team.key, team.kind, team.slugs, team.subdomain) == ("team:1", "1", "team", ("sales",), None)
    with as_tenant("team:1") as acting:
        assert acting.host == "testserver"
        assert current_tenant() == team


def test_names_are_checked_and_taken_once(tenants: TenantTable) -> None:
    tenants.add("1", kind="team", slugs=["sales"], old_slugs=["sellers"])
    tenants.add("1", kind="org", slugs=["sales"])
    with pytest.raises(NameTakenError, match="'team:sales' is taken"):
        tenants.add("2", kind="team", slugs=["SALES"])
    assert tenants.add("2", kind="team", slugs=["sellers"]).id == "team:2", "an old name is free"
    with pytest.raises(InvalidTenantError, match=r"(?s)kind is 'a:b'.*name .* is not possible"):
        tenants.add("3", kind="a:b", slugs=["x\0"])
