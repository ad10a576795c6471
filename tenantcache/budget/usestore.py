"""What the fleet's use is written to and read from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from tenantcache.budget.core.meter import Purpose


class UseRow(NamedTuple):
    """Billed units of an hour (its number since the Unix epoch)."""

    hour: int
    purpose: Purpose
    billed: int


class UseStore(Protocol):
    """All methods raise `StoreError`, or `SchemaMissingError` if there is no such table."""

    async def exchange(self, process_id: UUID, rows: Sequence[UseRow], since: int) -> list[UseRow]:
        """Write what this process has used, and return what all others have, added up, in the hours from `since` on.

        A row of `rows` is all that the process has used in its hour so far. What was written never goes down, so the
        same rows may be sent again. Each hour and purpose comes once in either list.
        """
        ...

    async def drop_before(self, hour: int) -> None:
        """Forget earlier hours."""
        ...
