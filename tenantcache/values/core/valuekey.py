"""The names of values: in Redis, and in the log of changes.

Every part is escaped, so that no name of one tenant can be read as another's. What stands between the parts is never in
them. A value that belongs to no tenant has an empty part in place of one, which no tenant's id is.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

MAX_OCTETS: Final = 250
"""Of a name in the log, which leaves names over 300 octets out (log.sql), and of one in Redis. Longer ones are told by
their SHA-256."""

# A colon may stand in the last part alone. `~` begins a digest, `#` a type, and braces choose a slot of a cluster.
_NOT_IN_TENANT = re.compile(rb"[^A-Za-z0-9_.@/=+,-]")
_NOT_IN_KEY = re.compile(rb"[^A-Za-z0-9_.@/=+,:-]")


def text_of(what: str, given: object) -> str:
    """Raises TypeError for anything but a text: 7 and "7" would be two values in memory, and one in Redis."""
    if not isinstance(given, str):
        raise TypeError(f"{given!r:.80} cannot be {what}; give a text")
    return given


def _escape(allowed_not: re.Pattern[bytes], text: str) -> str:
    octets = text_of("a key or a tag", text).encode("utf-8", "surrogatepass")
    return allowed_not.sub(lambda found: b"%%%02X" % found[0][0], octets).decode("ascii")


def _name(tenant_id: str | None, key: str) -> str:
    name = f"{'' if tenant_id is None else _escape(_NOT_IN_TENANT, tenant_id)}:{_escape(_NOT_IN_KEY, key)}"
    return name if len(name) <= MAX_OCTETS - 10 else f"~{hashlib.sha256(name.encode()).hexdigest()}"


def value_name(tenant_id: str | None, key: str) -> str:
    """In the log: that value has changed."""
    return f"value:{_name(tenant_id, key)}"


def tag_name(tenant_id: str | None, tag: str) -> str:
    """In the log: what has the tag is not served again."""
    return f"tag:{_name(tenant_id, tag)}"


def expiry_name(tenant_id: str | None, tag: str) -> str:
    """In the log: what has the tag is served while it is loaded again, and not after that."""
    return f"expire:{_name(tenant_id, tag)}"


def redis_key(prefix: str, tenant_id: str | None, key: str, fingerprint: str) -> str:
    """`{prefix}:value:{tenant}:{key}`, and the fingerprint of the type after `#`, unless that is empty."""
    name = f"{prefix}:value:{_name(tenant_id, key)}"
    return f"{name}#{fingerprint}" if fingerprint else name
