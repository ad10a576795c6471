"""What an alias leads to, as requests find it in memory."""

from __future__ import annotations

from dataclasses import dataclass

from tenantcache.lookup.fastpath import FastPath, Key
from tenantcache.tenant import Tenant


@dataclass(slots=True, eq=False)
class Entry:
    """What an alias leads to. `tenant` is None for a negative. `fast_path` is None until requests may find it.

    `read_at` is when the read was sent, -inf for a copy from Redis (only the log vouches for that one).
    `due` is when it should be read again. `tier` is the place where it was found: "redis", "postgres" or "index".
    `served` is true once a request was served from it. `idle` is set by each look for entries to pack, and taken back
    when the entry is asked for.
    """

    alias: str
    tenant: Tenant | None
    watermark: float
    read_at: float
    due: float
    tier: str
    served: bool = False
    fast_path: FastPath | None = None
    spellings: tuple[Key, ...] = ()
    idle: bool = False
