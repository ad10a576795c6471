"""What is known of a fleet's bill, as applications read it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tenantcache.budget.core.forecast import Forecast
from tenantcache.budget.core.prices import Pricing, Unit
from tenantcache.budget.core.providerbill import ProviderBill
from tenantcache.stats import BandName


@dataclass(frozen=True, slots=True)
class PurposeUse:
    """What the fleet was billed in this period for one purpose, in units and dollars."""

    purpose: str
    billed: int
    cost: float


@dataclass(frozen=True, slots=True)
class CommandUse:
    """What this process has sent since its start: `commands` of that name, and the units billed for them."""

    name: str
    commands: int
    billed: int


@dataclass(frozen=True, slots=True)
class Budget:
    """What a fleet uses of its Redis in the present period, as far as this process knows. Immutable.

    Units are what the provider bills: commands or ECPUs (`unit`). Times are seconds since the Unix epoch. Costs are in
    dollars, or in the currency of `TENANTCACHE_REDIS_PRICE`, and are those of commands alone.

    `limit` is the budget in units, None if there is none. `used` and `cost` are of the whole fleet since
    `period_start`. `counted` and `by_purpose` are without what the provider itself said (`provider`). `own` is this
    process's part, of which `unreported` has not been written into Postgres. `read_at` says when the others' use was
    last read; None: never, and `used` is this process's. `by_command` is this process's. `note` says what the figures
    leave out. `band` is that of the fleet: docs/governor.md.
    """

    pricing: Pricing
    unit: Unit
    limit: int | None
    period_start: int
    period_end: int
    used: int
    counted: int
    provider: ProviderBill | None
    own: int
    unreported: int
    read_at: float | None
    cost: float
    forecast: Forecast
    forecast_cost: float
    by_purpose: tuple[PurposeUse, ...]
    by_command: tuple[CommandUse, ...]
    note: str
    band: BandName = "normal"

    @property
    def share(self) -> float | None:
        """The part of the budget that is used, 1.0 for all of it; None without a budget."""
        return None if self.limit is None else self.used / self.limit

    def as_dict(self) -> dict[str, Any]:
        """The same in dicts and lists, ready for JSON."""
        return {**asdict(self), "share": self.share}


NOTES: dict[Pricing, str] = {
    "per-command": "commands of other clients of this Redis are not in these figures, nor is what it stores",
    "ecpu": "ECPUs are estimated from sizes and kinds of commands; what is stored is billed beside them, 1 GB at least",
    "flat": "commands cost nothing with this provider; the memory of the plan does",
}
