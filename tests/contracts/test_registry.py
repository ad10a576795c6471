"""`Registry`, on a real Postgres and in memory: tenants, domains, and claims to domains."""

from __future__ import annotations

from typing import Any

import pytest

from tenantcache.admin.registry import Registry, Removed, TenantSearch
from tenantcache.errors import NameTakenError, UnknownTenantError
from tests.contracts.worlds import World

SHOP = "shop.acme.io"
AN_HOUR = 3600.0


@pytest.fixture
def registry(world: World) -> Registry:
    return world.registry


@pytest.fixture(autouse=True)
async def tenants(world: World) -> None:
    await world.create("acme", ["acme.io", "www.acme.io"], "acme.io", plan="pro", attributes={"a": [1, {"b": None}]})
    await world.create("globex")


async def serve(registry: Registry, *domains: str, tenant_id: str = "acme") -> None:
    for domain in domains:
        await registry.claim(domain, tenant_id, f"token of {tenant_id}")
        assert await registry.note_verified(domain, tenant_id)


async def owner(world: World, domain: str = SHOP) -> str | None:
    row = await world.find(f"domain:{domain}")
    return None if row is None else row["id"]


class TestCreating:
    async def test_the_row_is_the_one_that_is_read(self, world: World) -> None:
        columns = {
            "id": "t1",
            "name": "Initech",
            "subdomain": "initech",
            "status": "maintenance",
            "plan": "free",
            "limit_per_minute": 0,
            "limit_per_day": 2**53 - 1,
            "time_zone": "Asia/Tokyo",
            "attributes": {"deep": {"list": [1.5, True, None]}},
        }
        row = await world.registry.create(columns, ["b.example", "a.example"], "b.example")
        assert row == columns | {"domains": ["a.example", "b.example"], "primary_domain": "b.example"}
        for alias in ("id:t1", "subdomain:initech", "domain:a.example", "domain:b.example"):
            assert await world.find(alias) == row

    async def test_without_an_id_one_is_made_up(self, world: World) -> None:
        first, second = [await world.create(None) for _ in range(2)]
        assert len(first["id"]) == len(second["id"]) == 36
        assert first["id"] != second["id"]
        assert (first["domains"], first["primary_domain"]) == ([], None)

    async def test_a_primary_domain_is_one_of_the_domains(self, world: World) -> None:
        assert (await world.create("t1", ["a.example"], "b.example"))["primary_domain"] is None

    async def test_what_the_caller_does_to_the_columns_later_changes_nothing(self, world: World) -> None:
        attributes: dict[str, Any] = {"list": [1]}
        await world.create("t1", attributes=attributes)
        attributes["list"].append(2)
        row = await world.find("id:t1")
        assert row is not None and row["attributes"] == {"list": [1]}

    @pytest.mark.parametrize(
        ("columns", "domains", "expected"),
        [
            ({"id": "acme", "subdomain": "new"}, [], "id 'acme' is taken by another tenant"),
            ({"id": "new", "subdomain": "acme"}, [], "subdomain 'acme' is taken by another tenant"),
            (
                {"id": "new", "subdomain": "new"},
                ["new.io", "acme.io"],
                "domain 'acme.io' is taken by another tenant",
            ),
        ],
    )
    async def test_a_name_that_is_taken(
        self, world: World, columns: dict[str, Any], domains: list[str], expected: str
    ) -> None:
        before = await world.find("id:acme")
        with pytest.raises(NameTakenError) as raised:
            await world.create(columns["id"], domains, subdomain=columns["subdomain"])
        assert str(raised.value) == expected
        assert await world.find("id:acme") == before
        assert [await world.find(alias) for alias in ("id:new", "subdomain:new", "domain:new.io")] == [None] * 3


class TestUpdating:
    async def test_what_is_given_and_nothing_else(self, world: World) -> None:
        before = await world.find("id:acme")
        assert before is not None
        row = await world.registry.update("acme", {"name": "New", "limit_per_day": 7, "attributes": {}})
        assert row == before | {"name": "New", "limit_per_day": 7, "attributes": {}}
        assert await world.find("domain:acme.io") == row
        assert await world.registry.update("acme", {}) == row

    async def test_none_takes_a_value_away(self, world: World) -> None:
        row = await world.registry.update("acme", {"plan": None, "subdomain": None})
        assert (row["plan"], row["subdomain"]) == (None, None)
        assert await world.find("subdomain:acme") is None

    async def test_a_name_that_is_taken(self, world: World) -> None:
        before = await world.find("id:globex")
        with pytest.raises(NameTakenError, match=r"^subdomain 'acme' is taken by another tenant$"):
            await world.registry.update("globex", {"subdomain": "acme", "name": "New"})
        assert await world.find("id:globex") == before

    async def test_its_own_name_is_not_taken(self, world: World) -> None:
        assert (await world.registry.update("globex", {"subdomain": "globex", "name": "New"}))["name"] == "New"

    async def test_a_tombstone_keeps_its_names(self, world: World) -> None:
        await world.registry.update("acme", {"status": "deleted"})
        with pytest.raises(NameTakenError):
            await world.registry.update("globex", {"subdomain": "acme"})

    async def test_an_unknown_tenant(self, registry: Registry) -> None:
        with pytest.raises(UnknownTenantError, match=r"^there is no tenant with the id 'unknown'$"):
            await registry.update("unknown", {"name": "New"})


