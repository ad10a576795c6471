"""The website: how tenantcache is mounted, and every route.

A route on a tenant's host declares `tenant: CurrentTenant` and has it; the limits were checked before. The engine is
asked only if a page shows what goes on inside.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Form, HTTPException, Request, Response, WebSocket
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import StringConstraints
from starlette.requests import HTTPConnection

from tenantcache import Settings, StoreUnavailableError, Tenant, TenantCache, TenantMiddleware, current_tenant
from tenantcache.fastapi import CurrentTenant
from tenantcache.web.dashboard import Dashboard, from_this_machine

from .answer import compose_answer
from .directory import Directory
from .pages import render
from .refusals import html_for_browsers

CLOSE_POLICY_VIOLATION = 1008
CLOSE_TRY_AGAIN_LATER = 1013
"""WebSocket close codes: RFC 6455 7.4.1, and the IANA registry that it set up."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the website; without `settings` they come from the environment. Raises `ConfigurationError`."""
    cache = TenantCache(settings)
    directory = Directory(cache.settings.database_url)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with directory:  # the engine is opened and closed by the middleware
            yield

    app = FastAPI(title="tenantcache example", lifespan=lifespan, openapi_url=None)
    app.state.cache, app.state.directory, app.state.requests = cache, directory, 0
    app.include_router(router)
    # Of this machine alone: an application has users of its own, and asks whether one of them may see it.
    app.mount("/dashboard", Dashboard(cache, auth=from_this_machine))
    app.add_middleware(TenantMiddleware, cache=cache, reply=html_for_browsers(cache.settings))
    return app


async def _count(connection: HTTPConnection) -> None:
    connection.app.state.requests += 1


async def _cache(connection: HTTPConnection) -> TenantCache:
    cache: TenantCache = connection.app.state.cache
    return cache


async def _directory(connection: HTTPConnection) -> Directory:
    directory: Directory = connection.app.state.directory
    return directory


router = APIRouter(dependencies=[Depends(_count)])

Cache = Annotated[TenantCache, Depends(_cache)]
Tenants = Annotated[Directory, Depends(_directory)]

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80, pattern=r"^[^\x00-\x1f]+$")]
"""A possible name of a person; Postgres takes no NUL in a text."""


@router.get("/health")
async def health() -> dict[str, str]:
    """Outside of tenancy (TENANTCACHE_BYPASS_PATHS): no tenant, no limit, any host."""
    return {"status": "ok"}


@router.get("/")
async def home(request: Request, cache: Cache, directory: Tenants) -> Response:
    """The tenant's own page; on the apex, which has no tenant, the list of all."""
    tenant = current_tenant()
    apex = cache.settings.base_domains[0]
    if tenant is None:
        return render("apex.html", tenants=await directory.listing(), url=request.url, apex=apex)
    return render(
        "tenant.html",
        answer=compose_answer(request, cache, tenant),
        plans=_plans(cache, tenant),
        colour=tenant.attributes.get("color"),
        apex_url=request.url.replace(hostname=apex, path="/", query=""),
    )


@router.get("/api/whoami")
async def whoami(request: Request, cache: Cache, tenant: CurrentTenant, reconnect: bool = False) -> Response:
    """Who the tenant is, and who answered.

    With `reconnect` the server hangs up afterwards. A connection belongs to one worker for as long as it lives. So a
    client that wants to hear from all workers needs a new one each time.
    """
    headers = {"Cache-Control": "no-store"}
    if reconnect:
        headers["Connection"] = "close"
    return JSONResponse(compose_answer(request, cache, tenant), headers=headers)


@router.post("/tenant")
async def change(
    cache: Cache,
    directory: Tenants,
    tenant: CurrentTenant,
    name: Annotated[Name, Form()],
    plan: Annotated[str, Form()] = "",
) -> Response:
    """Rename the tenant and change its plan, with the SQL of any other client: nothing here tells the cache."""
    if plan not in _plans(cache, tenant):
        raise HTTPException(422, f"There is no such plan; there are: {', '.join(_plans(cache, tenant))}.")
    await directory.change(tenant.id, name, plan or None)
    with suppress(StoreUnavailableError):  # it is saved, and is seen when the log can be read
        await cache.sync()  # this worker at least shows what was just saved; the others follow by themselves
    return RedirectResponse("/", 303)


@router.websocket("/ws")
async def echo(websocket: WebSocket, cache: Cache) -> None:
    """Greet the tenant, then repeat what is said. Each message costs a token, like a request.

    A socket outlives many changes, so the tenant is looked up for each message; that is memory, hardly ever I/O.
    """
    tenant = current_tenant()
    if tenant is None:
        await websocket.close(CLOSE_POLICY_VIOLATION, "There is no tenant at this address.")
        return
    await websocket.accept()
    await websocket.send_text(f"Hello, {tenant.name}!")
    async for text in websocket.iter_text():
        try:
            now = (await cache.get_many([tenant.id])).get(tenant.id)
        except StoreUnavailableError:
            await websocket.close(CLOSE_TRY_AGAIN_LATER)
            return
        if now is None or now.status != "active":
            await websocket.close(CLOSE_POLICY_VIOLATION, "This tenant is no longer served.")
            return
        await websocket.send_text(await _heard(cache, now, text))


async def _heard(cache: TenantCache, tenant: Tenant, text: str) -> str:
    decision = await cache.check(tenant)
    if decision.allowed:
        return f"{tenant.name} said: {text}"
    if decision.unavailable:
        return "Messages cannot be counted at the moment; try again in a minute."
    return f"{tenant.name} has used up its limit; try again in {decision.retry_after or 0:.0f} s."


def _plans(cache: TenantCache, tenant: Tenant) -> list[str]:
    """The plans that a form may offer: those that are configured, and the one the tenant has ("" for none)."""
    return list(dict.fromkeys([*cache.settings.plans, tenant.plan or ""]))
