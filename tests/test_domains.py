"""`cache.domains`: who may have which domain, proven through a real DNS server on loopback."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from tenantcache import ConfigurationError, NotOpenError, Settings, TenantCache
from tenantcache.admin.dns import DnspythonResolver
from tenantcache.errors import (
    DnsUnreachableError,
    InvalidDomainError,
    NameTakenError,
    UnknownDomainError,
    UnknownTenantError,
)
from tenantcache.testing.engine import MemoryCache
from tests.servers.nameserver import Nameserver

pytestmark = pytest.mark.usefixtures("patience")

SHOP = "shop.acme.io"
RECORD = f"_tenantcache-challenge.{SHOP}"


@pytest.fixture
def nameserver() -> Iterator[Nameserver]:
    with Nameserver() as nameserver:
        yield nameserver


@pytest.fixture
def resolver(nameserver: Nameserver) -> DnspythonResolver:
    return DnspythonResolver(["127.0.0.1"], port=nameserver.port, lifetime=0.5)


@pytest.fixture
async def cache(database_url: str, redis_url: str, resolver: DnspythonResolver) -> AsyncIterator[TenantCache]:
    settings = Settings(database_url=database_url, redis_url=redis_url, base_domains=["example.com"])
    async with TenantCache(settings) as cache:
        cache.domains.dns = resolver
        for name in ("acme", "globex"):
            await cache.tenants.create(name, id=name, subdomain=name)
        yield cache


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def owner(cache: TenantCache, host: str = SHOP) -> str | None:
    tenant = await cache.resolve(host)
    return None if tenant is None else tenant.id


async def prove(cache: TenantCache, nameserver: Nameserver, tenant_id: str, name: str) -> None:
    challenge = await cache.domains.add(tenant_id, name)
    nameserver.records[challenge.record_name] = [challenge.record_value]
    assert (await cache.domains.verify(name)).outcome == "verified"


class TestAdding:
    async def test_a_domain_is_mapped_and_not_served_yet(self, cache: TenantCache) -> None:
        challenge = await cache.domains.add("acme", " BÜCHER.Example. ")
        assert challenge.domain == "xn--bcher-kva.example"
        assert challenge.record_name == "_tenantcache-challenge.xn--bcher-kva.example"
        assert challenge.record_value == f"tenantcache-verify={challenge.token}"
        assert len(challenge.token) == 32
        assert (challenge.verified, challenge.served) == (False, False)
        assert await owner(cache, "xn--bcher-kva.example") is None

    async def test_again_gives_the_same_token(self, cache: TenantCache) -> None:
        first = await cache.domains.add("acme", SHOP)
        assert await cache.domains.add("acme", "SHOP.acme.io") == first
        assert await cache.domains.challenges("acme") == [first]

    async def test_each_tenant_has_a_token_of_its_own(self, cache: TenantCache) -> None:
        tokens = {(await cache.domains.add(tenant, SHOP)).token for tenant in ("acme", "globex")}
        assert len(tokens) == 2

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("example.com", "is a base domain"),
            ("acme.example.com", "lies under a base domain"),
            ("www.example.com", "lies under a base domain"),
            ("EXAMPLE.COM.", "is a base domain"),
            ("deep.acme.ｅxample.com", "lies under a base domain"),
            ("127.0.0.1", "is an IP address"),
            ("[::1]", "is an IP address"),
            ("a.1", "is read as an IP address"),
            ("https://a.io/", "is not a host name"),
            ("*.a.io", "is not a host name"),
            ("localhost", "has a single label"),
            ("", "is empty"),
            (".".join(["a" * 60] * 4), "is too long to be proven; at most 230 octets are possible"),
        ],
    )
    async def test_what_can_be_nobodys(self, cache: TenantCache, name: str, expected: str) -> None:
        with pytest.raises(InvalidDomainError, match=expected):
            await cache.domains.add("acme", name)

    async def test_a_domain_that_is_taken(self, cache: TenantCache) -> None:
        await cache.tenants.create("Third", id="third", domains=[SHOP])
        with pytest.raises(NameTakenError, match=r"domain 'shop\.acme\.io' is taken by another tenant") as raised:
            await cache.domains.add("acme", SHOP)
        assert "third" not in str(raised.value)

    async def test_an_unknown_tenant(self, cache: TenantCache) -> None:
        with pytest.raises(UnknownTenantError):
            await cache.domains.add("nobody", SHOP)

    async def test_a_closed_engine(self, database_url: str) -> None:
        cache = TenantCache(Settings(database_url=database_url))
        for call in (cache.domains.add("acme", SHOP), cache.domains.verify(SHOP), cache.domains.recheck()):
            with pytest.raises(NotOpenError):
                await call


class TestProving:
    async def test_a_domain_is_served_once_it_is_proven(self, cache: TenantCache, nameserver: Nameserver) -> None:
        challenge = await cache.domains.add("acme", SHOP)
        nameserver.records[RECORD] = ["v=spf1 -all", challenge.record_value]
        found = await cache.domains.verify("Shop.Acme.io")
        assert (found.domain, found.outcome, found.tenant_id) == (SHOP, "verified", "acme")
        assert nameserver.asked == [RECORD]
        assert await owner(cache) == "acme"
        [proven] = await cache.domains.challenges("acme")
        assert (proven.verified, proven.served, proven.token) == (True, True, challenge.token)

    async def test_a_long_record_may_come_in_pieces(self, cache: TenantCache, nameserver: Nameserver) -> None:
        value = (await cache.domains.add("acme", SHOP)).record_value
        nameserver.records[RECORD] = [[value[:10], value[10:]]]
        assert (await cache.domains.verify(SHOP)).outcome == "verified"

    @pytest.mark.parametrize(
        ("records", "detail"),
        [
            (None, "has no TXT record"),
            ([], "has no TXT record"),
            (["tenantcache-verify=wrong", "x"], "has 2 TXT records, none of them tenantcache-verify="),
            (["{}x"], "has 1 TXT records, none of them tenantcache-verify="),
        ],
    )
    async def test_the_dns_says_no(
        self, cache: TenantCache, nameserver: Nameserver, records: list[str] | None, detail: str
    ) -> None:
        challenge = await cache.domains.add("acme", SHOP)
        if records is not None:
            nameserver.records[RECORD] = [record.format(challenge.record_value) for record in records]
        found = await cache.domains.verify(SHOP)
        assert (found.outcome, found.tenant_id) == ("failed", "acme")
        assert f"{RECORD} {detail}" in found.detail
        assert await owner(cache) is None

    @pytest.mark.parametrize("fault", ["SERVFAIL", "REFUSED", "silence"])
    async def test_not_being_able_to_ask_is_no_answer(
        self, cache: TenantCache, nameserver: Nameserver, fault: str
    ) -> None:
        await prove(cache, nameserver, "acme", SHOP)
        nameserver.silent = fault == "silence"
        nameserver.rcode = None if fault == "silence" else fault
        found = await cache.domains.verify(SHOP)
        assert (found.outcome, found.tenant_id) == ("unreachable", "acme")
        assert found.detail.endswith("nothing was changed")
        assert await owner(cache) == "acme"

    async def test_of_two_that_ask_the_one_with_the_record_gets_it(
        self, cache: TenantCache, nameserver: Nameserver
    ) -> None:
        await cache.domains.add("acme", SHOP)
        globex = await cache.domains.add("globex", SHOP)
        found = await cache.domains.verify(SHOP)
        assert (found.outcome, found.tenant_id) == ("failed", None)
        nameserver.records[RECORD] = [globex.record_value]
        assert (await cache.domains.verify(SHOP, "acme")).outcome == "failed"
        assert await owner(cache) is None
        found = await cache.domains.verify(SHOP)
        assert (found.outcome, found.tenant_id) == ("verified", "globex")
        assert await owner(cache) == "globex"
        with pytest.raises(NameTakenError):
            await cache.domains.add("acme", SHOP)

    async def test_who_is_served_is_not_pushed_out(
        self, cache: TenantCache, nameserver: Nameserver, db: asyncpg.Connection
    ) -> None:
        acme = await cache.domains.add("acme", SHOP)
        await db.execute("insert into tenantcache.tenant_domains (domain, tenant_id) values ($1, 'globex')", SHOP)
        nameserver.records[RECORD] = [acme.record_value]
        with pytest.raises(NameTakenError):
            await cache.domains.verify(SHOP)
        await cache.sync()
        assert await owner(cache) == "globex"

    async def test_nobody_has_asked(self, cache: TenantCache, nameserver: Nameserver) -> None:
        with pytest.raises(UnknownDomainError, match="add it first"):
            await cache.domains.verify(SHOP)
        assert nameserver.asked == []

    async def test_a_domain_that_plain_sql_put_there_needs_no_proof(
        self, cache: TenantCache, db: asyncpg.Connection
    ) -> None:
        await db.execute("insert into tenantcache.tenant_domains (domain, tenant_id) values ($1, 'acme')", SHOP)
        await cache.sync()
        assert await owner(cache) == "acme"
        assert await cache.domains.recheck() == []


class TestCheckingAgain:
    async def test_a_domain_is_kept_while_it_fails_for_less_than_the_grace(
        self, cache: TenantCache, nameserver: Nameserver, db: asyncpg.Connection
    ) -> None:
        await prove(cache, nameserver, "acme", SHOP)
        record = nameserver.records.pop(RECORD)
        [found] = await cache.domains.recheck(grace=3600)
        assert (found.outcome, found.removed) == ("failed", False)
        await db.execute("update tenantcache.domain_challenges set failing_since = now() - interval '59 minutes'")
        [found] = await cache.domains.recheck(grace=3600)
        assert (found.outcome, found.removed) == ("failed", False)
        assert await owner(cache) == "acme"
        nameserver.records[RECORD] = record
        [found] = await cache.domains.recheck(grace=3600)
        assert found.outcome == "verified"
        assert await db.fetchval("select failing_since is null from tenantcache.domain_challenges")

    async def test_a_domain_that_fails_for_longer_is_served_no_more(
        self, cache: TenantCache, nameserver: Nameserver, db: asyncpg.Connection
    ) -> None:
        await prove(cache, nameserver, "acme", SHOP)
        record = nameserver.records.pop(RECORD)
        await db.execute("update tenantcache.domain_challenges set failing_since = now() - interval '61 minutes'")
        [found] = await cache.domains.recheck(grace=3600)
        assert (found.outcome, found.removed, found.tenant_id) == ("failed", True, "acme")
        assert await owner(cache) is None
        assert await cache.domains.recheck() == []
        nameserver.records[RECORD] = record
        assert (await cache.domains.verify(SHOP)).outcome == "verified", "with the same token"
        assert await owner(cache) == "acme"

    async def test_what_could_not_be_asked_does_not_fail(
        self, cache: TenantCache, nameserver: Nameserver, db: asyncpg.Connection
    ) -> None:
        await prove(cache, nameserver, "acme", SHOP)
        await db.execute("update tenantcache.domain_challenges set failing_since = now() - interval '1 year'")
        nameserver.rcode = "SERVFAIL"
        [found] = await cache.domains.recheck(grace=0)
        assert (found.outcome, found.removed) == ("unreachable", False)
        assert await owner(cache) == "acme"

    async def test_those_that_waited_longest_come_first(self, cache: TenantCache, nameserver: Nameserver) -> None:
        names = [f"d{number}.example" for number in range(3)]
        for name in names:
            await prove(cache, nameserver, "acme", name)
        seen = [found.domain for _ in range(3) for found in await cache.domains.recheck(limit=1)]
        assert seen == names


class TestHavingOne:
    async def test_the_primary_domain_can_be_chosen(self, cache: TenantCache, nameserver: Nameserver) -> None:
        for name in (SHOP, "acme.io"):
            await prove(cache, nameserver, "acme", name)
        for name in (SHOP, "acme.io"):
            await cache.domains.set_primary("acme", name)
            tenant = await cache.resolve(SHOP)
            assert tenant is not None and tenant.primary_domain == name
        with pytest.raises(UnknownDomainError):
            await cache.domains.set_primary("acme", "other.io")

    async def test_a_domain_can_be_taken_away(self, cache: TenantCache, nameserver: Nameserver) -> None:
        await prove(cache, nameserver, "acme", SHOP)
        assert await owner(cache) == "acme"
        await cache.domains.remove("acme", SHOP)
        assert await owner(cache) is None
        assert await cache.domains.challenges("acme") == []
        with pytest.raises(UnknownDomainError):
            await cache.domains.remove("acme", SHOP)

    async def test_a_deleted_tenant_leaves_its_domains(self, cache: TenantCache, nameserver: Nameserver) -> None:
        await prove(cache, nameserver, "acme", SHOP)
        await cache.tenants.delete("acme")
        await prove(cache, nameserver, "globex", SHOP)
        assert await owner(cache) == "globex"


@pytest.fixture(params=["Postgres", "in memory"])
async def two(request: pytest.FixtureRequest, cache: TenantCache) -> AsyncIterator[TenantCache]:
    """An engine with acme and globex: the real one, and the one that applications test with."""
    if request.param == "Postgres":
        yield cache
    else:
        async with MemoryCache() as in_memory:
            for name in ("acme", "globex"):
                await in_memory.tenants.create(name, id=name, subdomain=name)
            yield in_memory


class Answers(list[str]):
    async def txt(self, _name: str) -> list[str]:
        return self


class TestOtherTenants:
    """What a user of one tenant types in does nothing to another tenant's domain or claim."""

    @pytest.fixture
    async def served(self, two: TenantCache) -> TenantCache:
        """globex has SHOP, proven; acme has asked for it before, and has `acme.io`."""
        for tenant_id, name in (("acme", SHOP), ("globex", SHOP), ("globex", "globex.io"), ("acme", "acme.io")):
            await two.domains.add(tenant_id, name)
        two.domains.dns = Answers(
            [claim.record_value for claim in await two.domains.challenges("globex")]
            + [claim.record_value for claim in await two.domains.challenges("acme") if claim.domain != SHOP]
        )
        for name in (SHOP, "globex.io", "acme.io"):
            assert (await two.domains.verify(name)).outcome == "verified"
        await two.domains.set_primary("globex", "globex.io")
        return two

    async def state(self, cache: TenantCache, tenant_id: str) -> tuple[object, ...]:
        tenant = (await cache.get_many([tenant_id]))[tenant_id]
        return tenant, await cache.domains.challenges(tenant_id), await owner(cache)

    async def test_a_claim_is_taken_back_and_the_others_domain_stays(self, served: TenantCache) -> None:
        before = await self.state(served, "globex")
        await served.domains.remove("acme", SHOP)
        assert await self.state(served, "globex") == before
        assert [claim.domain for claim in await served.domains.challenges("acme")] == ["acme.io"]
        with pytest.raises(UnknownDomainError, match="'acme' neither has the domain 'shop"):
            await served.domains.remove("acme", SHOP)

    async def test_a_domain_is_taken_away_and_the_others_claim_stays(self, served: TenantCache) -> None:
        before = await self.state(served, "acme")
        await served.domains.remove("globex", SHOP)
        assert await owner(served) is None
        assert [claim.domain for claim in await served.domains.challenges("globex")] == ["globex.io"]
        assert (await self.state(served, "acme"))[:2] == before[:2]
        served.domains.dns = Answers(claim.record_value for claim in await served.domains.challenges("acme"))
        assert (await served.domains.verify(SHOP, "acme")).outcome == "verified"
        assert await owner(served) == "acme"

    @pytest.mark.parametrize("name", [SHOP, "globex.io", "none.io", " Globex.IO. "])
    async def test_nothing_that_acme_says_does_anything_to_globex(self, served: TenantCache, name: str) -> None:
        before = await self.state(served, "globex")
        for tenant_id in ("acme", "unheard-of", "", "globex "):
            with pytest.raises(UnknownDomainError):
                await served.domains.set_primary(tenant_id, name)
            if (tenant_id, name) != ("acme", SHOP):
                with pytest.raises(UnknownDomainError):
                    await served.domains.remove(tenant_id, name)
                with pytest.raises(UnknownDomainError):
                    await served.domains.verify(name, tenant_id)
        assert (await served.domains.verify(SHOP, "acme")).outcome == "failed"
        with pytest.raises((UnknownDomainError, NameTakenError)):
            await served.domains.add("acme", "globex.io")
            await served.domains.remove("acme", name)
        assert await self.state(served, "globex") == before

    async def test_a_tenant_that_is_not_named_is_not_every_tenant(self, served: TenantCache) -> None:
        before = await self.state(served, "globex")
        nobody: Any = None
        for call in (served.domains.remove, served.domains.set_primary):
            with pytest.raises(UnknownDomainError):
                await call(nobody, SHOP)
        assert await self.state(served, "globex") == before

    async def test_an_operator_takes_a_domain_from_every_tenant(self, served: TenantCache) -> None:
        await served.domains.remove_from_every_tenant(SHOP)
        assert await owner(served) is None
        assert [claim.domain for claim in await served.domains.challenges("acme")] == ["acme.io"]
        assert [claim.domain for claim in await served.domains.challenges("globex")] == ["globex.io"]
        with pytest.raises(UnknownDomainError, match="no tenant has the domain"):
            await served.domains.remove_from_every_tenant(SHOP)
        await served.domains.remove_from_every_tenant("globex.io")
        assert await owner(served, "globex.io") is None

    async def test_a_copy_of_the_others_domain_is_not_dropped(self, cache: TenantCache, redis_url: str) -> None:
        for tenant_id in ("acme", "globex"):
            await cache.domains.add(tenant_id, SHOP)
        cache.domains.dns = Answers(claim.record_value for claim in await cache.domains.challenges("globex"))
        assert (await cache.domains.verify(SHOP, "globex")).outcome == "verified"
        async with Redis.from_url(redis_url) as redis:
            assert await redis.exists(f"tenantcache:tenant:domain:{SHOP}")
            await cache.domains.remove("acme", SHOP)
            assert await redis.exists(f"tenantcache:tenant:domain:{SHOP}")
            await cache.domains.remove("globex", SHOP)
            assert not await redis.exists(f"tenantcache:tenant:domain:{SHOP}")


