"""`@values.cached`: which calls share a value, of which type, and what is refused when the module is imported."""

from __future__ import annotations

import dataclasses
import inspect
import re
import uuid
from collections.abc import AsyncIterator
from datetime import date
from enum import Enum, StrEnum
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from httpx import ASGITransport, AsyncClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from tenantcache import NotOpenError, TenantCache
from tenantcache.testing import acting_as
from tenantcache.values.callkey import CallKey
from tenantcache.values.core.keytemplate import BoundTemplate, KeyTemplate
from tests.fakes import FakeClock, FakeDatabase, make_cache, row


class Profile(BaseModel):
    name: str


class Colour(Enum):
    RED = "red"


class Mood(StrEnum):
    GLAD = "glad"


@pytest.fixture
async def cache() -> AsyncIterator[TenantCache]:
    clock = FakeClock()
    async with make_cache(FakeDatabase(clock, row("acme"), row("globex")), clock) as cache:
        yield cache


@pytest.fixture
def closed() -> TenantCache:
    return make_cache(FakeDatabase(FakeClock()), FakeClock())


# Calls.


async def test_calls_with_equal_arguments_share_a_value(cache: TenantCache) -> None:
    calls = []

    @cache.values.cached("profile:{user_id}:{page}", ttl=60)
    async def profile(user_id: str, page: int = 1, *, tenant: str) -> Profile:
        calls.append((user_id, page, tenant))
        return Profile(name=user_id)

    assert await profile("7", tenant="acme") == Profile(name="7")
    assert await profile("7", 1, tenant="acme") == Profile(name="7")
    assert await profile(page=1, user_id="7", tenant="acme") == Profile(name="7")
    await profile("7", 2, tenant="acme")
    await profile("7", tenant="globex")
    assert calls == [("7", 1, "acme"), ("7", 2, "acme"), ("7", 1, "globex")]
    assert profile.key("7", tenant="acme") == "profile:7:1"


async def test_the_current_tenant_counts_or_an_error(cache: TenantCache) -> None:
    @cache.values.cached("settings", ttl=60)
    async def settings() -> dict[str, Any]:
        return {"theme": "dark"}

    with pytest.raises(LookupError, match="no tenant"):
        await settings()
    tenant = (await cache.get_many(["acme"]))["acme"]
    with acting_as(tenant, "example.com"):
        assert await settings() == {"theme": "dark"}
    assert cache.values.explain("settings", tenant="acme", type=dict[str, Any]).state == "fresh"


async def test_another_parameter_may_name_the_tenant(cache: TenantCache) -> None:
    @cache.values.cached("settings", ttl=60, tenant="tenant_id")
    async def settings(tenant_id: str) -> str:
        return tenant_id

    assert [await settings("acme"), await settings("globex")] == ["acme", "globex"]


async def test_a_shared_value_has_no_tenant(cache: TenantCache) -> None:
    @cache.values.shared.cached("rates:{tenant}", kind="static")
    async def rates(tenant: str) -> str:
        return tenant

    assert await rates("x") == "x"
    assert cache.values.shared.explain("rates:x", type=str).state == "fresh"
    with pytest.raises(TypeError, match="has the parameter tenant, which the key"):

        @cache.values.shared.cached("settings", ttl=60)
        async def settings(tenant: str) -> str:
            return tenant


async def test_it_is_invalidated_and_refreshed_by_its_arguments(cache: TenantCache) -> None:
    names = ["a", "b", "c", "d"]

    @cache.values.cached("profile:{user_id}", ttl=60, tags=["user:{user_id}", "all"], ignore=["session"])
    async def profile(user_id: str, session: object, tenant: str) -> str:
        return names.pop(0)

    assert await profile("7", None, "acme") == "a"
    await profile.invalidate("7", tenant="acme")  # type: ignore[call-arg]  # the session does not matter
    assert await profile("7", None, "acme") == "b"
    await cache.values.invalidate(tag="user:7", tenant="acme")
    assert await profile("7", None, "acme") == "c"
    assert await profile.refresh("7", None, "acme") == "d"
    assert await profile("7", None, "acme") == "d"
    with pytest.raises(TypeError, match=r"profile\(\) needs user_id to know which value is meant"):
        await profile.invalidate(tenant="acme")  # type: ignore[call-arg]


