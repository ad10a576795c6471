"""A plan that the settings do not name is said once."""

from __future__ import annotations

import pytest

from tests.fakes import FakeClock, FakeDatabase, make_cache, row

PLANS = {"pro": {"per_minute": 6000}, "team": {"per_day": 5}}


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "tenantcache.admin.plannames"]


async def test_an_unknown_plan_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    plans = {"acme": "pro", "globex": "Pro", "initech": "Pro", "umbrella": "gold", "free": None, "empty": ""}
    database = FakeDatabase(clock, *(row(name, plan=plan) for name, plan in plans.items()))
    async with make_cache(database, clock, plans=PLANS) as cache:
        for _ in range(2):
            for name in plans:
                assert await cache.resolve(f"{name}.example.com")
                await cache.invalidate(name)
    assert said(caplog) == [
        f"tenant '{tenant}' has the plan '{plan}', which TENANTCACHE_PLANS does not name (it names pro, team): "
        "the default limits hold for it"
        for tenant, plan in (("globex", "Pro"), ("umbrella", "gold"))
    ]


async def test_where_no_plan_has_limits_every_name_is_as_good(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    async with make_cache(FakeDatabase(clock, row("acme", plan="pro")), clock) as cache:
        assert await cache.resolve("acme.example.com")
    assert said(caplog) == []


async def test_a_column_full_of_names_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    database = FakeDatabase(clock, *(row(f"t{number}", plan=f"plan{number}") for number in range(150)))
    async with make_cache(database, clock, plans=PLANS) as cache:
        await cache.get_many([f"t{number}" for number in range(150)])
    assert len(said(caplog)) == 100
