"""The entries of tenants, live and packed, by alias and by tenant.

Packed entries are bytes in dicts that hold nothing else (`shards.py`), so the garbage collector passes them by.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence, Sized

from tenantcache.lookup.core.packing import Reading, due_in, id_in, pack, shown_in, unpack, watermark_in
from tenantcache.lookup.entry import Entry
from tenantcache.lookup.marks import Marks
from tenantcache.runtime.shards import Shards
from tenantcache.tenant import Tenant

MAX_SECOND_CHANCES = 16
"""Bounds the work of one eviction. With a working set that fits, the first few candidates hold a stale entry."""


class HeldEntries:
    """`room` is how many entries there will be. `live` and `packed` are in the order in which they came or were put
    last; each alias is in one of them at most."""

    def __init__(self, room: int) -> None:
        self.live: Shards[Entry] = Shards(room)
        self.packed: Shards[bytes] = Shards(room)
        # Most tenants have one alias: a tuple for each would take 64 bytes.
        self.by_tenant: Shards[str | tuple[str, ...]] = Shards(room)
        # When those are due that have been live: they have marks.
        self._marked: Shards[float] = Shards(room)
        self.to_read: Marks = Marks(self._marked)
        self.to_expire: Marks = Marks(self._marked)

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

    def tenant_id_of(self, alias: str) -> str | None:
        """The tenant that the entry of `alias` is of; None if there is none."""
        if (record := self.packed.get(alias)) is not None:
            return id_in(record)
        entry = self.live.get(alias)
        return None if entry is None or entry.tenant is None else entry.tenant.id

    def showing_others(self, aliases: Sequence[str], tenant: Tenant) -> list[str]:
        """Those of `aliases`, all held, that show another row than `tenant`. What is packed is compared as bytes: a
        tenant may have hundreds of names."""
        records = {alias: record for alias in aliases if (record := self.packed.get(alias)) is not None}
        shown = shown_in(pack(Reading(tenant, 0.0, 0.0, 0.0, "postgres", served=False))) if records else b""
        others = [alias for alias, record in records.items() if shown_in(record) != shown]
        live = [entry for alias in aliases if (entry := self.live.get(alias)) is not None]
        return [*others, *(entry.alias for entry in live if entry.tenant != tenant)]

    def tenants_of(self, tenant_id: str) -> list[Tenant]:
        """The tenant as each of its entries shows it, each row once. What is packed stays so."""
        aliases = self.aliases_of(tenant_id)
        records = {shown_in(record): record for alias in aliases if (record := self.packed.get(alias)) is not None}
        live = [entry.tenant for alias in aliases if (entry := self.live.get(alias)) is not None]
        return [*(unpack(record).tenant for record in records.values()), *filter(None, live)]

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

    def replace(self, entry: Entry) -> Entry | None:
        """Hold an entry of an alias that has one of the same tenant; return that if it was live."""
        self.packed.pop(entry.alias)
        old = self.live.pop(entry.alias)
        self._make_live(entry)
        return old

    def hold_packed(self, aliases: Sequence[str], reading: Reading) -> None:
        """The same of an entry for each of `aliases`, packed."""
        record = pack(reading)
        self._index(reading.tenant.id, *aliases)
        for alias in aliases:
            self.packed.put(alias, record)

    def unpacked(
        self, alias: str, *, is_due: bool = False, readings: dict[bytes, Reading] | None = None
    ) -> Entry | None:
        """The entry of `alias`, live from now on. `is_due`: it is handed out to be read again. `readings` are those of
        others, which may be the same."""
        if (record := self.packed.pop(alias)) is not None:
            reading = unpack(record) if readings is None else readings.get(record) or unpack(record)
            if readings is not None:
                readings[record] = reading
            self._make_live(Entry(alias, *reading), is_due=is_due)
        return self.live.get(alias)

    def _make_live(self, entry: Entry, *, is_due: bool = False) -> None:
        self.live.put(entry.alias, entry)
        if self._marked.get(entry.alias) == entry.due:
            return  # its marks have stayed
        self._marked.put(entry.alias, entry.due)
        self.to_expire.add(entry.due, entry.alias)
        if not is_due:
            self.to_read.add(entry.due, entry.alias)

    def pack(self, entries: Iterable[Entry]) -> None:
        """Their marks stay: they find them here as well. Those that show the same share one record."""
        records: dict[tuple[object, ...], bytes] = {}
        for entry in entries:
            assert entry.tenant is not None
            self.live.pop(entry.alias)
            reading = Reading(entry.tenant, entry.watermark, entry.read_at, entry.due, entry.tier, entry.served)
            key = (id(entry.tenant), *reading[1:])
            record = records[key] = records.get(key) or pack(reading)
            self.packed.put(entry.alias, record)

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
        tenant_id = self.tenant_id_of(alias)
        return None if tenant_id is None else next(iter(self.remove_of(tenant_id, [alias])), None)

    def remove_of(self, tenant_id: str, aliases: Iterable[str]) -> list[Entry]:
        """The same of `aliases`, all of that tenant: by one look at those that it has."""
        gone = dict.fromkeys(aliases)
        if not gone:
            return []
        for alias in gone:
            self.packed.pop(alias)
            self._marked.pop(alias)
        self._unindex(tenant_id, gone)
        return [entry for alias in gone if (entry := self.live.pop(alias)) is not None]

    def clear(self) -> list[Sized]:
        """Hold nothing. What was held is returned in parts, to be freed one by one."""
        marked = self._marked.clear()
        self.to_read, self.to_expire = Marks(self._marked), Marks(self._marked)
        return [*marked, *self.live.clear(), *self.packed.clear(), *self.by_tenant.clear()]

    def _index(self, tenant_id: str, *aliases: str) -> None:
        held = (*self.aliases_of(tenant_id), *aliases)
        self.by_tenant.put(tenant_id, held if len(held) > 1 else held[0])

    def _unindex(self, tenant_id: str, gone: Container[str]) -> None:
        left = tuple(held for held in self.aliases_of(tenant_id) if held not in gone)
        if left:
            self.by_tenant.put(tenant_id, left if len(left) > 1 else left[0])
        else:
            self.by_tenant.pop(tenant_id)

    def victim(self) -> str:
        """The alias that has to leave first: one that is packed, or a live one that was not used of late."""
        if self.packed:
            return self.packed.oldest()
        live = self.live
        for _ in range(MAX_SECOND_CHANCES):
            alias = live.oldest()
            entry = live.get(alias)
            if entry is None or not take_used(entry):
                return alias
            live.put(alias, entry)
        return live.oldest()


def take_used(entry: Entry) -> bool:
    """Whether a hot request has used it since the last look."""
    path = entry.fast_path
    if path is None or not path.used:
        return False
    path.used = False
    return True