async def test_tags_may_come_from_the_value(cache: TenantCache) -> None:
    found = ["pro", "free"]

    @cache.values.cached("plan", ttl=60, tags=lambda plan: [f"plan:{plan}"])
    async def plan(tenant: str) -> str:
        return found.pop(0)

    assert await plan("acme") == "pro"
    await cache.values.invalidate(tag="plan:pro", tenant="acme")
    assert await plan("acme") == "free"


async def test_methods_are_bound(cache: TenantCache) -> None:
    class Profiles:
        def __init__(self, region: str) -> None:
            self.region = region
            self.calls = 0

        @cache.values.cached("profile:{user_id}", ttl=60)
        async def get(self, user_id: str, tenant: str = "acme") -> str:
            self.calls += 1
            return f"{user_id} {self.calls}"

        @cache.values.cached("near:{self.region}:{user_id}", ttl=60)
        async def near(self, user_id: str, tenant: str = "acme") -> str:
            return self.region

        @classmethod
        @cache.values.cached("all", ttl=60)
        async def all(cls, tenant: str = "acme") -> str:
            return cls.__name__

    profiles, others = Profiles("eu"), Profiles("us")
    assert [await profiles.get("7"), await profiles.get(user_id="7"), await others.get("7")] == ["7 1"] * 3
    await profiles.get.invalidate("7")
    assert await profiles.get("7") == "7 2"
    assert profiles.get.key("7") == "profile:7"
    assert [await profiles.near("7"), await others.near("7")] == ["eu", "us"]
    assert await Profiles.all() == "Profiles"  # type: ignore[call-arg]  # mypy does not bind it
    assert await Profiles.get(others, "7") == "7 2"


async def test_that_there_is_none_is_a_result(cache: TenantCache) -> None:
    calls = []

    @cache.values.cached("profile:{user_id}", ttl=60)
    async def profile(user_id: str, tenant: str = "acme") -> Profile | None:
        calls.append(user_id)
        return None

    assert [await profile("7"), await profile("7")] == [None, None]
    assert calls == ["7"]


# Keys.

TEXTS = st.text(st.sampled_from("ab:%3A-2}"), max_size=4) | st.sampled_from(["%none", "None"]) | st.none()


