"""What the fast path of the middleware may find: only what the log vouches for."""

from __future__ import annotations

import pytest

from tenantcache.freshness.core.freshness import NEVER
from tenantcache.lookup.entry import Entry
from tenantcache.lookup.fastpath import Serving
from tenantcache.tenant import Tenant
from tests.fakes import FakeClock, FakeDatabase, make_cache, row

HOST = b"acme.example.com"


@pytest.mark.parametrize(("ahead", "is_hot"), [(0, True), (1, False), (-0.5, False)])
async def test_an_entry_is_hot_once_the_log_has_come_to_its_number(ahead: float, is_hot: bool) -> None:
    clock = FakeClock()
    async with make_cache(FakeDatabase(clock, row("acme")), clock) as cache:
        watermark = cache.freshness.applied + ahead
        tenant = Tenant("acme", "Acme", subdomain="acme")
        entry = Entry("subdomain:acme", tenant, watermark, clock(), clock() + 300, "postgres")
        cache.memory.put(entry)
        cache.fast_paths.open(HOST, entry, Serving(tenant, cache))
        assert (HOST in cache.memory.hot) is is_hot
        assert cache.freshness.state(clock(), watermark, NEVER).value == ("valid" if is_hot else "refused")
