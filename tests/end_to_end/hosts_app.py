"""What the tests of the servers serve: one application behind two middlewares, of which one trusts its peer.

A request says which one it is for by `x-peer: trusted`, because all of a test's requests come from the same address.
The application answers with what the middleware has decided: `tenant:acme`, or `bypass`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from tenantcache import Settings, TenantCache, TenantMiddleware

plain = TenantCache(Settings(limits="off"))
trusting = TenantCache(Settings(limits="off", trusted_proxies=["127.0.0.1"]))


async def outcome(scope: Scope, receive: Receive, send: Send) -> None:
    tenant = scope.get("state", {}).get("tenant")
    body = f"tenant:{tenant.id}" if tenant is not None else "bypass"
    headers = [(b"content-length", str(len(body)).encode())]
    # A WebSocket is answered likewise, so that there is one kind of answer (ASGI extension websocket.http.response).
    kind = "http" if scope["type"] == "http" else "websocket.http"
    await send({"type": f"{kind}.response.start", "status": 200, "headers": headers})
    await send({"type": f"{kind}.response.body", "body": body.encode()})


@asynccontextmanager
async def engines(_: Starlette) -> AsyncIterator[None]:
    async with plain, trusting:
        yield


lifespan = Starlette(lifespan=engines)
middlewares = {False: TenantMiddleware(outcome, plain), True: TenantMiddleware(outcome, trusting)}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    else:
        await middlewares[(b"x-peer", b"trusted") in scope["headers"]](scope, receive, send)
