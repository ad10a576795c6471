"""The tier in the process: entries by alias in a TTL cache, and by what requests contain in front of it.

Rules:

* The cache (a `cachetools.TLRUCache`) owns every entry. When one leaves it, for whatever reason, its spellings and
  its place in the index by tenant go with it.
* cachetools treats an expired item as absent and keeps it: `pop` and `get` would leave it in `hot` and in the index by
  tenant. So each look into the cache lets expired entries leave first, and reads the clock once. What
  is then still in the cache has not expired, and what has expired is in no map.
* `hot` is the only thing that a hot request looks into: one dict from a key (the raw Host bytes, or another raw name)
  to the fast path of an entry. It holds what may be served without a second thought (an active tenant); anything else
  takes the slow path.
* One alias has endless spellings (case, port, root dot). An entry keeps the first few that came by. So a client
  that makes up spellings can neither fill the memory nor push out a tenant.
* A hot request does not touch the cache's own order, which would cost more than the lookup. It sets `used`, and
  eviction gives what was used since the last look a second chance (the CLOCK algorithm, Corbato 1968).
* Negatives live apart: a flood of unknown hosts evicts other negatives, never a tenant.
* An entry older than `ttl` is due to be read again. The log vouches for it all the same, so this only bounds the
  damage if the triggers are switched off. `due` hands such entries out in the order of their age, to be read in one
  query for many. An entry that is due may be served stale for `grace` seconds, and expires then. If another `ttl` is
  longer, it expires after that: it must still be held when its turn to be read comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from cachetools import TLRUCache, TTLCache

from tenantcache.lookup.fastpath import FastPath, Key
from tenantcache.runtime.clock import Clock
from tenantcache.stats import MemoryStats
from tenantcache.tenant import Tenant

MAX_SPELLINGS = 4
"""Browsers send one spelling of a host, a load balancer's health checks perhaps another; four leave room."""

MAX_SECOND_CHANCES = 16
"""Bounds the work of one eviction. With a working set that fits, the first few candidates hold a stale entry."""


@dataclass(slots=True, eq=False)
class Entry:
    """What an alias leads to. `tenant` is None for a negative. `fast_path` is None until requests may find it.

    `read_at` is when the read was sent, -inf for a copy from Redis (only the log vouches for that one).
    `due` is when it should be read again. `tier` is the place where it was found: "redis", "postgres" or "index".
    `served` is true once a request was served from it.
    """

    alias: str
    tenant: Tenant | None
    watermark: float
    read_at: float
    due: float
    tier: str
    fast_path: FastPath | None = None
    served: bool = False
    spellings: tuple[Key, ...] = ()


class _TenantEntries(TLRUCache[str, Entry]):
    """A TTL cache that tells what leaves by itself, and that gives what was used a second chance."""

    def __init__(self, max_entries: int, overtime: float, timer: Clock, on_leave: Callable[[Entry], None]) -> None:
        super().__init__(max_entries, lambda _alias, entry, _now: entry.due + overtime, timer=timer)
        self._on_leave = on_leave

    def held(self, alias: str) -> Entry | None:
        with self.timer as now:
            self.expire(now)
            return self.get(alias)

    def hold(self, entry: Entry) -> bool:
        """Take `entry` in; False if it has expired already."""
        with self.timer:
            self[entry.alias] = entry
            return self.get(entry.alias) is entry

    def take(self, alias: str) -> Entry | None:
        """Take the entry of `alias` out, if there is one; `on_leave` is not told."""
        with self.timer as now:
            self.expire(now)
            return cast("Entry | None", self.pop(alias, None))

    def popitem(self) -> tuple[str, Entry]:
        with self.timer:  # at a later instant, what is put back might have expired, and would be lost
            for _ in range(MAX_SECOND_CHANCES):
                alias, entry = super().popitem()
                path = entry.fast_path
                if path is None or not path.used:
                    break
                path.used = False
                super().__setitem__(alias, entry)
            else:
                alias, entry = super().popitem()
        self._on_leave(entry)
        return alias, entry

    def expire(self, time: float | None = None) -> list[Any]:
        expired = cast("list[Any]", super().expire(time))
        for _, entry in expired:
            self._on_leave(entry)
        return expired