class TestDeleting:
    async def test_it_says_which_names_it_had_and_they_are_free(self, world: World) -> None:
        subdomain, domains = await world.registry.delete("acme")
        assert (subdomain, sorted(domains)) == ("acme", ["acme.io", "www.acme.io"])
        assert [await world.find(alias) for alias in ("id:acme", "subdomain:acme", "domain:acme.io")] == [None] * 3
        await world.create("acme", ["acme.io"])

    async def test_its_claims_go_along(self, world: World) -> None:
        await serve(world.registry, SHOP)
        await world.registry.delete("acme")
        assert await world.registry.claims(SHOP, None) == []
        await world.create("acme")
        assert await world.registry.claims_of("acme") == []

    async def test_an_unknown_tenant(self, registry: Registry) -> None:
        with pytest.raises(UnknownTenantError, match=r"^there is no tenant with the id 'unknown'$"):
            await registry.delete("unknown")


class TestFinding:
    """`acme` and `globex` are there."""

    @staticmethod
    async def ids(world: World, search: TenantSearch, after: str = "", most: int = 10) -> list[str]:
        return [row["id"] for row in await world.registry.find(search, after, most)]

    async def test_rows_are_those_that_are_read(self, world: World) -> None:
        [row] = await world.registry.find(TenantSearch(), "", 1)
        assert row == await world.find("id:acme")

    async def test_by_id_page_after_page(self, world: World) -> None:
        await world.create("initech")
        everything = TenantSearch()
        assert await self.ids(world, everything, most=2) == ["acme", "globex"]
        assert await self.ids(world, everything, after="globex", most=2) == ["initech"]
        assert await self.ids(world, everything, after="acmf") == ["globex", "initech"]
        assert await self.ids(world, everything, after="zz") == []

    @pytest.mark.parametrize(
        ("search", "expected"),
        [
            (TenantSearch(status="active"), ["acme", "globex"]),
            (TenantSearch(status="suspended"), ["initech"]),
            (TenantSearch(plan="pro"), ["acme"]),
            (TenantSearch(plan=""), []),
            (TenantSearch(text="ACME.IO"), ["acme"]),
            (TenantSearch(text="lobe"), ["globex"]),
            (TenantSearch(text="the name"), ["initech"]),
            (TenantSearch(text="E"), ["acme", "globex", "initech"]),
            (TenantSearch(text="e", status="suspended"), ["initech"]),
            (TenantSearch(text="%"), []),
            (TenantSearch(text='", "'), []),
            (TenantSearch(text="acmeacme"), []),
            (TenantSearch(text="pro"), []),
        ],
    )
    async def test_only_some(self, world: World, search: TenantSearch, expected: list[str]) -> None:
        await world.create("initech", name="The Name", status="suspended", subdomain=None)
        assert await self.ids(world, search) == expected

    async def test_few_among_many(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tenantcache.stores.registry.PORTION", 2)
        for number in range(5):
            await world.create(f"t{number}", plan="pro" if number in (1, 4) else None)
        assert await self.ids(world, TenantSearch(plan="pro")) == ["acme", "t1", "t4"]
        assert await self.ids(world, TenantSearch(plan="pro"), after="acme", most=1) == ["t1"]
        assert await self.ids(world, TenantSearch(), most=6) == ["acme", "globex", "t0", "t1", "t2", "t3"]

    async def test_of_no_tenants(self, world: World) -> None:
        for tenant_id in ("acme", "globex"):
            await world.registry.delete(tenant_id)
        assert await self.ids(world, TenantSearch()) == await self.ids(world, TenantSearch(text="a")) == []


class TestClaiming:
    async def test_a_claim_is_served_only_once_it_is_verified(self, world: World) -> None:
        claim = await world.registry.claim(SHOP, "acme", "token")
        assert [claim[name] for name in ("domain", "tenant_id", "token", "verified_at")] == [
            SHOP,
            "acme",
            "token",
            None,
        ]
        assert await owner(world) is None
        assert await world.registry.note_verified(SHOP, "acme") is True
        assert await owner(world) == "acme"
        [claim] = await world.registry.claims(SHOP, "acme")
        assert (claim["verified_at"] is not None, claim["served"]) == (True, True)

    async def test_it_keeps_its_token(self, registry: Registry) -> None:
        await registry.claim(SHOP, "acme", "first")
        assert (await registry.claim(SHOP, "acme", "second"))["token"] == "first"

    async def test_it_keeps_the_time_of_its_first_proof(self, world: World) -> None:
        await serve(world.registry, SHOP)
        [before] = await world.registry.claims_of("acme")
        await world.let_pass(AN_HOUR)
        await serve(world.registry, SHOP)
        [after] = await world.registry.claims_of("acme")
        assert after["verified_at"] == before["verified_at"]

    async def test_an_unknown_tenant(self, registry: Registry) -> None:
        with pytest.raises(UnknownTenantError):
            await registry.claim(SHOP, "unknown", "token")

    @pytest.mark.parametrize("tenant_id", ["globex", "unknown"])
    async def test_a_domain_that_is_taken(self, registry: Registry, tenant_id: str) -> None:
        with pytest.raises(NameTakenError, match=r"^domain 'acme\.io' is taken by another tenant$"):
            await registry.claim("acme.io", tenant_id, "token")

    async def test_claims_come_in_the_order_in_which_they_were_made(self, registry: Registry) -> None:
        for tenant_id in ("globex", "acme", "globex"):
            await registry.claim(SHOP, tenant_id, f"token of {tenant_id}")
        found = await registry.claims(SHOP, None)
        assert [claim["token"] for claim in found] == ["token of globex", "token of acme"]
        assert [claim["served"] for claim in found] == [False, False]
        assert [claim["token"] for claim in await registry.claims(SHOP, "acme")] == ["token of acme"]
        assert await registry.claims(SHOP, "unknown") == await registry.claims("other.io", None) == []

    async def test_a_tenants_claims_come_by_domain(self, registry: Registry) -> None:
        for domain in ("b.example", "a.example", "c.example"):
            await registry.claim(domain, "acme", "token")
        await registry.claim("d.example", "globex", "token")
        assert [claim["domain"] for claim in await registry.claims_of("acme")] == [
            "a.example",
            "b.example",
            "c.example",
        ]
        assert await registry.claims_of("unknown") == []

    async def test_whose_domain_is_served_is_not_pushed_out(self, world: World) -> None:
        for tenant_id in ("acme", "globex"):
            await world.registry.claim(SHOP, tenant_id, "token")
        assert await world.registry.note_verified(SHOP, "globex") is True
        assert await world.registry.note_verified(SHOP, "acme") is False
        assert await owner(world) == "globex"
        assert [claim["verified_at"] is None for claim in await world.registry.claims(SHOP, None)] == [True, False]

    async def test_what_was_not_claimed_cannot_be_verified(self, world: World) -> None:
        assert await world.registry.note_verified(SHOP, "acme") is False
        assert await world.registry.note_verified(SHOP, "unknown") is False
        assert await owner(world) is None


class TestFailing:
    async def test_a_domain_is_kept_for_the_grace_and_not_longer(self, world: World) -> None:
        await serve(world.registry, SHOP)
        assert await world.registry.note_failed(SHOP, "acme", AN_HOUR) is False
        await world.let_pass(AN_HOUR - 60)
        assert await world.registry.note_failed(SHOP, "acme", AN_HOUR) is False
        assert await owner(world) == "acme"
        await world.let_pass(120)
        assert await world.registry.note_failed(SHOP, "acme", AN_HOUR) is True
        assert await owner(world) is None
        [claim] = await world.registry.claims_of("acme")
        assert (claim["verified_at"], claim["served"]) == (None, False)
        assert await world.registry.note_failed(SHOP, "acme", AN_HOUR) is False, "it is served no longer"

    async def test_a_first_failure_takes_nothing_away_whatever_the_grace(self, world: World) -> None:
        await serve(world.registry, SHOP)
        assert await world.registry.note_failed(SHOP, "acme", 0) is False

    async def test_a_proof_begins_the_grace_anew(self, world: World) -> None:
        await serve(world.registry, SHOP)
        await world.registry.note_failed(SHOP, "acme", AN_HOUR)
        await world.let_pass(2 * AN_HOUR)
        await serve(world.registry, SHOP)
        assert await world.registry.note_failed(SHOP, "acme", AN_HOUR) is False

    async def test_not_being_able_to_ask_is_not_a_failure(self, world: World) -> None:
        await serve(world.registry, SHOP)
        await world.registry.note_unreachable(SHOP, "acme")
        await world.let_pass(AN_HOUR)
        assert await world.registry.note_failed(SHOP, "acme", 60) is False
        assert await owner(world) == "acme"

    async def test_what_was_not_claimed(self, registry: Registry) -> None:
        assert await registry.note_failed(SHOP, "acme", 0) is False
        await registry.note_unreachable(SHOP, "acme")
        assert await registry.claims(SHOP, None) == []


class TestCheckingAgain:
    async def test_those_that_were_checked_longest_ago_come_first(self, registry: Registry) -> None:
        domains = ["c.example", "a.example", "b.example"]
        await serve(registry, *domains)

        async def due(limit: int = 100) -> list[str]:
            return [claim["domain"] for claim in await registry.claims_to_check(limit)]

        assert await due() == domains
        assert await due(2) == domains[:2]
        await registry.note_unreachable("c.example", "acme")
        assert await due() == ["a.example", "b.example", "c.example"]
        await registry.note_failed("a.example", "acme", AN_HOUR)
        await registry.note_verified("b.example", "acme")
        assert await due() == ["c.example", "a.example", "b.example"]

    async def test_what_is_not_served_or_needs_no_proof_is_not_among_them(self, world: World) -> None:
        """`acme.io` has no claim, `a.example` no proof, and `b.example` has lost its own."""
        await world.registry.claim("a.example", "acme", "token")
        await serve(world.registry, "b.example", "c.example")
        await world.registry.note_failed("b.example", "acme", AN_HOUR)
        await world.let_pass(2 * AN_HOUR)
        assert await world.registry.note_failed("b.example", "acme", AN_HOUR) is True
        assert [claim["domain"] for claim in await world.registry.claims_to_check(100)] == ["c.example"]


class TestRemoving:
    @pytest.fixture(autouse=True)
    async def claims(self, registry: Registry) -> None:
        """globex has SHOP, proven, and acme has asked for it before."""
        await registry.claim(SHOP, "acme", "token")
        await serve(registry, SHOP, tenant_id="globex")

    async def test_a_domain_and_the_claim_to_it(self, world: World) -> None:
        assert await world.registry.remove(SHOP, "globex") == Removed(domain=True, claims=1)
        assert await owner(world) is None
        assert (await world.registry.remove(SHOP, "globex")).is_nothing
        assert [claim["tenant_id"] for claim in await world.registry.claims(SHOP, None)] == ["acme"]

    async def test_a_claim_alone(self, world: World) -> None:
        assert await world.registry.remove(SHOP, "acme") == Removed(domain=False, claims=1)
        assert await owner(world) == "globex"

    async def test_a_domain_that_was_never_claimed(self, world: World) -> None:
        assert await world.registry.remove("www.acme.io", "acme") == Removed(domain=True, claims=0)
        row = await world.find("id:acme")
        assert row is not None and (row["domains"], row["primary_domain"]) == (["acme.io"], "acme.io")

    async def test_a_primary_domain(self, world: World) -> None:
        assert await world.registry.remove("acme.io", "acme") == Removed(domain=True, claims=0)
        row = await world.find("id:acme")
        assert row is not None and (row["domains"], row["primary_domain"]) == (["www.acme.io"], None)

    @pytest.mark.parametrize("tenant_id", ["globex", "unknown", ""])
    async def test_another_tenants_is_left_alone(self, world: World, tenant_id: str) -> None:
        assert (await world.registry.remove("acme.io", tenant_id)).is_nothing
        assert await owner(world, "acme.io") == "acme"

    async def test_from_every_tenant(self, world: World) -> None:
        assert await world.registry.remove_from_every_tenant(SHOP) == Removed(domain=True, claims=2)
        assert await owner(world) is None
        assert await world.registry.claims(SHOP, None) == []
        assert (await world.registry.remove_from_every_tenant(SHOP)).is_nothing
        assert await world.registry.remove_from_every_tenant("acme.io") == Removed(domain=True, claims=0)


class TestPrimaryDomains:
    async def test_there_is_one_at_a_time(self, world: World) -> None:
        assert await world.registry.set_primary("www.acme.io", "acme") is True
        row = await world.find("id:acme")
        assert row is not None and row["primary_domain"] == "www.acme.io"

    @pytest.mark.parametrize(
        ("domain", "tenant_id"), [("acme.io", "globex"), ("acme.io", "unknown"), ("other.io", "acme"), (SHOP, "acme")]
    )
    async def test_a_domain_that_the_tenant_does_not_have(self, world: World, domain: str, tenant_id: str) -> None:
        await world.registry.claim(SHOP, "acme", "token")
        before = await world.find("id:acme")
        assert await world.registry.set_primary(domain, tenant_id) is False
        assert await world.find("id:acme") == before
