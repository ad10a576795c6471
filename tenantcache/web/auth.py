"""How those who mount a page of ours say who may see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable

from starlette.requests import Request
from starlette.responses import Response

Auth = Callable[[Request], bool | Response | Awaitable[bool | Response]]
"""Whether a request may see the page: only True lets it pass. A `Response` is sent in place of the page."""


async def ask(auth: Auth, request: Request) -> bool | Response:
    """What `auth` says, True only if it is that very object. Raises what it raises."""
    answer = auth(request)
    if isawaitable(answer):
        answer = await answer
    return answer if isinstance(answer, Response) else answer is True
