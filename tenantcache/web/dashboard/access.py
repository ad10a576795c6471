"""Who may see the page, and which forms are ours.

Rules:

* Every answer needs a True from the application's own check, files and streams included. An error in it is a no.
* A form counts only if the browser says that our own page has sent it (`Sec-Fetch-Site`, `Origin`), and if it has the
  token of this very form. A token is made of a secret that all processes of a fleet have, and of a cookie. So another
  site, and a tenant's page on a sibling host that may plant cookies, can make none.
* On a tenant's host there is no dashboard: what a tenant's page can do there, it must not do here.
"""

from __future__ import annotations

import hmac
import secrets
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from tenantcache.settings.model import Settings

COOKIE, SECURE_COOKIE = "tenantcache-dashboard", "__Host-tenantcache-dashboard"
"""The second one only over HTTPS: a browser lets no other host plant it."""

PROXY_HEADERS = ("x-forwarded-for", "x-forwarded-host", "forwarded", "via", "x-real-ip")


def from_this_machine(request: Request) -> bool:
    """Whether the browser runs on this machine, and was given a name of this machine. For development.

    The name counts because a page of another site may have its own name lead here. What came through a proxy is another
    machine's, wherever the proxy runs. One that speaks HTTP/1.1 and adds no header cannot be told from a browser.
    """
    is_proxied = request.scope.get("http_version") == "1.0" or any(name in request.headers for name in PROXY_HEADERS)
    if request.client is None or is_proxied:
        return False
    return _is_loopback(request.client.host) and _is_local_name(request.url.hostname or "")


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _is_local_name(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost") or _is_loopback(host)


def is_own_form(request: Request) -> bool:
    """Whether the browser says that one of our own pages has sent it. One that says nothing is refused."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == request.headers.get("host")


class FormTokens:
    """Tokens of forms. All processes that have the same database make and take the same ones."""

    def __init__(self, settings: Settings) -> None:
        self._key = hmac.digest(settings.database_url.encode(), b"tenantcache dashboard forms", "sha256")

    def cookie_of(self, request: Request) -> str:
        """The value of the browser's cookie; a new one if it has none."""
        return request.cookies.get(_cookie_name(request)) or secrets.token_urlsafe(18)

    def keep(self, response: Response, request: Request, cookie: str) -> None:
        if request.cookies.get(name := _cookie_name(request)) != cookie:
            secure = name == SECURE_COOKIE
            response.set_cookie(name, cookie, path="/", secure=secure, httponly=True, samesite="strict")

    def make(self, cookie: str, action: str, tenant_id: str) -> str:
        text = "\n".join((cookie, action, tenant_id))
        return hmac.new(self._key, text.encode("utf-8", "surrogatepass"), "sha256").hexdigest()

    def is_right(self, request: Request, token: str, action: str, tenant_id: str) -> bool:
        cookie = request.cookies.get(_cookie_name(request))
        made = "" if cookie is None else self.make(cookie, action, tenant_id)
        return cookie is not None and hmac.compare_digest(made.encode(), token.encode("utf-8", "surrogatepass"))


def _cookie_name(request: Request) -> str:
    return SECURE_COOKIE if request.url.scheme == "https" else COOKIE
