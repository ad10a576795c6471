"""What a person sees in place of a problem document: a small page with the same status and headers."""

from __future__ import annotations

from starlette.types import ASGIApp, Scope

from tenantcache import Reply, Settings
from tenantcache.web.problems import Problem

from .pages import render


def html_for_browsers(settings: Settings) -> Reply:
    """Make the `reply` of `TenantMiddleware`: HTML for clients that accept it, the problem for all others."""
    apex = settings.base_domains[0]

    def reply(scope: Scope, problem: Problem) -> ASGIApp | None:
        if scope["type"] != "http" or not _accepts_html(scope):
            return None
        # Not from the Host header, which is whatever the client sent, and perhaps why we are here.
        apex_url = f"{scope['scheme']}://{apex}:{scope['server'][1]}/" if scope.get("server") else None
        page = render("refusal.html", problem.status, problem=problem, apex_url=apex_url)
        page.headers["Vary"] = "Accept"
        if problem.retry_after is not None:
            page.headers["Retry-After"] = str(problem.retry_after)
        page.raw_headers.extend(problem.headers)
        return page

    return reply


def _accepts_html(scope: Scope) -> bool:
    # Browsers name it; curl and fetch() send */* and get the problem document.
    return any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])
