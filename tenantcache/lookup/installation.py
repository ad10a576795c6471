"""Puts what one read has found into memory."""

from __future__ import annotations

from tenantcache.lookup.entry import Entry
from tenantcache.lookup.memory import Memory


class Installation:
    """Of one read. A tenant may have hundreds of names: its entries share what they show, and what that contradicts is
    looked for once."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._installed: dict[str, Entry] = {}
        """The last entry of each tenant."""

    def add(self, entry: Entry) -> Entry:
        """Install it, and drop what its tenant's other entries show of an older row."""
        if entry.tenant is not None:
            like = self._installed.get(entry.tenant.id)
            if like is not None and like.tenant == entry.tenant:
                entry.tenant, entry.due = like.tenant, like.due
            else:
                self._memory.drop_contradicted(entry.tenant, entry.watermark)
            self._installed[entry.tenant.id] = entry
        self._memory.put(entry)
        return entry
