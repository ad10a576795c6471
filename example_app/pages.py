"""HTML out of templates. What a tenant wrote about itself is text: it is escaped, and no script but ours may run."""

from __future__ import annotations

import re
import secrets
from math import ceil

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

DEFAULT_COLOUR = "#4f46e5"

_templates = Environment(
    loader=PackageLoader(__name__.rpartition(".")[0]),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, status: int = 200, **values: object) -> HTMLResponse:
    """Answer with a template; `values` are what it shows."""
    nonce = secrets.token_urlsafe(16)
    headers = {
        # Styles and scripts are in the page itself, so that looking at it costs a tenant one request and not three.
        "Content-Security-Policy": f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; "
        "img-src data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(_templates.get_template(template).render(values, nonce=nonce), status, headers)


def colour_of(value: object) -> str:
    """`value` if it is a colour like #2563eb, else a default: a tenant's attributes may hold anything."""
    return value if isinstance(value, str) and re.fullmatch("#[0-9a-fA-F]{6}", value) else DEFAULT_COLOUR


def format_duration(seconds: float) -> str:
    """`seconds` rounded up to what a person wants to know: 31 s, 40 min, 15 h. live.js does the same."""
    if seconds < 120:
        return f"{ceil(seconds)} s"
    return f"{ceil(seconds / 60)} min" if seconds < 7200 else f"{ceil(seconds / 3600)} h"


_templates.filters |= {"colour": colour_of, "duration": format_duration, "thousands": "{:,}".format}
