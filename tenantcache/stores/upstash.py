"""Upstash's Developer API, for what it has billed.

`GET /v2/redis/stats/{id}`, with the account's e-mail address and an API key, has `total_monthly_requests`
(upstash.com/docs/devops/developer-api/redis/get_database_stats).
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tenantcache.budget.provider import ProviderError

API_URL = "https://api.upstash.com/v2"

TIMEOUT = 5.0
"""Seconds. A loop that ends meanwhile waits for it."""

MAX_ANSWER = 4_000_000
"""Bytes. The answer has some series of points, 20 kB in all."""

_REASONS = {
    401: "rejects the credentials; see TENANTCACHE_UPSTASH_EMAIL and TENANTCACHE_UPSTASH_API_KEY",
    403: "does not let this account read it; see TENANTCACHE_UPSTASH_EMAIL and TENANTCACHE_UPSTASH_API_KEY",
    404: "has no database of this id; see TENANTCACHE_UPSTASH_DATABASE_ID",
    429: "was asked too often",
}


class _NoRedirects(HTTPRedirectHandler):
    """The credentials are for one host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class UpstashProvider:
    """`Provider`. `timeout` is in seconds, for each step of the exchange."""

    def __init__(
        self, email: str, api_key: str, database_id: str, *, url: str = API_URL, timeout: float = TIMEOUT
    ) -> None:
        self._url = f"{url}/redis/stats/{quote(database_id, safe='')}"
        self._authorization = "Basic " + b64encode(f"{email}:{api_key}".encode()).decode("ascii")
        self._timeout = timeout

    async def read(self) -> int:
        try:
            async with asyncio.timeout(2 * self._timeout):  # an answer may come byte by byte
                answer = await asyncio.to_thread(self._fetch)
        except HTTPError as error:
            raise _failure(_REASONS.get(error.code, f"answers {error.code}")) from None
        except TimeoutError:
            raise _failure("did not answer in time") from None
        except (OSError, HTTPException) as error:
            raise _failure(f"cannot be asked ({getattr(error, 'reason', error)})") from None
        return _requests_in(answer)

    def _fetch(self) -> bytes:
        request = Request(self._url, headers={"Authorization": self._authorization, "Accept": "application/json"})
        with build_opener(_NoRedirects).open(request, timeout=self._timeout) as response:
            answer: bytes = response.read(MAX_ANSWER)
        return answer


def _requests_in(answer: bytes) -> int:
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        raise _failure("answers what is not JSON") from None
    requests = found.get("total_monthly_requests") if isinstance(found, dict) else None
    if type(requests) is not int or requests < 0:
        raise _failure("does not say total_monthly_requests")
    return requests


def _failure(what: str) -> ProviderError:
    return ProviderError(f"Upstash's Developer API {what}")
