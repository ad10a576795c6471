"""The entries of tenants, live and packed, by alias and by tenant.

Packed entries are bytes in dicts that hold nothing else (`shards.py`), so the garbage collector passes them by.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from heapq import heappop, heappush

from tenantcache.lookup.core.packing import Reading, due_in, id_in, pack, unpack, watermark_in
from tenantcache.lookup.entry import Entry
from tenantcache.runtime.shards import Shards
from tenantcache.tenant import Tenant


class Marks:
    """Aliases by the times at which their entries were due when they were added. Later ones may be due at others."""

    __slots__ = ("_marks",)

    def __init__(self) -> None:
        self._marks: list[tuple[float, str]] = []

    def add(self, due: float, alias: str) -> None:
        heappush(self._marks, (due, alias))

    def pop(self, until: float) -> tuple[float, str] | None:
        """Take out the oldest, if it is due by then."""
        return heappop(self._marks) if self._marks and self._marks[0][0] <= until else None


class Holding:
    """`room` is how many entries there will be. `live` and `packed` are in the order in which they came or were put
    last; each alias is in one of them at most."""

    def __init__(self, room: int) -> None:
        self.live: Shards[Entry] = Shards(room)
        self.packed: Shards[bytes] = Shards(room)
        # Most tenants have one alias: a tuple for each would take 64 bytes.
        self.by_tenant: Shards[str | tuple[str, ...]] = Shards(room)
        self.to_read, self.to_expire = Marks(), Marks()

    def __len__(self) -> int:
        return len(self.live) + len(self.packed)

    def due_of(self, alias: str) -> float | None:
        """When the entry of `alias` is due; None if there is none."""
        if (record := self.packed.get(alias)) is not None:
            return due_in(record)
        entry = self.live.get(alias)
        return None if entry is None else entry.due

    def watermark_of(self, alias: str) -> float | None:
        if (record := self.packed.get(alias)) is not None:
            return watermark_in(record)
        entry = self.live.get(alias)
        return None if entry is None else entry.watermark

    def aliases_of(self, tenant_id: str) -> Sequence[str]:
        """The aliases under which the tenant is held."""
        found = self.by_tenant.get(tenant_id) or ()
        return (found,) if isinstance(found, str) else found

    def tenant_of(self, tenant_id: str) -> Tenant | None:
        """The tenant as it was read last, if it is held. What is packed stays so."""
        aliases = self.aliases_of(tenant_id)
        if not aliases:
            return None
        if (record := self.packed.get(aliases[-1])) is not None:
            return unpack(record).tenant
        entry = self.live.get(aliases[-1])
        return None if entry is None else entry.tenant

    # Live and packed.

    def hold(self, entry: Entry, tenant_id: str) -> None:
        """Hold an entry of an alias that has none."""
        self._index(tenant_id, entry.alias)
        self._make_live(entry)

    def hold_packed(self, aliases: Sequence[str], reading: Reading) -> None:
        """The same of an entry for each of `aliases`, packed."""
        record = pack(reading)
        for alias in aliases:
            self._index(reading.tenant.id, alias)
            self.packed.put(alias, record)

    def unpacked(self, alias: str, *, is_due: bool = False) -> Entry | None:
        """The entry of `alias`, live from now on. `is_due`: it is handed out to be read again."""
        if (record := self.packed.pop(alias)) is not None:
            self._make_live(Entry(alias, *unpack(record)), is_due=is_due)
        return self.live.get(alias)

    def _make_live(self, entry: Entry, *, is_due: bool = False) -> None:
        self.live.put(entry.alias, entry)
        self.to_expire.add(entry.due, entry.alias)
        if not is_due:
            self.to_read.add(entry.due, entry.alias)

    def pack(self, entry: Entry) -> None:
        """Its marks stay: they find it here as well."""
        assert entry.tenant is not None
        self.live.pop(entry.alias)
        reading = Reading(entry.tenant, entry.watermark, entry.read_at, entry.due, entry.tier, entry.served)
        self.packed.put(entry.alias, pack(reading))

    def packed_until(self, due: float, most: int) -> list[str]:
        """At most `most` packed entries that are due by then, of those that have no marks."""
        found: list[str] = []
        for part in self.packed.parts:
            for alias, record in part.items():
                if len(found) >= most or due_in(record) > due:
                    break
                found.append(alias)
        return found

    # What leaves.

    def remove(self, alias: str) -> Entry | None:
        """Hold what `alias` leads to no longer, whatever its age; return it if it was live."""
        if (record := self.packed.pop(alias)) is not None:
            self._unindex(id_in(record), alias)
            return None
        entry = self.live.pop(alias)
        if entry is not None:
            assert entry.tenant is not None
            self._unindex(entry.tenant.id, alias)
        return entry

    def clear(self) -> list[Sized]:
        """Hold nothing. What was held is returned in parts, to be freed one by one."""
        self.to_read, self.to_expire = Marks(), Marks()
        return [*self.live.clear(), *self.packed.clear(), *self.by_tenant.clear()]

    def _index(self, tenant_id: str, alias: str) -> None:
        held = self.aliases_of(tenant_id)
        self.by_tenant.put(tenant_id, (*held, alias) if held else alias)

    def _unindex(self, tenant_id: str, alias: str) -> None:
        left = tuple(held for held in self.aliases_of(tenant_id) if held != alias)
        if left:
            self.by_tenant.put(tenant_id, left if len(left) > 1 else left[0])
        else:
            self.by_tenant.pop(tenant_id)
