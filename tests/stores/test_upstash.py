"""The provider's own figure, over HTTP, and whatever may be wrong with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tenantcache.budget.provider import ProviderError
from tenantcache.devservers import free_port
from tenantcache.stores.upstash import UpstashProvider
from tests.servers.upstash import API_KEY, DATABASE_ID, EMAIL, FakeUpstash


@pytest.fixture
def api() -> Iterator[FakeUpstash]:
    with FakeUpstash() as api:
        yield api


def provider(
    api: FakeUpstash, key: str = API_KEY, database: str = DATABASE_ID, timeout: float = 5.0
) -> UpstashProvider:
    return UpstashProvider(EMAIL, key, database, url=api.url, timeout=timeout)


async def fault_of(asked: UpstashProvider) -> str:
    with pytest.raises(ProviderError) as raised:
        await asked.read()
    assert raised.value.__cause__ is None
    assert API_KEY not in str(raised.value) and EMAIL not in str(raised.value)
    return str(raised.value)


async def test_the_requests_of_the_month_are_read(api: FakeUpstash) -> None:
    assert await provider(api).read() == 123_456
    assert api.requests == [f"/redis/stats/{DATABASE_ID}"]


async def test_wrong_credentials_are_named_and_not_shown(api: FakeUpstash) -> None:
    assert "rejects the credentials; see TENANTCACHE_UPSTASH_EMAIL" in await fault_of(provider(api, key="wrong"))


async def test_another_database(api: FakeUpstash) -> None:
    assert "TENANTCACHE_UPSTASH_DATABASE_ID" in await fault_of(provider(api, database="../teams"))
    assert api.requests == ["/redis/stats/..%2Fteams"]


@pytest.mark.parametrize(
    ("status", "told"), [(403, "does not let this account"), (429, "too often"), (500, "answers 500"), (204, "JSON")]
)
async def test_other_answers(api: FakeUpstash, status: int, told: str) -> None:
    api.status, api.body = status, b""
    assert told in await fault_of(provider(api))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"7",
        b"{}",
        b'{"total_monthly_requests": "7"}',
        b'{"total_monthly_requests": -1}',
        b'{"total_monthly_requests": true}',
        b'{"total_monthly_requests": 1.5}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
async def test_nonsense(api: FakeUpstash, body: bytes) -> None:
    api.body = body
    assert "JSON" in (told := await fault_of(provider(api))) or "total_monthly_requests" in told


async def test_credentials_follow_no_redirect(api: FakeUpstash) -> None:
    with FakeUpstash() as other:
        api.status, api.location = 302, f"{other.url}/redis/stats/{DATABASE_ID}"
        assert "answers 302" in await fault_of(provider(api))
        assert other.requests == []


async def test_no_answer_in_time(api: FakeUpstash) -> None:
    api.delay = 0.3
    assert "in time" in await fault_of(provider(api, timeout=0.05))


async def test_no_server() -> None:
    asked = UpstashProvider(EMAIL, API_KEY, DATABASE_ID, url=f"http://127.0.0.1:{free_port()}")
    assert "cannot be asked" in await fault_of(asked)
