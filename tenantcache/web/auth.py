"""How those who mount a page of ours say who may see it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from inspect import isawaitable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

logger = logging.getLogger(__name__)

Auth = Callable[[Request], bool | Response | Awaitable[bool | Response]]
"""Whether a request may see the page: only True lets it pass. A `Response` is sent in place of the page."""


async def ask(auth: Auth, request: Request) -> bool | Response:
    """What `auth` says, True only if it is that very object. Raises what it raises."""
    answer = auth(request)
    if isawaitable(answer):
        answer = await answer
    return answer if isinstance(answer, Response) else answer is True


async def refusal_of(auth: Auth, request: Request, what: str) -> Response | None:
    """What a request gets that may not see `what`; None: it may. Only True lets it pass."""
    try:
        answer = await ask(auth, request)
    except HTTPException as error:
        return Response(str(error.detail), error.status_code, error.headers, "text/plain")
    except Exception:
        logger.exception("the auth of %s has failed; the request is refused", what)
        return Response("It could not be checked whether you may see this.", 500, media_type="text/plain")
    if isinstance(answer, Response):
        return answer
    return None if answer else Response("You may not see this.", 403, media_type="text/plain")
