"""The ASGI middleware: the fast path of a request, and what is done with it after the slow path (`admission.py`).

The fast path finds the Host line, looks once into a dict, reads the clock once, takes a token, and goes on to the
application. It never awaits. Freshness, the windows and the headers are looked at once for many requests, by
`FastPaths.renew`. Strategies are asked first, if there are any, and what they find leads to the same fast paths. Every
other request takes the slow path, which may wait: the first one of a name, one beyond a limit, one that bypasses, and a
WebSocket.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from copy import copy
from typing import Self

from starlette.types import ASGIApp, Receive, Scope, Send

from tenantcache.engine import TenantCache
from tenantcache.errors import ConfigurationError
from tenantcache.lookup.fastpath import FastPath, Key
from tenantcache.runtime import clock as clocks
from tenantcache.settings.model import Settings
from tenantcache.web.admission import Admission, Bypass, Refuse, Serve
from tenantcache.web.context import begin, end, serving_of
from tenantcache.web.declaredlimits import declare_limits
from tenantcache.web.lifespan import fail_to_start, live
from tenantcache.web.limitheaders import (
    HEADER_LINES,
    HeaderLine,
    LimitHeaders,
    adding,
    collecting,
    ratelimit_headers,
)
from tenantcache.web.limitrefusal import LimitExceededError, limit_refusal
from tenantcache.web.problems import REPLY, Problem, Reply
from tenantcache.web.redirect import Redirect
from tenantcache.web.requesthost import RequestHost
from tenantcache.web.strategies import Finder, Found, Strategy, make_strategies


class TenantMiddleware:
    """Puts the request's tenant on `scope["state"]["tenant"]` and into `current_tenant()`, and enforces its limits.

    If the tenant had to be fetched for this very request, `scope["state"]["tenant_tier"]` says from where: "redis" or
    "postgres".

    `cache` is an engine of one's own; without it one is made from `settings`, or from the environment. Faults in the
    environment end the start of the application, with one message. (They are not raised here: servers take an exception
    at that point for an application without lifespan, and would serve on.) `reply` may replace each answer of ours, see
    `Reply`. `strategies` say how a request names its tenant, in place of those in the settings: see `strategies.py`.
    """

    def __init__(
        self,
        app: ASGIApp,
        cache: TenantCache | None = None,
        *,
        settings: Settings | None = None,
        reply: Reply | None = None,
        strategies: Sequence[Strategy | Finder | str] | None = None,
    ) -> None:
        if cache is not None and settings is not None:
            raise TypeError("give either a cache or settings: a cache has its own")
        self._inner = app
        self._plain = app if reply is None else _with_reply(app, reply)  # for requests with a tenant
        self._collecting = collecting(self._plain)
        self._reply = reply
        self._given_strategies = strategies
        self._hot: dict[Key | None, FastPath] = {}
        self._special_paths: tuple[str, ...] = ()
        self._has_proxies = self._has_strategies = False
        self._clock = clocks.now
        self._start(cache, settings)

    def _start(self, cache: TenantCache | None, settings: Settings | None = None) -> None:
        self._fault: ConfigurationError | None = None
        try:
            self._use(TenantCache(settings) if cache is None else cache)
        except ConfigurationError as fault:
            self._fault, self._hot, self._has_strategies = fault, {}, False

    def over(self, cache: TenantCache) -> Self:
        """The same middleware, around the same application, with `cache` for its engine."""
        other = copy(self)
        other._start(cache)
        return other

    def _use(self, cache: TenantCache) -> None:
        settings = cache.settings
        self.cache = cache
        self._has_proxies = bool(settings.trusted_proxies)
        self._request_host = RequestHost(settings.trusted_proxies)
        self._headers = LimitHeaders(settings)
        strategies = make_strategies(self._given_strategies, settings)
        self._admission = Admission(cache, self._request_host, strategies, self._headers)
        self._has_strategies = bool(strategies)
        self._special_paths = self._admission.special_paths
        self._next = self._plain
        self._hot = {}  # until the first tenant is served, see `_serve`
        self._clock = cache.clock

    # Only HTTP has a method: one comparison sends WebSockets, lifespan and OPTIONS (maybe a CORS preflight) to the slow
    # path. So does a target in absolute form, which begins with a letter (RFC 9112 3.2.2) and may name another host.
    # Three tricks, each for CPython 3.11. What is an attribute is held in a local before it is called, because no other
    # call of it is specialised (together 0.15 us a request). `single_host` is written out (0.05 us). A path is compared
    # with "0", the character after "/": that takes 0.03 us, and `startswith` four times as long.
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: PLR0912 - see above
        fast: FastPath | None = None
        host, clock = None, self._clock
        try:
            if scope["method"] == "OPTIONS" or (path := scope["path"]) >= "0" or path.startswith(self._special_paths):
                pass
            elif self._has_proxies:
                fast = self._hot.get(host := self._request_host.read(scope))
            else:
                for name, value in scope["headers"]:
                    if name == b"host":
                        if host is not None:
                            host = None
                            break
                        host = value
                else:
                    fast = self._hot.get(host)
        except KeyError:
            pass
        if not fast or (clock() >= (lease := fast.reservation).hot_until and not self._renew(fast)) or lease.left < 1:
            if (named := await self._serve_named(host, scope, receive, send)) is None:
                return
            fast, scope = named
            lease = fast.reservation
        lease.left -= 1
        if headers := fast.headers:
            send = headers.add_to(send, lease)
        fast.used = True
        app = self._next
        try:
            scope["state"]["tenant"] = fast.tenant
        except KeyError:
            scope["state"] = {"tenant": fast.tenant}
        token = begin(fast.serving)
        try:
            await app(scope, receive, send)
        except LimitExceededError as error:
            await self._refuse_route(error, scope, receive, send)
        finally:
            end(token)

    def _renew(self, fast: FastPath) -> bool:
        cache = self.cache
        if cache.route_limits:
            self._next = self._collecting  # header lines: until a route has a limit of its own that costs nothing
        return cache.fast_paths.renew(fast, cache.clock(), self._headers.of_lease)

    # Strategies may wait. So the look into the dict comes after them, and nothing waits between it and the token.
    async def _serve_named(
        self, host: bytes | None, scope: Scope, receive: Receive, send: Send
    ) -> tuple[FastPath, Scope] | None:
        """The fast path of the tenant that strategies name, and the scope to go on with; None if it has been served."""
        if host is None or not self._has_strategies or serving_of(scope) is not None:
            await self._serve_slowly(scope, receive, send)
            return None
        found = await self._admission.find_named(host, scope)
        fast = self.cache.memory.hot.get(found[0])
        if fast:
            lease = fast.reservation
            if (self._clock() < lease.hot_until or self._renew(fast)) and lease.left >= 1:
                return fast, found[1]
        await self._serve_found(found, receive, send)
        return None

    # The slow path.

    async def _serve_slowly(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if self._fault is not None:
            await self._fail(self._fault, scope, receive, send)
        elif kind in ("http", "websocket"):
            await self._serve(scope, receive, send)
        elif kind == "lifespan":
            await live(self.cache, self._inner, scope, receive, send, prepare=lambda: self._declare_limits(scope))
        else:
            await self._inner(scope, receive, send)

    def _declare_limits(self, scope: Scope) -> None:
        declare_limits(scope.get("app", self._inner), self.cache)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if serving_of(scope) is not None:
            await self._inner(scope, receive, send)  # another middleware, further out, has spent its token already
            return
        await self._serve_found(await self._admission.find(scope), receive, send)

    async def _serve_found(self, found: Found, receive: Receive, send: Send) -> None:
        match await self._admission.admit(found):
            case Bypass(scope):
                await self._pass_by(scope, receive, send)
            case Refuse(scope, problem, headers):
                await self._refuse(problem, scope, receive, adding(headers, send))
            case Redirect() as redirect:
                await redirect(found[1], receive, send)
            case Serve() as admitted:
                # The fast path does not look for an outer middleware: one that lies within another never comes here.
                if not self._has_strategies:
                    self._hot = self.cache.memory.hot
                await self._pass_on(admitted, receive, send)

    async def _refuse(self, problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
        answer: ASGIApp | None = self._reply(scope, problem) if self._reply is not None else None
        await (answer or problem)(scope, receive, send)

    async def _refuse_route(self, error: LimitExceededError, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for an application whose route has a limit of its own; `send` adds the tenant's own headers."""
        self.cache.refusals.note("limit_unavailable" if error.decision.unavailable else "route_limit")
        lines: Sequence[HeaderLine] = scope.get(HEADER_LINES, ())
        if not lines and self._headers.shows_standard:
            lines = ratelimit_headers(error.named_quotas)
        await self._refuse(limit_refusal(error.decision), scope, receive, adding(lines, send))

    # On to the application.

    async def _pass_on(self, admitted: Serve, receive: Receive, send: Send) -> None:
        scope, serving, headers = admitted
        scope.setdefault("state", {})["tenant"] = serving.tenant
        send = adding(headers, send)
        token = begin(serving)
        try:
            await self._collecting(scope, receive, send)
        except LimitExceededError as error:
            await self._refuse_route(error, scope, receive, send)
        finally:
            end(token)
            if self.cache.route_limits:
                self._next = self._collecting

    async def _pass_by(self, scope: Scope, receive: Receive, send: Send) -> None:
        """On to the application without a tenant, although the context may still have another request's."""
        scope.setdefault("state", {})["tenant"] = None
        token = begin(None)
        try:
            await self._inner(scope, receive, send)
        finally:
            end(token)

    async def _fail(self, fault: ConfigurationError, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await fail_to_start(fault, send)
        raise fault


def _with_reply(app: ASGIApp, reply: Reply) -> ASGIApp:
    def call(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        scope[REPLY] = reply
        return app(scope, receive, send)

    return call
