"""What type checkers are told of `cache.values`: `make check` reads this, and nothing runs it.

A line with `type: ignore` is a mistake that has to be found: mypy says so if it is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_type

from tenantcache import Cached, Tenant, TenantCache, ValueKind, Values

cache = TenantCache()
REPORT = ValueKind(fresh=600, stale=3000, hard_timeout=120)


@dataclass
class Profile:
    name: str


async def load() -> Profile | None:
    return None


async def load_texts() -> list[str]:
    return []


async def load_many(keys: Sequence[str]) -> Mapping[str, Profile]:
    return {key: Profile(key) for key in keys}


async def single(values: Values, tenant: Tenant) -> None:
    assert_type(cache.values, Values)
    assert_type(values.shared, Values)
    assert_type(await values.get_or_load("a", load, ttl=5), Profile | None)
    assert_type(await values.get_or_load("a", load, tenant=tenant, kind="profile", type=Profile), Profile | None)
    assert_type(await values.get_or_load("a", load_texts, kind=REPORT, type=list[str]), list[str] | None)
    assert_type(await values.get_or_load("a", load, fresh=5, stale=None, type=Profile | None), Profile | None)
    found = await values.get_many(["a"], load_many, tenant="acme", ttl=60, tags=["t"], type=Profile)
    assert_type(found, dict[str, Profile])
    await values.set("a", Profile("x"), kind="profile", negative_ttl=5, type=Profile)
    await values.get_or_load("a", load, tll=5)  # type: ignore[call-arg]
    await values.get_or_load("a", load, ttl="5")  # type: ignore[arg-type]
    await values.get_or_load("a", Profile, ttl=5)  # type: ignore[arg-type]
    await values.get_many(["a"], load, ttl=5)  # type: ignore[arg-type]
    await values.set("a", Profile("x"), ttl=5, kind=3)  # type: ignore[arg-type]
    ValueKind(60)  # type: ignore[call-arg]


@cache.values.cached("profile:{user_id}", kind="profile", tags=["user:{user_id}"], ignore=["page"])
async def profile(user_id: str, *, page: int = 1) -> Profile | None:
    return None


@cache.values.shared.cached("rates", ttl=60)
async def rates() -> dict[str, float]:
    return {}


class Profiles:
    @cache.values.cached("profile:{user_id}", ttl=60)
    async def get(self, user_id: str) -> Profile:
        return Profile(user_id)

    async def own(self) -> Profile:
        return await self.get("7")


async def decorated(profiles: Profiles) -> None:
    assert_type(await profile("7", page=2), Profile | None)
    assert_type(await profile.refresh("7"), Profile | None)
    assert_type(profile.key("7"), str)
    await profile.invalidate("7")
    assert_type(rates, Cached[[], dict[str, float]])
    assert_type(await profiles.get("7"), Profile)
    assert_type(await profiles.get.refresh(user_id="7"), Profile)
    await profiles.get.invalidate("7")
    await profile(7)  # type: ignore[arg-type]
    await profile()  # type: ignore[call-arg]
    await profile("7", pages=2)  # type: ignore[call-arg]
    await profile.invalidate(7)  # type: ignore[arg-type]
    await profiles.get()  # type: ignore[call-arg]
    await profiles.get.invalidate(7)  # type: ignore[arg-type]

    @cache.values.cached("a", ttl=60)  # type: ignore[arg-type]
    def plain() -> Profile:
        return Profile("")

    del plain