class Memory:
    """Entries by alias, by tenant and by key. Sizes are in entries (one an alias), times in seconds.

    `grace`: for how long an entry past `ttl` may be served stale.
    """

    def __init__(
        self,
        *,
        max_tenants: int,
        ttl: float,
        grace: float,
        negative_ttl: float,
        clock: Clock,
        max_negatives: int = 10_000,
    ) -> None:
        self.ttl = ttl
        self.hot: dict[Key | None, FastPath] = {}
        self.evictions: int = 0
        self._clock = clock
        self._entries = _TenantEntries(max_tenants, max(grace, ttl), clock, self._left)
        self._negatives: TTLCache[str, Entry] = TTLCache(max_negatives, negative_ttl, timer=clock)
        # Most tenants have one entry: a tuple for each would be a fifth of what the garbage collector walks through.
        self._by_tenant: dict[str, Entry | tuple[Entry, ...]] = {}
        self._by_age: deque[Entry] = deque()

    def get(self, alias: str) -> Entry | None:
        """The entry of `alias`, however stale: whether it may be served is not for this class to say."""
        entry = self._entries.held(alias)
        if entry is None:
            entry = self._negatives.get(alias)
        return entry

    def put(self, entry: Entry) -> None:
        """Install `entry` in place of what its alias led to before."""
        self.drop_alias(entry.alias)
        if entry.tenant is None:
            self._negatives[entry.alias] = entry
            return
        if self._entries.hold(entry):
            self._index(entry.tenant.id, (*self.of_tenant(entry.tenant.id), entry))
            self._by_age.append(entry)

    def spell(self, key: Key, entry: Entry) -> None:
        """Let `key` lead to the fast path of `entry`, if the entry is still held and has room for a spelling."""
        is_new = key not in entry.spellings and len(entry.spellings) < MAX_SPELLINGS
        if is_new and self._entries.held(entry.alias) is entry:
            assert entry.fast_path is not None
            self.hot[key] = entry.fast_path
            entry.spellings = (*entry.spellings, key)

    def of_tenant(self, tenant_id: str) -> Sequence[Entry]:
        found = self._by_tenant.get(tenant_id, ())
        return (found,) if isinstance(found, Entry) else found

    def tenants(self) -> list[Tenant]:
        """Each tenant that is held."""
        found = (entries if isinstance(entries, Entry) else entries[0] for entries in self._by_tenant.values())
        return [entry.tenant for entry in found if entry.tenant is not None]

    def drop_alias(self, alias: str) -> None:
        self._negatives.pop(alias, None)
        entry = self._entries.take(alias)
        if entry is not None:
            self._forget(entry)

    def drop_older(self, alias: str, watermark: float) -> None:
        """Drop the entry of `alias` if it is older than that."""
        entry = self.get(alias)
        if entry is not None and entry.watermark < watermark:
            self.drop_alias(alias)

    def drop_with_siblings(self, alias: str, tenant_id: str | None) -> None:
        """Drop the entry of `alias` and all entries of that tenant."""
        siblings = [] if tenant_id is None else self.of_tenant(tenant_id)
        for held in {alias, *(sibling.alias for sibling in siblings)}:
            self.drop_alias(held)

    def drop_contradicted(self, tenant: Tenant, watermark: float) -> None:
        """Drop the tenant's entries that are older than `watermark`, and show another row than `tenant`."""
        for sibling in self.of_tenant(tenant.id):
            # Two reads of pending changes between the same entries may have seen different ones.
            is_older = sibling.watermark < watermark or (sibling.watermark == watermark and watermark % 1 > 0)
            if is_older and sibling.tenant != tenant:
                self.drop_alias(sibling.alias)

    def clear(self) -> None:
        self.hot.clear()
        self._by_tenant.clear()
        self._negatives.clear()
        self._entries.clear()
        self._by_age.clear()

    def due(self, most: int) -> list[Entry]:
        """At most `most` entries that are held and should be read again, oldest first; each is handed out once."""
        now = self._clock()
        self._entries.expire(now)  # a quiet process has no other occasion
        found: list[Entry] = []
        while self._by_age and self._by_age[0].due <= now and len(found) < most:
            entry = self._by_age.popleft()
            if self._entries.held(entry.alias) is entry:
                found.append(entry)
        return found

    def still_due(self, entries: Sequence[Entry]) -> None:
        """Hand out again what `due` has handed out and could not be read."""
        self._by_age.extendleft(reversed(entries))

    def stats(self) -> MemoryStats:
        return {"tenants": len(self), "negatives": self.negatives, "evictions": self.evictions}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def negatives(self) -> int:
        return len(self._negatives)

    def _left(self, entry: Entry) -> None:
        self.evictions += 1
        self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        for key in entry.spellings:
            self.hot.pop(key, None)
        entry.spellings = ()
        assert entry.tenant is not None
        self._index(
            entry.tenant.id, tuple(sibling for sibling in self.of_tenant(entry.tenant.id) if sibling is not entry)
        )

    def _index(self, tenant_id: str, entries: tuple[Entry, ...]) -> None:
        if entries:
            self._by_tenant[tenant_id] = entries if len(entries) > 1 else entries[0]
        else:
            self._by_tenant.pop(tenant_id, None)
