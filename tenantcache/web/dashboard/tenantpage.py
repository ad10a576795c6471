"""One tenant's page, and what can be done there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from tenantcache.admin.usagestore import UsageDay
from tenantcache.engine import TenantCache
from tenantcache.errors import POSTGRES_FAILURES, StoreUnavailableError, TenantCacheError
from tenantcache.fleet.reportstore import LoggedChange
from tenantcache.ratelimit.calendars import calendar_of
from tenantcache.ratelimit.core.decision import Quota
from tenantcache.tenant import Tenant
from tenantcache.web.dashboard.access import FormTokens

if TYPE_CHECKING:
    from tenantcache.web.dashboard.pages import Pages

ACTIONS = {"suspend": "suspended", "resume": "active again", "reset": "reset"}
"""What a form may do, and what is said afterwards."""

ASK = "ask"
"""The form that has the counters asked what is left."""

FORMS = (*ACTIONS, ASK)

DAYS = 30
MAX_CHANGES = 12


@dataclass(frozen=True, slots=True)
class TenantView:
    """What is known of one tenant. `used_today` counts the requests of its own day, as far as they were written;
    `seen_at` is when the last of them were. `domains` are those that it has or has asked for, and whether they are
    served."""

    tenant: Tenant
    used_today: int
    seen_at: float | None
    days: Sequence[UsageDay]
    changes: Sequence[LoggedChange]
    domains: Mapping[str, bool]

    @property
    def by_day(self) -> list[float]:
        """Requests of the last 30 days, the newest last."""
        if not self.days:
            return []
        last = self.days[-1].day
        found = {usage.day: float(usage.requests) for usage in self.days}
        return [found.get(last - timedelta(days=age), 0.0) for age in range(DAYS - 1, -1, -1)]


class TenantPages:
    def __init__(self, cache: TenantCache, pages: Pages, tokens: FormTokens) -> None:
        self._cache, self._pages, self._tokens = cache, pages, tokens

    async def show(self, request: Request) -> Response:
        return await self._show(request, request.query_params.get("id", ""))

    async def _show(self, request: Request, tenant_id: str, *, asks: bool = False) -> Response:
        try:
            view = await self._read(tenant_id)
            asked = await self._cache.peek(view.tenant) if asks and view is not None else None
        except (StoreUnavailableError, *POSTGRES_FAILURES) as error:
            return self._pages.page("missing.html", request, 503, title="Postgres does not answer", text=str(error))
        if view is None:
            text = f"There is no tenant with the id {tenant_id!r}."
            return self._pages.page("missing.html", request, 404, title="No such tenant", text=text)
        cookie = self._tokens.cookie_of(request)
        page = self._pages.page(
            "tenant.html",
            request,
            view=view,
            left={quota.name: quota.remaining for quota in asked or self._known(view.tenant)},
            asked=asked is not None,
            tokens={action: self._tokens.make(cookie, action, tenant_id) for action in FORMS},
            now=self._cache.server_now(),
            interval=self._cache.settings.usage_interval,
            done=ACTIONS.get(request.query_params.get("done", "")),
        )
        self._tokens.keep(page, request, cookie)
        return page

    def _known(self, tenant: Tenant) -> Sequence[Quota]:
        """What is left as this process knows it, if it serves the tenant."""
        return self._cache.quotas(tenant) if self._cache.memory.aliases_of(tenant.id) else ()

    async def act(self, request: Request, action: str, tenant_id: str) -> Response:
        """Suspend, resume or reset a tenant, as the administrative API does it, or ask what is left."""
        if action == ASK:
            return await self._show(request, tenant_id, asks=True)
        try:
            if action == "suspend":
                await self._cache.tenants.suspend(tenant_id)
            elif action == "resume":
                await self._cache.tenants.resume(tenant_id)
            else:
                await self._cache.reset(tenant_id)
        except TenantCacheError as error:
            status = 503 if isinstance(error, StoreUnavailableError) else 409
            return self._pages.page("missing.html", request, status, title="Nothing was done", text=str(error))
        root = str(request.scope.get("root_path", "")).rstrip("/")
        return RedirectResponse(f"{quote(root)}/tenant?id={quote(tenant_id, safe='')}&done={action}", 303)

    async def _read(self, tenant_id: str) -> TenantView | None:
        """Four queries."""
        cache = self._cache
        tenant = await cache.tenants.get(tenant_id)
        if tenant is None:
            return None
        store, now = cache.reports.store, cache.server_now()
        today = date(1970, 1, 1) + timedelta(days=calendar_of(tenant.time_zone)(now).number)
        days = await cache.usage.read(tenant_id, today - timedelta(days=DAYS - 1))
        changes = () if store is None else await store.changes_of(tenant_id, MAX_CHANGES)
        last = days[-1] if days else None
        return TenantView(
            tenant,
            used_today=last.requests if last is not None and last.day == today else 0,
            seen_at=None if last is None else last.last_seen_at.astimezone(UTC).timestamp(),
            days=days,
            changes=changes,
            domains=await self._domains(tenant),
        )

    async def _domains(self, tenant: Tenant) -> dict[str, bool]:
        try:
            asked = {claim.domain: claim.served for claim in await self._cache.domains.challenges(tenant.id)}
        except StoreUnavailableError:
            raise
        except TenantCacheError:
            asked = {}  # an adopted table has its domains elsewhere
        return {**asked, **dict.fromkeys(tenant.domains, True)}
