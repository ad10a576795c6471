"""HTML out of templates. What others have written is text: jinja2 escapes all of it, and no script but ours may run."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import partial
from importlib.resources import files
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

from tenantcache.web.dashboard import figures
from tenantcache.web.dashboard.sparkline import bar, sparkline

STATIC = {"dashboard.css": "text/css", "dashboard.js": "text/javascript"}

PARTS = ("notices", "traffic", "answers", "budget", "tenants", "processes", "events", "changes")
"""Parts of the page that a stream replaces, each a template."""

SECURITY = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}

REASONS = (
    ("denied", "Limit used up", "429"),
    ("unavailable", "No store to count in", "503"),
    ("over_budget", "Flood of unknown hosts", "503"),
    ("unknown", "Unknown host", "404"),
    ("closed", "Suspended, in maintenance or deleted", "403, 503, 410"),
    ("malformed", "Malformed Host", "400"),
)
"""Counts, and what they say."""

EVENTS = {
    ("counters", "postgres"): ("bad", "Limits are counted in Postgres"),
    ("counters", "redis"): ("good", "Limits are counted in Redis again"),
    ("redis", "answering"): ("good", "Redis answers again"),
    ("redis", "failing"): ("warn", "Redis fails"),
    ("redis", "gone"): ("bad", "Redis does not answer"),
    ("redis", "refusing"): ("bad", "Redis refuses commands: the quota is used up"),
    ("redis", "suspended"): ("bad", "Redis is suspended by its provider"),
    ("log", "lost"): ("bad", "Postgres does not answer: the log of changes is lost"),
    ("log", "followed"): ("good", "The log of changes is followed again"),
    ("memory", "unchecked"): ("warn", "Tenants in memory are not known to be fresh"),
    ("memory", "fresh"): ("good", "Tenants in memory are fresh again"),
    ("band", "normal"): ("good", "The Redis budget is in the band “normal” again"),
    ("band", "thrift"): ("warn", "The Redis budget is in the band “thrift”"),
    ("band", "no copies"): ("warn", "The Redis budget is in the band “no copies”"),
    ("band", "no Redis"): ("bad", "The Redis budget is in the band “no Redis”"),
}

STORES = {"redis": "Redis", "postgres": "Postgres"}


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tenantcache.web.dashboard"),
        autoescape=True,
        auto_reload=False,  # a new version on the disk belongs to the next process
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = ("count", "rate", "share", "money", "span", "clock", "date", "isotime")
    environment.filters |= {name: getattr(figures, name) for name in names}
    environment.globals |= {"sparkline": sparkline, "bar": bar, "reasons": REASONS, "told": EVENTS, "stores": STORES}
    return environment


class Pages:
    """Renders pages below the prefix that the application is mounted at."""

    def __init__(self) -> None:
        self._environment = _environment()

    def parts(self, prefix: str, values: Mapping[str, object]) -> dict[str, str]:
        """The parts of the front page, as HTML."""
        made = {name: self._environment.get_template(f"parts/{name}.html") for name in PARTS}
        return {
            name: template.render(values, prefix=prefix, link=partial(_link, prefix)) for name, template in made.items()
        }

    def page(self, template: str, request: Request, status: int = 200, **values: object) -> Response:
        nonce, prefix = secrets.token_urlsafe(16), prefix_of(request)
        html = self._environment.get_template(template).render(
            values, nonce=nonce, prefix=prefix, link=partial(_link, prefix)
        )
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self';"
            " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        return Response(html, status, {**SECURITY, "Content-Security-Policy": policy}, "text/html")

    def static(self, name: str) -> Response | None:
        kind = STATIC.get(name)
        if kind is None:
            return None
        content = files("tenantcache.web.dashboard").joinpath("static", name).read_bytes()
        return Response(content, 200, {**SECURITY, "Content-Security-Policy": "default-src 'none'"}, kind)


def _link(prefix: str, tenant_id: str) -> str:
    """The page of a tenant."""
    return f"{prefix}/tenant?id={quote(tenant_id, safe='', errors='surrogatepass')}"


def prefix_of(request: Request) -> str:
    """The path that the application is mounted at, as the browser knows it."""
    return prefix_at(str(request.scope.get("root_path", "")))


def prefix_at(root_path: str) -> str:
    return quote(root_path.rstrip("/"))
