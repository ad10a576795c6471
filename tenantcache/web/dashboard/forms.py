"""Reads what our own forms send: a few short texts. So no package for uploads is needed."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.requests import Request

MAX_BODY = 8_192
"""Octets: an id of 255 characters, percent-encoded, and a token."""


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form; nothing of one that is too long, or is not `application/x-www-form-urlencoded`."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        return {}
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            return {}
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=10))
    except ValueError:
        return {}
