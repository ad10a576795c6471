"""The tier in the process: entries by alias, and by what requests contain in front of them.

Rules:

* An entry is *live* or *packed*. What fills memory ahead of requests packs it, and a request that asks for it makes it
  live. `tidy` packs again what was not asked for since its last look. Packed entries are bytes in dicts that hold
  nothing else (`shards.py`), so the garbage collector passes them by. Its work grows with the tenants that are asked
  for, not with those that are held.
* When an entry leaves memory, for whatever reason, its spellings and its place in the index by tenant go with it.
* An entry that has expired is never found. Each look lets live ones leave first: then what is still in `hot` has not
  expired. Packed ones leave when they are looked for, and when `tidy` comes by.
* `hot` is the only thing that a hot request looks into: one dict from a key (the raw Host bytes, or another raw name)
  to the fast path of an entry. It holds what may be served without a second thought (an active tenant); anything else
  takes the slow path.
* One alias has endless spellings (case, port, root dot). An entry keeps the first few that came by. So a client
  that makes up spellings can neither fill the memory nor push out a tenant.
* Packed entries are evicted first, those packed longest ago before others. Live ones follow in the order in which they
  were looked for. A hot request does not touch that order, which would cost more than the lookup. It sets `used`, and
  eviction gives what was used since the last look a second chance (the CLOCK algorithm, Corbato 1968).
* Negatives live apart: a flood of unknown hosts evicts other negatives, never a tenant.
* An entry older than `ttl` is due to be read again. The log vouches for it all the same, so this only bounds the
  damage if the triggers are switched off. `due` hands such entries out in the order of their age, to be read in one
  query for many. An entry that is due may be served stale for `grace` seconds, and expires then. If another `ttl` is
  longer, it expires after that: it must still be held when its turn to be read comes.
* Nothing here takes long, however much is held. `clear` puts aside what it drops, and `tidy` frees it in small parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import islice

from cachetools import TTLCache

from tenantcache.lookup.core.packing import Reading
from tenantcache.lookup.entry import Entry
from tenantcache.lookup.fastpath import FastPath, Key
from tenantcache.lookup.heldentries import HeldEntries, take_used
from tenantcache.runtime.clock import Clock
from tenantcache.stats import MemoryStats
from tenantcache.tenant import Tenant

MAX_SPELLINGS = 4
"""Browsers send one spelling of a host, a load balancer's health checks perhaps another; four leave room."""

PACKING_INTERVAL = 300.0
"""Seconds between two looks at a live entry: one that is asked for less often is packed, and its next request takes
some 10 us more."""