@given(st.tuples(TEXTS, TEXTS), st.tuples(TEXTS, TEXTS))
def test_different_arguments_have_different_keys(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    template = KeyTemplate("x:{a}:{b}")
    keys = [BoundTemplate(template, [0, 1]).key(arguments) for arguments in (one, other)]
    assert (keys[0] == keys[1]) is (one == other)


@pytest.mark.parametrize(
    ("argument", "key"),
    [
        ("7", "x:7"),
        ("a:b", "x:a%3Ab"),
        (7, "x:7"),
        (True, "x:True"),
        (None, "x:%none"),
        (Colour.RED, "x:red"),
        (Mood.GLAD, "x:glad"),
        (uuid.UUID(int=7), "x:00000000-0000-0000-0000-000000000007"),
        (date(2026, 11, 26), "x:2026-11-26"),
    ],
)
def test_an_argument_is_a_text_in_the_key(argument: object, key: str) -> None:
    assert BoundTemplate(KeyTemplate("x:{a}"), [0]).key([argument]) == key


@dataclasses.dataclass
class User:
    id: int


@pytest.mark.parametrize("argument", [[1], (1,), {"a": 1}, b"a", User(1), Profile(name="a"), object()])
def test_what_has_no_text_is_refused(argument: object) -> None:
    with pytest.raises(TypeError, match=r"a is of type \w+, which has no text .* name a part of it, like \{a.id\}"):
        BoundTemplate(KeyTemplate("x:{a}"), [0]).key([argument])


def test_braces_that_are_meant() -> None:
    template = KeyTemplate("a{{b}}:{x}:{{{y}}}")
    assert BoundTemplate(template, [0, 1]).key(["1", "2"]) == "a{b}:1:{2}"
    assert template.renamed({"x": "u", "y": "v"}) == "a{{b}}:{u}:{{{v}}}"


def test_a_part_of_an_argument_and_a_tag_as_it_is() -> None:
    template = KeyTemplate("user:{user.id}")
    assert BoundTemplate(template, [0]).key([User(7)]) == "user:7"
    assert BoundTemplate(template, [0]).tag([User("a:b")]) == "user:a:b"  # type: ignore[arg-type]


# What is refused at once.


def refused(closed: TenantCache, function: Any, key: str = "x", **terms: Any) -> str:
    with pytest.raises((TypeError, ValueError)) as raised:
        closed.values.cached(key, **{"ttl": 60, **terms})(function)
    return str(raised.value)


async def profile(user_id: str, page: int = 1) -> str:
    return user_id


async def everything(*args: str, **more: str) -> str:
    return ""


async def untyped(a):  # type: ignore[no-untyped-def]
    return a


async def nothing() -> None: ...


async def unknown() -> Missing:  # type: ignore[name-defined]  # noqa: F821
    return Missing()  # type: ignore[name-defined]  # noqa: F821


async def opaque() -> FakeClock:
    return FakeClock()


def plain(user_id: str) -> str:
    return user_id


def test_mistakes_are_told_at_the_decoration(closed: TenantCache) -> None:
    key = "profile:{user_id}:{page}"
    assert refused(closed, profile, "profile:{user_di}") == (
        "the key names user_di, which profile() does not have; did you mean user_id?"
    )
    assert refused(closed, profile, "p:{user_id}") == (
        "profile() has the parameter page, which the key 'p:{user_id}' does not name, so calls that differ in it would"
        " be given one value; add {page} to the key, or ignore=['page']"
    )
    assert "ignore= names pages, which profile() does not have" in refused(closed, profile, key, ignore=["pages"])
    assert "the tag 'u:{user}' names user" in refused(closed, profile, key, tags=["u:{user}"])
    assert "tags='u' is one text" in refused(closed, profile, key, tags="u")
    assert "ignore='page' is one text" in refused(closed, profile, key, ignore="page")
    assert "tenant= names owner" in refused(closed, profile, key, tenant="owner")
    assert "put a : between them" in refused(closed, profile, "p:{user_id}{page}")
    assert "has a brace alone" in refused(closed, profile, "p:{user_id")
    for field in ("{}", "{0}", "{user_id!r}", "{page:03}", "{user_id[0]}"):
        assert "has a field that is not a name, like {user_id}" in refused(closed, profile, f"p:{field}")
    assert "takes any arguments, as *args" in refused(closed, everything)
    assert "is not an async function" in refused(closed, plain, "p:{user_id}")
    assert "put @cached below @staticmethod" in refused(closed, staticmethod(profile), key)
    assert "returns None by its annotation" in refused(closed, nothing)
    assert "cannot be written as JSON and read back" in refused(closed, opaque)
    assert "did you mean 'profile'" in refused(closed, profile, key, kind="profil")
    assert "give either ttl= or fresh=, in seconds, or kind=" in refused(closed, profile, key, ttl=None)
    assert "unexpected keyword argument 'tll'" in refused(closed, profile, key, tll=5)


def test_two_functions_do_not_share_a_key(closed: TenantCache) -> None:
    async def other(user: str) -> str:
        return user

    closed.values.cached("profile:{user_id}", ttl=60, ignore=["page"])(profile)
    closed.values.cached("profile:{user_id}", ttl=60, ignore=["page"])(profile)  # a module that is loaded again
    closed.values.shared.cached("profile:{user}", ttl=60)(other)
    told = refused(closed, other, "profile:{user}")
    assert f"the key 'profile:{{user}}' is that of {__name__}.profile already" in told


async def test_it_is_made_before_the_engine_is_open(closed: TenantCache) -> None:
    cached = closed.values.cached("p:{user_id}", ttl=60, ignore=["page"])(profile)
    with pytest.raises(NotOpenError):
        await closed.values.get_or_load("p:7", nothing, tenant="acme", ttl=60)
    with pytest.raises(LookupError):
        await cached("7")
    assert inspect.signature(cached) == inspect.signature(profile)
    assert getattr(cached, "__name__") == "profile"  # noqa: B009


# Types.


async def test_a_type_that_is_defined_later_is_found_by_the_first_call(cache: TenantCache) -> None:
    @cache.values.cached("unknown", ttl=60, ignore=["tenant"])
    async def later(tenant: str = "acme") -> Local:
        return Local(name="a")

    @dataclasses.dataclass
    class Local:
        name: str

    assert await later() == Local("a")


async def test_a_type_that_is_never_found_is_told_by_the_first_call(cache: TenantCache) -> None:
    cached = cache.values.cached("unknown", ttl=60)(unknown)
    with pytest.raises(TypeError, match=r"the return annotation of unknown\(\) .* 'Missing' is not defined; .*type="):
        await cached()


async def test_without_an_annotation_it_is_json(cache: TenantCache) -> None:
    assert await cache.values.shared.cached("u:{a}", ttl=60)(untyped)(1) == 1
    given = cache.values.shared.cached("v:{user_id}:{page}", ttl=60, type=int)(profile)
    with pytest.raises(TypeError, match="int"):
        await given("a")


async def test_an_instance_is_not_shared_by_callers(cache: TenantCache) -> None:
    @cache.values.shared.cached("p", ttl=60)
    async def get() -> Profile:
        return Profile(name="a")

    first = await get()
    first.name = "b"
    assert (await get()).name == "a"


async def test_routes_and_dependencies(cache: TenantCache) -> None:
    app = FastAPI()
    calls: list[str] = []
    name = cache.values.shared.cached("name:{user_id}", ttl=60, ignore=["page"])(profile)

    async def route(user_id: str, found: str = Depends(name)) -> Profile:
        calls.append(found)
        return Profile(name=f"name of {found}")

    app.get("/{user_id}")(cache.values.shared.cached("route:{user_id}", kind="response", ignore=["found"])(route))
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        for _ in range(2):
            assert (await client.get("/7")).json() == {"name": "name of 7"}
    assert calls == ["7"]


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (("1",), {}),
        (("1", 2), {}),
        (("1", 2, 3), {}),
        ((), {"a": "1"}),
        (("1",), {"b": 2}),
        (("1",), {"a": "1"}),
        (("1",), {"d": 4}),
        (("1",), {"c": 3, "x": 5}),
        ((), {"b": 2}),
        (("1", 2, 3, 4, 5), {}),
    ],
)
def test_arguments_are_bound_as_python_does(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    async def positional(a: str, b: int = 0, c: int = 1) -> None: ...

    async def mixed(a: str, b: int = 0, *, c: int = 1, d: int = 2) -> None: ...

    async def marked(a: str, /, b: int = 0, *c: int, **d: int) -> None: ...

    for function in (positional, mixed, marked):
        names = list(inspect.signature(function).parameters)
        call = CallKey(function, "x", tags=(), ignore=names, tenant=None)
        try:
            bound = inspect.signature(function).bind(*args, **kwargs)
        except TypeError as error:
            with pytest.raises(TypeError, match=re.escape(str(error))):
                call.arguments(args, kwargs, is_whole=True)
            continue
        bound.apply_defaults()
        assert list(call.arguments(args, kwargs, is_whole=True)) == [bound.arguments[name] for name in names]
