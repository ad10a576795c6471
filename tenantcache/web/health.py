"""`/livez` and `/readyz` for those who start, stop and replace processes.

    app.mount("/health", HealthApp(cache, drain=5))

Paths below `/health` are among the bypass paths, so they need no tenant. Kubernetes asks `/health/livez` and
`/health/readyz`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from tenantcache.engine import TenantCache
from tenantcache.stats import HealthState
from tenantcache.web.auth import ask
from tenantcache.web.drain import Drain
from tenantcache.wiring.statelog import MEANINGS as STATE_MEANINGS

__all__ = ["HealthApp"]

logger = logging.getLogger(__name__)

MaySee = Callable[[Request], bool | Awaitable[bool]]
"""Says whether this request may be shown details."""

MEANINGS: dict[HealthState, str] = {
    **STATE_MEANINGS,
    "closed": "the engine is not open",
    "opening": "the engine is being opened",
    "warming up": "memory is being filled",
    "closing": "the engine is being closed",
}
NO_STORE = {"cache-control": "no-store"}


class HealthApp:
    """An ASGI application with two routes, for GET and HEAD. No I/O, no Redis command and no query.

    * `/livez` answers 200 as long as the event loop answers.
    * `/readyz` answers 200 in the state "ready", else 503. With `serve_stale` it answers 200 in the state "stale" as
      well: then an outage of Postgres does not take all processes out of service at once. Redis does not count.

    `may_see` is given the request, and says whether the answer has details, as JSON. `drain` is how many seconds the
    process serves on after SIGTERM, while it is not ready any more: for servers whose handler is a function, as
    uvicorn's is. It is installed at the first `/readyz`. ValueError unless it is a number from 0.
    """

    def __init__(
        self, cache: TenantCache, *, may_see: MaySee | None = None, serve_stale: bool = False, drain: float = 0.0
    ) -> None:
        self._cache = cache
        self._may_see = may_see
        self._ready: set[HealthState] = {"ready", "stale"} if serve_stale else {"ready"}
        self._drain = Drain(drain)
        self._router = Router([Route("/livez", self._livez), Route("/readyz", self._readyz)])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._router(scope, receive, send)

    async def _livez(self, _request: Request) -> Response:
        return PlainTextResponse("alive\n", headers=NO_STORE)

    async def _readyz(self, request: Request) -> Response:
        self._drain.install()
        state = self._cache.state
        is_ready = state in self._ready and not self._drain.is_draining
        status = 200 if is_ready else 503
        if await self._shows_details(request):
            return JSONResponse(self._details(state, is_ready), status, NO_STORE)
        return PlainTextResponse("ready\n" if is_ready else "not ready\n", status, NO_STORE)

    async def _shows_details(self, request: Request) -> bool:
        if self._may_see is None:
            return False
        try:
            return await ask(self._may_see, request) is True
        except Exception:
            logger.exception("may_see= has failed: no details are shown")
            return False

    def _details(self, state: HealthState, is_ready: bool) -> dict[str, Any]:
        stats = self._cache.stats()
        counters = stats["limits"]["counters"]
        return {
            "ready": is_ready,
            "draining": self._drain.is_draining,
            "state": state,
            "meaning": MEANINGS[state],
            "warm_up": stats["lookups"]["warm_up"],
            "freshness": stats["freshness"],
            "redis": {"configured": stats["redis"]["configured"], "breaker": stats["redis"]["breaker"]},
            "counters": None if counters is None else {"store": counters["store"], "why": counters["why"]},
            "band": stats["redis"]["band"],
        }
