"""The tenant as a FastAPI dependency."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, WebSocket

from tenantcache import Tenant, TenantMiddleware
from tenantcache.fastapi import CurrentTenant, require_plan, require_tenant
from tests.asgi import connect, get
from tests.fakes import FakeClock, FakeDatabase, make_cache, row


@pytest.fixture
async def app() -> AsyncIterator[FastAPI]:
    clock = FakeClock()
    database = FakeDatabase(
        clock, row("acme", name="Acme", attributes={"colour": "red", "tags": ["a"]}), row("globex", plan="pro")
    )
    async with make_cache(database, clock) as cache:
        app = FastAPI(dependencies=[])
        app.add_middleware(TenantMiddleware, cache=cache)

        @app.get("/coroutine")
        async def coroutine(tenant: CurrentTenant) -> dict[str, object]:
            return {"name": tenant.name, "attributes": tenant.attributes}

        @app.get("/thread")
        def in_a_thread(tenant: CurrentTenant) -> str:
            return tenant.name

        @app.get("/guarded", dependencies=[Depends(require_tenant)])
        async def guarded() -> str:
            return "in"

        @app.get("/health")
        async def health() -> str:
            return "well"

        @app.get("/health/who")
        async def who(tenant: CurrentTenant) -> str:
            return tenant.name

        @app.get("/pro", dependencies=[Depends(require_plan("pro", "enterprise"))])
        async def pro() -> str:
            return "pro"

        @app.get("/paid")
        async def paid(tenant: Annotated[Tenant, Depends(require_plan("pro", status_code=402))]) -> str:
            return tenant.name

        @app.websocket("/ws")
        async def socket(websocket: WebSocket, tenant: CurrentTenant) -> None:
            await websocket.accept()

        @app.websocket("/pro/ws")
        async def pro_socket(websocket: WebSocket, tenant: Annotated[Tenant, Depends(require_plan("pro"))]) -> None:
            await websocket.accept()

        yield app


async def test_an_endpoint_gets_its_tenant(app: FastAPI) -> None:
    answer = await get(app, b"acme.example.com", "/coroutine")
    assert answer.json() == {"name": "Acme", "attributes": {"colour": "red", "tags": ["a"]}}


async def test_an_endpoint_in_a_thread_gets_it_too(app: FastAPI) -> None:
    assert (await get(app, b"globex.example.com", "/thread")).json() == "globex"


async def test_it_may_guard_without_being_used(app: FastAPI) -> None:
    assert (await get(app, b"acme.example.com", "/guarded")).json() == "in"
    assert (await get(app, b"example.com", "/guarded")).status == 404


async def test_where_there_is_no_tenant_it_answers_404(app: FastAPI) -> None:
    answer = await get(app, b"www.example.com", "/coroutine")
    assert (answer.status, answer.json()) == (404, {"detail": "There is no tenant at this address."})
    assert (await get(app, b"acme.example.com", "/health/who")).status == 404


async def test_a_path_that_bypasses_needs_none(app: FastAPI) -> None:
    assert (await get(app, b"nobody.example.com", "/health")).json() == "well"


async def test_it_is_no_parameter_of_the_api(app: FastAPI) -> None:
    operations = [operation for path in app.openapi()["paths"].values() for operation in path.values()]
    assert len(operations) == 7
    assert all("parameters" not in operation for operation in operations)


async def test_a_plan_may_be_required(app: FastAPI) -> None:
    assert (await get(app, b"globex.example.com", "/pro")).json() == "pro"
    assert (await get(app, b"globex.example.com", "/paid")).json() == "globex"
    refused = await get(app, b"acme.example.com", "/pro")
    assert (refused.status, refused.json()) == (403, {"detail": "The tenant's plan does not include this."})
    assert (await get(app, b"acme.example.com", "/paid")).status == 402
    assert (await get(app, b"example.com", "/pro")).status == 404


@pytest.mark.parametrize("plans", [(), (None,), (["pro"],)])
def test_a_plan_that_is_none(plans: tuple[str, ...]) -> None:
    with pytest.raises(TypeError, match="give the names of plans"):
        require_plan(*plans)


async def test_websockets_have_the_same_dependencies(app: FastAPI) -> None:
    async def first(host: bytes, path: str) -> tuple[str, int | None]:
        message = (await connect(app, host, path, extension=True))[0]
        return message["type"], message.get("status")

    assert await first(b"globex.example.com", "/ws") == ("websocket.accept", None)
    assert await first(b"globex.example.com", "/pro/ws") == ("websocket.accept", None)
    assert await first(b"acme.example.com", "/pro/ws") == ("websocket.http.response.start", 403)
    assert await first(b"example.com", "/ws") == ("websocket.http.response.start", 404)
