"""How a webhook is signed: as Standard Webhooks says (specification 1.0.0), so that receivers have libraries for it.

The headers are `webhook-id`, `webhook-timestamp` (seconds since the Unix epoch, of this attempt) and
`webhook-signature`. The last is "v1," and the base64 of HMAC-SHA256 over "{id}.{timestamp}.{body}". The key is what the
secret has after "whsec_", in base64. An id stays the same when a message is sent again, so receivers can drop repeats.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

SECRET_PREFIX = "whsec_"

LEAST_KEY, MOST_KEY = 24, 64
"""Bytes, by the specification."""

SECRET_EXAMPLE = "whsec_ and 32 random bytes in base64"


def key_of(secret: str) -> bytes:
    """The key in `secret`. Raises ValueError if that is not one."""
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError(f"does not begin with {SECRET_PREFIX}; give {SECRET_EXAMPLE}")
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"is not base64 after {SECRET_PREFIX}; give {SECRET_EXAMPLE}") from None
    if not LEAST_KEY <= len(key) <= MOST_KEY:
        raise ValueError(f"has a key of {len(key)} bytes; give {SECRET_EXAMPLE}: from {LEAST_KEY} to {MOST_KEY} bytes")
    return key


def signed_headers(key: bytes, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of one attempt to send `body`."""
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
