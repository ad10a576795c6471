"""What the tests of servers and proxies serve: one application behind three middlewares, of which two trust their peer.

A request says by `x-peer` which one it is for, because all of a test's requests come from the same address. It is
`trusted`, or `outside` if uvicorn's own middleware for proxies comes after ours. The application answers with what the
middleware has decided, `tenant:acme` or `bypass`, and below /client with the client's address.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from tenantcache import Settings, TenantCache, TenantMiddleware

PROXIES = ["127.0.0.1", "127.0.0.2"]

plain = TenantCache(Settings(limits="off"))
trusting = TenantCache(Settings(limits="off", trusted_proxies=PROXIES))


async def outcome(scope: Scope, receive: Receive, send: Send) -> None:
    tenant = scope.get("state", {}).get("tenant")
    body = f"tenant:{tenant.id}" if tenant is not None else "bypass"
    if scope["path"] == "/client":
        body = scope["client"][0]
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
middlewares = {
    b"": TenantMiddleware(outcome, plain),
    b"trusted": TenantMiddleware(outcome, trusting),
    # Uvicorn types the messages of ASGI one by one, and Starlette as mappings.
    b"outside": TenantMiddleware(ProxyHeadersMiddleware(outcome, PROXIES), trusting),  # type: ignore[arg-type]
}


gc.freeze()  # what was imported is garbage at no time: to look through it takes a fifth of a short process


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    else:
        await middlewares[dict(scope["headers"]).get(b"x-peer", b"")](scope, receive, send)