class TestWithoutDnspython:
    async def test_it_says_what_to_install(self, cache: TenantCache, monkeypatch: pytest.MonkeyPatch) -> None:
        await cache.domains.add("acme", SHOP)
        monkeypatch.setitem(sys.modules, "dns", None)
        monkeypatch.setitem(sys.modules, "dns.asyncresolver", None)
        cache.domains.dns = DnspythonResolver()
        with pytest.raises(ConfigurationError, match=r"pip install 'tenantcache\[dns\]'"):
            await cache.domains.verify(SHOP)

    async def test_anything_that_looks_txt_up_will_do(self, cache: TenantCache) -> None:
        challenge = await cache.domains.add("acme", SHOP)

        class Answers:
            async def txt(self, name: str) -> list[str]:
                assert name == RECORD
                return [challenge.record_value]

        cache.domains.dns = Answers()
        assert (await cache.domains.verify(SHOP)).outcome == "verified"


async def test_a_resolver_tells_none_from_not_being_able_to_ask(
    nameserver: Nameserver, resolver: DnspythonResolver
) -> None:
    nameserver.records["a.example"] = ["one", ["t", "w", "o"]]
    assert sorted(await resolver.txt("a.example")) == ["one", "two"]
    assert await resolver.txt("b.example") == []
    nameserver.rcode = "SERVFAIL"
    with pytest.raises(DnsUnreachableError):
        await resolver.txt("a.example")
