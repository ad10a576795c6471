"""What an application is told of the log of changes: one `Change` for each entry, in the order of the log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

VALUE, TAG, EXPIRED = "value:", "tag:", "expire:"
"""How the names of an entry begin that tells of values: see values/core/valuekey.py."""

DIGEST = "~"
"""How the rest of a name begins that is too long for the log."""

_ESCAPED = re.compile(rb"%([0-9A-F]{2})")

TenantKey = tuple[str | None, str]
"""A tenant's id, None if it is shared, and the key of a value or a tag."""


@dataclass(frozen=True, slots=True)
class Change:
    """What has changed. `everything`: it is not known what, so all that was kept may be old; then nothing is named.

    `tenant_id` is the tenant whose row, names or counters have changed, None if it was values. `values`, `tags` and
    `expired` are pairs of a tenant's id (None: shared) and a key: of values, of tags, and of tags that have expired.
    `unnamed`: some have names over 240 octets, and cannot be told.
    """

    everything: bool = False
    tenant_id: str | None = None
    values: tuple[TenantKey, ...] = ()
    tags: tuple[TenantKey, ...] = ()
    expired: tuple[TenantKey, ...] = ()
    unnamed: bool = False


EVERYTHING: Final = Change(everything=True)


def change_of(tenant_id: str, names: Sequence[str]) -> Change | None:
    """What an entry tells that does not concern everything. None if it concerns nothing, as one that only shows that
    others were published."""
    if tenant_id:
        return Change(tenant_id=tenant_id)
    values, tags, expired = (
        [name.removeprefix(kind) for name in names if name.startswith(kind)] for kind in (VALUE, TAG, EXPIRED)
    )
    told = [*values, *tags, *expired]
    if not told:
        return None
    return Change(
        values=_pairs(values),
        tags=_pairs(tags),
        expired=_pairs(expired),
        unnamed=any(name.startswith(DIGEST) for name in told),
    )


def _pairs(names: Iterable[str]) -> tuple[TenantKey, ...]:
    parts = (name.partition(":") for name in names if not name.startswith(DIGEST))
    return tuple((_unescape(tenant_id) if tenant_id else None, _unescape(key)) for tenant_id, _, key in parts)


def _unescape(part: str) -> str:
    octets = _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), part.encode())
    return octets.decode("utf-8", "replace")