STEP = 100
"""Entries that leave, or are looked at, in one step: a millisecond if all of them are packed."""


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
        self.displaced: int = 0
        self._clock, self._max = clock, max_tenants
        self._overtime = max(grace, ttl)
        self._held = HeldEntries(max_tenants)
        self._negatives: TTLCache[str, Entry] = TTLCache(max_negatives, negative_ttl, timer=clock)
        self._to_look_at: Iterator[tuple[str, Entry]] = iter(())
        self._next_look = clock() + PACKING_INTERVAL
        self._dropped: list[Sized] = []

    def get(self, alias: str) -> Entry | None:
        """The entry of `alias`, however stale: whether it may be served is not for this class to say."""
        entry = self._look(alias)
        if entry is None:
            return self._negatives.get(alias)
        entry.idle = False
        self._held.live.put(alias, entry)
        return entry

    def holds(self, alias: str) -> bool:
        """Whether there is an entry of `alias`."""
        due = self._held.due_of(alias)
        return alias in self._negatives if due is None else due > self._clock() - self._overtime

    def put(self, entry: Entry) -> None:
        """Install `entry` in place of what its alias led to before."""
        now = self._clock()
        self._expire(now)
        is_held = entry.tenant is not None and entry.due > now - self._overtime
        if is_held and entry.tenant is not None and self._held.tenant_id_of(entry.alias) == entry.tenant.id:
            if (old := self._held.replace(entry)) is not None and old is not entry:
                self._unspell(old)
            return
        self.drop_alias(entry.alias)
        if entry.tenant is None:
            self._negatives[entry.alias] = entry
        elif entry.due > now - self._overtime:
            self._make_room()
            self._held.hold(entry, entry.tenant.id)

    def put_packed(self, aliases: Sequence[str], reading: Reading) -> None:
        """Install what was read under `aliases`, in place of what they led to before, until requests ask for it."""
        aliases = aliases[: self._max]
        for alias in aliases:
            self.drop_alias(alias)
        self._make_room(len(aliases))
        self._held.hold_packed(aliases, reading)

    def pack(self, aliases: Iterable[str]) -> None:
        """Pack the entries of `aliases` to which no request has a fast path."""
        live = (self._held.live.get(alias) for alias in aliases)
        self._held.pack([entry for entry in live if entry is not None and entry.fast_path is None])

    def spell(self, key: Key, entry: Entry) -> None:
        """Let `key` lead to the fast path of `entry`, if the entry is still held and has room for a spelling."""
        is_new = key not in entry.spellings and len(entry.spellings) < MAX_SPELLINGS
        if is_new and self._look(entry.alias) is entry:
            assert entry.fast_path is not None
            self.hot[key] = entry.fast_path
            entry.spellings = (*entry.spellings, key)

    def aliases_of(self, tenant_id: str) -> Sequence[str]:
        """The aliases under which the tenant is held."""
        return self._held.aliases_of(tenant_id)

    def tenants_of(self, tenant_id: str) -> Sequence[Tenant]:
        """The tenant as it is held: as each of its entries shows it, each row once. What is packed stays so."""
        return self._held.tenants_of(tenant_id)

    def live_of(self, tenant_id: str) -> Sequence[Entry]:
        """Those that are live: only they have a fast path."""
        return [entry for alias in self.aliases_of(tenant_id) if (entry := self._held.live.get(alias)) is not None]

    def tenant_of(self, tenant_id: str) -> Tenant | None:
        """The tenant as it was read last, if it is held. What is packed stays so."""
        return self._held.tenant_of(tenant_id)

    @property
    def tenant_count(self) -> int:
        return len(self._held.by_tenant)

    def tenants(self) -> Iterator[Tenant]:
        """Each tenant that is held. Memory may change between two of them."""
        for tenant_id, _ in self._held.by_tenant.items():
            if (tenant := self.tenant_of(tenant_id)) is not None:
                yield tenant

    def drop_alias(self, alias: str) -> None:
        self._negatives.pop(alias, None)
        entry = self._held.remove(alias)
        if entry is not None:
            self._unspell(entry)

    def drop_older(self, alias: str, watermark: float) -> None:
        """Drop the entry of `alias` if it is older than that."""
        held = self._held.watermark_of(alias)
        if held is None and (negative := self._negatives.get(alias)) is not None:
            held = negative.watermark
        if held is not None and held < watermark:
            self.drop_alias(alias)

    def drop_with_siblings(self, alias: str, tenant_id: str | None) -> None:
        """Drop the entry of `alias` and all entries of that tenant."""
        if tenant_id is not None:
            self._drop_of(tenant_id, self.aliases_of(tenant_id))
        self.drop_alias(alias)

    def _drop_of(self, tenant_id: str, aliases: Sequence[str]) -> None:
        """The same of `aliases` of one tenant, by one look at all that it has."""
        for entry in self._held.remove_of(tenant_id, aliases):
            self._unspell(entry)

    def drop_contradicted(self, tenant: Tenant, watermark: float) -> None:
        """Drop the tenant's entries that are older than `watermark`, and show another row than `tenant`."""
        older = [alias for alias in self.aliases_of(tenant.id) if self._is_older(alias, watermark)]
        self._drop_of(tenant.id, self._held.showing_others(older, tenant))

    def _is_older(self, alias: str, watermark: float) -> bool:
        held = self._held.watermark_of(alias)
        # Two reads of pending changes between the same entries may have seen different ones.
        return held is not None and (held < watermark or (held == watermark and watermark % 1 > 0))

    def clear(self) -> None:
        self.hot.clear()
        self._negatives.clear()
        self._dropped += self._held.clear()
        self._to_look_at = iter(())

    def due(self, most: int) -> list[Entry]:
        """At most `most` entries that are held and should be read again, oldest first; each is handed out once."""
        now = self._clock()
        self._expire(now)  # a quiet process has no other occasion
        self._expire_packed(now)
        found: dict[str, None] = {}
        while len(found) < most and (mark := self._held.to_read.pop(now)) is not None:
            due, alias = mark
            if self._held.due_of(alias) == due:
                found[alias] = None
        found |= dict.fromkeys(self._held.packed_until(now, most - len(found)))
        readings: dict[bytes, Reading] = {}
        entries = (self._held.unpacked(alias, is_due=True, readings=readings) for alias in found)
        return [entry for entry in entries if entry is not None]

    def still_due(self, entries: Sequence[Entry]) -> None:
        """Hand out again what `due` has handed out and could not be read."""
        for entry in entries:
            self._held.to_read.add(entry.due, entry.alias)

    def tidy(self) -> bool:
        """Do a part of what has time: free what was dropped, let go what has expired, pack what is idle.

        True if there is more to do. To be called about once a second.
        """
        if self._dropped:
            self._dropped.pop()
            return True
        now = self._clock()
        return any([self._expire(now), self._expire_packed(now), self._pack_idle(now)])

    def stats(self) -> MemoryStats:
        return {
            "tenants": len(self),
            "max_tenants": self._max,
            "negatives": self.negatives,
            "evictions": self.evictions,
            "displaced": self.displaced,
        }

    def __len__(self) -> int:
        return len(self._held)

    @property
    def negatives(self) -> int:
        return len(self._negatives)

    def _look(self, alias: str) -> Entry | None:
        """The entry of `alias`, live from now on, if it has not expired."""
        now = self._clock()
        self._expire(now)
        due = self._held.due_of(alias)
        if due is not None and due <= now - self._overtime:
            self._leave(alias)
        return self._held.unpacked(alias)

    def _pack_idle(self, now: float) -> bool:
        """Look at some live entries; true if there may be more."""
        looked_at = 0
        if now >= self._next_look:
            self._to_look_at, self._next_look = self._held.live.items(), now + PACKING_INTERVAL
        for alias, entry in islice(self._to_look_at, STEP):
            looked_at += 1
            if self._held.live.get(alias) is not entry:
                continue  # it has left since
            if take_used(entry) or not entry.idle:
                entry.idle = True
            else:
                self._unspell(entry)
                self._held.pack([entry])
        return looked_at == STEP

    # What leaves.

    def _expire(self, now: float) -> bool:
        """Let some go that have expired; true if there may be more."""
        latest, left = now - self._overtime, 0
        while left < STEP and (mark := self._held.to_expire.pop(latest)) is not None:
            due, alias = mark
            if self._held.due_of(alias) == due:
                self._leave(alias)
            left += 1
        return left >= STEP

    def _expire_packed(self, now: float) -> bool:
        expired = self._held.packed_until(now - self._overtime, STEP)
        for alias in expired:
            self._leave(alias)
        return len(expired) == STEP

    def _make_room(self, entries: int = 1) -> None:
        while len(self) and len(self) + entries > self._max:
            self._leave(self._held.victim())
            self.displaced += 1

    def _leave(self, alias: str) -> None:
        self.evictions += 1
        self.drop_alias(alias)

    def _unspell(self, entry: Entry) -> None:
        for key in entry.spellings:
            self.hot.pop(key, None)
        entry.spellings = ()
