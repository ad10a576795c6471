"""The dashboard as an ASGI application: its routes, and what each shows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from tenantcache.engine import TenantCache
from tenantcache.errors import ConfigurationError, StoreUnavailableError, TenantCacheError
from tenantcache.tenant import Tenant
from tenantcache.web.auth import Auth, refusal_of
from tenantcache.web.dashboard.access import FormTokens, is_own_form
from tenantcache.web.dashboard.fleetreader import FleetReader
from tenantcache.web.dashboard.fleetview import FleetView
from tenantcache.web.dashboard.forms import read_form
from tenantcache.web.dashboard.notices import notices_of
from tenantcache.web.dashboard.stream import Streams
from tenantcache.web.dashboard.tenantpage import FORMS, TenantPages
from tenantcache.web.lifespan import answer, live
from tenantcache.web.problems import UNKNOWN_HOST

if TYPE_CHECKING:
    from tenantcache.web.dashboard.pages import Pages

Answer = Callable[[Request], Awaitable[Response]]

MAX_FOUND = 50
"""Tenants of one search."""

NO_AUTH = (
    "Dashboard: give auth, a function that says whether a request may see the dashboard;"
    " on a developer's machine auth=tenantcache.web.dashboard.from_this_machine will do"
)
NO_JINJA = "Dashboard: jinja2 is not installed; pip install 'tenantcache[dashboard]'"


class Dashboard:
    """An ASGI application that shows how the fleet is doing. To be mounted on a host without a tenant.

    `auth` is called with each `starlette.requests.Request`, and may be a coroutine function. True lets it pass; a
    `Response` is sent as it is; everything else is refused (403), and so is a request at which it raises (500). While
    an engine has a dashboard, all processes of its fleet report to Postgres every 10 seconds. Pages send no Redis
    commands; actions on a tenant say which they send. Raises ConfigurationError without `auth`, and if jinja2 is not
    installed.
    """

    def __init__(self, cache: TenantCache, auth: Auth | None = None) -> None:
        if not callable(auth):
            raise ConfigurationError(NO_AUTH)
        self._cache, self._auth = cache, auth
        self._pages = _make_pages()
        self._reader = FleetReader(cache)
        self._tokens = FormTokens(cache.settings)
        self._tenants = TenantPages(cache, self._pages, self._tokens)
        self._rendered: dict[str, dict[str, str]] = {}
        self._rendered_at = float("nan")
        self._streams = Streams(lambda: cache.is_open)
        self._answers: dict[str, Answer] = {
            "": self._front,
            "stream": self._hear_of_stream,
            "tenant": self._tenants.show,
            "tenants": self._search,
        }
        cache.reports.want()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await live(self._cache, answer, scope, receive, send)
        elif scope["type"] != "http" or (scope.get("state") or {}).get("tenant") is not None:
            await UNKNOWN_HOST(scope, receive, send)
        else:
            await self._serve(Request(scope, receive), send)

    async def _serve(self, request: Request, send: Send) -> None:
        scope, receive = request.scope, request.receive
        response = await refusal_of(self._auth, request, "the dashboard")
        path = _path_of(request)
        if response is None and path == "stream" and request.method == "GET" and not self._streams.is_full:
            await self._stream(request, send)
            return
        if response is None:
            response = await self._answer(request, path)
        response.headers.setdefault("Cache-Control", "no-store")
        await response(scope, receive, send)

    async def _answer(self, request: Request, path: str) -> Response:
        if not self._cache.is_open:
            try:
                await self._cache.open()  # the server sends no lifespan events
            except StoreUnavailableError as error:
                return _plain(503, str(error))
        folder, _, name = path.partition("/")
        allowed = "POST" if folder == "tenant" and name in FORMS else "GET, HEAD"
        if request.method not in allowed.split(", "):
            return _plain(405, f"This takes {allowed}.", allowed)
        if allowed == "POST":
            return await self._act(request, name)
        if folder == "static":
            return self._pages.static(name) or await _no_page(request)
        return await self._answers.get(path, _no_page)(request)

    # The front page.

    async def _front(self, request: Request) -> Response:
        if not request.url.path.endswith("/"):
            return RedirectResponse(f"{request.url.path}/", 307)
        parts = await self._parts(str(request.scope.get("root_path", "")))
        return self._pages.page("front.html", request, parts=parts)

    async def _parts(self, root_path: str) -> dict[str, str]:
        """The parts of the front page. Pages and streams that ask within one look share them."""
        fleet = await self._reader.look()
        if self._rendered_at != self._reader.looked_at:
            self._rendered, self._rendered_at = {}, self._reader.looked_at
        if root_path not in self._rendered:
            self._rendered[root_path] = self._render(root_path, fleet)
        return self._rendered[root_path]

    def _render(self, root_path: str, fleet: FleetView) -> dict[str, str]:
        from tenantcache.web.dashboard.pages import prefix_at

        settings, stats = self._cache.settings, self._cache.stats()
        notices = notices_of(fleet, stats, max_staleness=settings.max_staleness, stale_if_error=settings.stale_if_error)
        values = {"fleet": fleet, "notices": notices, "stats": stats, "settings": settings}
        return self._pages.parts(prefix_at(root_path), values)

    async def _hear_of_stream(self, request: Request) -> Response:
        """To HEAD, and if there are too many."""
        full = self._streams.is_full
        return _plain(503, "Too many pages are open.") if full else Response(None, 200, None, "text/event-stream")

    async def _stream(self, request: Request, send: Send) -> None:
        root_path = str(request.scope.get("root_path", ""))
        headers = [
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),  # nginx would hold messages back
        ]
        await self._streams.serve(request.receive, send, headers, lambda: self._parts(root_path))

    # Tenants.

    async def _search(self, request: Request) -> Response:
        text = request.query_params.get("search", "").strip()[:200]
        fault: str | None = None
        found: tuple[Tenant, ...] = ()
        if text:
            try:
                found = (await self._cache.tenants.list(search=text, limit=MAX_FOUND)).tenants
            except TenantCacheError as error:
                fault = str(error)
        return self._pages.page("search.html", request, text=text, tenants=found, fault=fault, most=MAX_FOUND)

    async def _act(self, request: Request, action: str) -> Response:
        form = await read_form(request)
        tenant_id = unquote(form.get("id", ""))  # browsers would change its line breaks
        if not is_own_form(request) or not self._tokens.is_right(request, form.get("token", ""), action, tenant_id):
            return _plain(403, "This form is not one of this page, or it is an old one. Load the page again.")
        return await self._tenants.act(request, action, tenant_id)


def _make_pages() -> Pages:
    try:
        from tenantcache.web.dashboard.pages import Pages
    except ModuleNotFoundError as error:
        if error.name not in ("jinja2", "markupsafe"):
            raise
        raise ConfigurationError(NO_JINJA) from error
    return Pages()


def _path_of(request: Request) -> str:
    """The path below the place where this is mounted, without the slash."""
    path, root = str(request.scope["path"]), str(request.scope.get("root_path", "")).rstrip("/")
    return (path.removeprefix(root) if f"{path}/".startswith(f"{root}/") else path).lstrip("/")


async def _no_page(request: Request) -> Response:
    return _plain(404, "There is no such page.")


def _plain(status: int, text: str, allow: str | None = None) -> Response:
    return Response(text, status, None if allow is None else {"Allow": allow}, "text/plain")
