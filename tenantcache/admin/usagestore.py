"""What usage is written to and read from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from tenantcache.ratelimit.core.windows import DAY


class UsageRow(NamedTuple):
    """Requests of a tenant on a day of its time zone (the number of its date since 1970-01-01); `seen_at` in seconds
    since the Unix epoch."""

    tenant_id: str
    day: int
    requests: int
    seen_at: float


class UsageDay(NamedTuple):
    """One line of a tenant's usage."""

    day: date
    requests: int
    last_seen_at: datetime


class UsageTotal(NamedTuple):
    """What a tenant has used on some days: its `requests`, and on how many `days` there were any."""

    tenant_id: str
    requests: int
    days: int
    last_seen_at: datetime


def latest_end(day: int) -> float:
    """When a day of that date has ended everywhere (UTC-12): what is collected later was not seen later."""
    return (day + 1) * DAY + DAY / 2


class UsageStore(Protocol):
    """All methods raise `StoreError`. After `add` has raised, the same batch may be sent again: it counts once."""

    async def add(self, process_id: UUID, batch: int, rows: Sequence[UsageRow]) -> None:
        """Add `rows`, each tenant and day once. `batch` grows from call to call of one process.

        A tenant's last_seen_at of a day never goes back, and is not after `latest_end`. Raises `RejectedError` if a row
        cannot be added; then none was, and the number may be given to another batch.
        """
        ...

    async def leave(self, process_id: UUID) -> None:
        """This process sends nothing more."""
        ...

    async def read(self, tenant_id: str, since: date) -> list[UsageDay]:
        """The days from `since` on, oldest first."""
        ...

    async def busiest(self, since: date, until: date, most: int) -> list[UsageTotal]:
        """The tenants with most requests from `since` to `until`, that day included; at most `most` of them."""
        ...

    async def by_day(self, since: date, until: date) -> list[UsageDay]:
        """The days from `since` to `until` of all tenants together, oldest first."""
        ...

    async def last_seen(self, tenant_ids: Sequence[str]) -> dict[str, datetime]:
        """When each of the tenants was last seen; those that never were are left out."""
        ...
