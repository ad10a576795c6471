"""Parts of an application that only some plans include, for any ASGI framework.

Route("/reports", reports, middleware=[Middleware(RequirePlan, "pro", "enterprise")])
Mount("/reports", RequirePlan(reports, "pro"))
"""

from __future__ import annotations

from http import HTTPStatus

from starlette.types import ASGIApp, Receive, Scope, Send

from tenantcache.lookup.current import current_tenant
from tenantcache.tenant import Tenant
from tenantcache.web.problems import UNKNOWN_HOST, Problem

__all__ = ["RequirePlan"]

PLAN_NEEDED = "The tenant's plan does not include this."


class RequirePlan:
    """Passes on the requests of tenants that have one of `plans`; answers others with `status`, or with 404 if they
    have no tenant.

    To be used behind `TenantMiddleware`. Raises TypeError without a plan.
    """

    def __init__(self, app: ASGIApp, *plans: str, status: int = 403) -> None:
        self._app = app
        self._plans = check_plans(plans)
        self._refusal = Problem(status, HTTPStatus(status).phrase, PLAN_NEEDED)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        tenant = current_tenant()
        if tenant is None:
            await UNKNOWN_HOST(scope, receive, send)
        elif includes(self._plans, tenant):
            await self._app(scope, receive, send)
        else:
            await self._refusal(scope, receive, send)


def check_plans(plans: tuple[str, ...]) -> frozenset[str]:
    if not plans or not all(isinstance(plan, str) for plan in plans):
        raise TypeError(f'give the names of plans, like "pro"; not {plans!r}')
    return frozenset(plans)


def includes(plans: frozenset[str], tenant: Tenant) -> bool:
    return tenant.plan in plans
