"""What a client gets instead of the application: RFC 9457 `application/problem+json`.

A body never repeats the Host header: it is whatever the client chose to send, and bodies end up in logs and pages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Problem"]

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
TEMPORARY_REDUCED_CAPACITY = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
"""Registered by draft-ietf-httpapi-ratelimit-headers."""

CLOSE_POLICY_VIOLATION = 1008
CLOSE_TRY_AGAIN_LATER = 1013
"""WebSocket close codes: RFC 6455 7.4.1, and the IANA registry that it set up."""


REPLY = "tenantcache.reply"
"""The key in a scope under which its middleware's `Reply` travels with the request, for what answers further in."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal. `retry_after` is in whole seconds; `members` are further members of the JSON object."""

    status: int
    title: str
    detail: str
    type: str = "about:blank"
    retry_after: int | None = None
    members: Mapping[str, Any] = field(default_factory=dict)
    headers: tuple[tuple[bytes, bytes], ...] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an HTTP request, or refuse a WebSocket."""
        if scope["type"] == "websocket":
            await self._refuse_websocket(scope, receive, send)
        else:
            await self._respond(send, "http.response")

    async def _refuse_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect: an answer before the question is against the protocol
        if "websocket.http.response" in (scope.get("extensions") or {}):
            await self._respond(send, "websocket.http.response")
        else:
            code = CLOSE_POLICY_VIOLATION if self.retry_after is None else CLOSE_TRY_AGAIN_LATER
            await send({"type": "websocket.close", "code": code, "reason": self.title})

    async def _respond(self, send: Send, kind: str) -> None:
        body = self.body()
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(body)),
            # A tenant may be created or resumed a second later; no cache in between may remember this.
            (b"cache-control", b"no-store"),
            *self.headers,
        ]
        if self.retry_after is not None:
            headers.append((b"retry-after", b"%d" % self.retry_after))
        await send({"type": f"{kind}.start", "status": self.status, "headers": headers})
        await send({"type": f"{kind}.body", "body": body})

    def body(self) -> bytes:
        members = {"type": self.type, "title": self.title, "status": self.status, "detail": self.detail}
        return json.dumps(members | dict(self.members), separators=(",", ":")).encode()


Reply = Callable[[Scope, Problem], ASGIApp | None]
"""Makes an answer of one's own out of a problem; None keeps ours."""


BAD_HOST = Problem(400, "Bad Request", "The request must carry exactly one valid Host header.")
UNKNOWN_HOST = Problem(404, "Not Found", "There is no tenant at this address.")
SUSPENDED = Problem(403, "Forbidden", "This tenant is suspended.")
DELETED = Problem(410, "Gone", "There is no tenant at this address any more.")
MAINTENANCE = Problem(503, "Service Unavailable", "This tenant is under maintenance.", retry_after=60)


_PROBLEMS: dict[str, Problem] = {
    "malformed": BAD_HOST,
    "unknown": UNKNOWN_HOST,
    "foreign": UNKNOWN_HOST,
    "suspended": SUSPENDED,
    "maintenance": MAINTENANCE,
    "deleted": DELETED,
}


def problems_of(status_codes: Mapping[str, int]) -> dict[str, Problem]:
    """The answer for each reason to refuse a request, with the status that is configured for it, if any."""
    return {
        reason: replace(problem, status=status_codes[reason], title=HTTPStatus(status_codes[reason]).phrase)
        if reason in status_codes
        else problem
        for reason, problem in _PROBLEMS.items()
    }


def unavailable(retry_after: int) -> Problem:
    return Problem(503, "Service Unavailable", "The tenant cannot be looked up at the moment.", retry_after=retry_after)
