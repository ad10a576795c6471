"""What providers that bill by the command ask for, and which plan is the cheapest for a use.

Source: https://upstash.com/pricing/redis, as read on 2026-09-20, and https://upstash.com/docs/redis/overall/billing.
They are those of one region. A read region adds half of a fixed plan's price, and bills every write once more on pay as
you go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

PRICES_OF = "2026-09-20"
SOURCE = "https://upstash.com/pricing/redis"

GB = 1 << 30
MONTH = 30 * 86_400
"""Seconds of a month, for projections."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Prices in US dollars a month. `quota`: billed commands a month, past which the account is refused; or None.

    `bytes_stored` is the most that fits. Past `bytes_moved` a month, traffic costs `per_gb_moved`, and if that is None,
    the plan does not fit.
    """

    name: str
    title: str
    price: float = 0.0
    per_100k: float = 0.0
    quota: int | None = None
    bytes_stored: int = 0
    free_bytes_stored: int = 0
    per_gb_stored: float = 0.0
    bytes_moved: int = 0
    per_gb_moved: float | None = None


@dataclass(frozen=True, slots=True)
class MonthlyUse:
    """What a Redis is used for in a month. Bytes that are not known are None, and cost nothing here."""

    commands: float
    bytes_stored: float | None = None
    bytes_moved: float | None = None


def _fixed(name: str, price: float, stored: int, moved: int) -> Plan:
    return Plan(f"upstash-fixed-{name.lower()}", f"Fixed {name}", price, bytes_stored=stored, bytes_moved=moved)


UPSTASH: Sequence[Plan] = (
    Plan("upstash-free", "Free", quota=500_000, bytes_stored=256 << 20, bytes_moved=10 * GB),
    Plan(
        "upstash-payg",
        "Pay as you go",
        per_100k=0.20,
        bytes_stored=100 * GB,
        free_bytes_stored=GB,
        per_gb_stored=0.25,
        bytes_moved=200 * GB,
        per_gb_moved=0.03,
    ),
    _fixed("250MB", 10, 250 << 20, 50 * GB),
    _fixed("1GB", 20, GB, 100 * GB),
    _fixed("5GB", 100, 5 * GB, 500 * GB),
    _fixed("10GB", 200, 10 * GB, 1_000 * GB),
    _fixed("50GB", 400, 50 * GB, 5_000 * GB),
    _fixed("100GB", 800, 100 * GB, 10_000 * GB),
    _fixed("500GB", 1_500, 500 * GB, 20_000 * GB),
)

PLANS: Mapping[str, Plan] = MappingProxyType({plan.name: plan for plan in UPSTASH})
"""By the name that --plan takes."""

FREE_PLAN, PAY_AS_YOU_GO = PLANS["upstash-free"], PLANS["upstash-payg"]


def monthly_cost(plan: Plan, use: MonthlyUse) -> float | None:
    """Dollars for a month of `use`; None if it does not fit into the plan."""
    stored, moved = use.bytes_stored or 0, use.bytes_moved or 0
    if (plan.quota is not None and use.commands > plan.quota) or stored > plan.bytes_stored:
        return None
    beyond = max(moved - plan.bytes_moved, 0) / GB
    if beyond and plan.per_gb_moved is None:
        return None
    storage = max(stored - plan.free_bytes_stored, 0) / GB * plan.per_gb_stored
    return plan.price + use.commands / 100_000 * plan.per_100k + storage + beyond * (plan.per_gb_moved or 0)


def cheapest(use: MonthlyUse, plans: Sequence[Plan] = UPSTASH) -> tuple[Plan, float] | None:
    """The plan that costs least for `use`, with its dollars a month; None if it fits into none."""
    costs = [(plan, cost) for plan in plans if (cost := monthly_cost(plan, use)) is not None]
    return min(costs, key=lambda pair: pair[1]) if costs else None


def break_even(fixed: Plan, metered: Plan = PAY_AS_YOU_GO) -> float:
    """Billed commands a month above which `fixed` costs less than `metered`: 5 million for the smallest."""
    return fixed.price / metered.per_100k * 100_000


@dataclass(frozen=True, slots=True)
class Outlook:
    """What becomes of a month's quota at the present rate.

    `used`: billed commands in this period so far. `full_month`: those by its end at this rate. `ends_in`: seconds until
    the quota is used up, 0 if it is, None if it lasts to the period's end.
    """

    quota: int
    used: float
    per_second: float
    full_month: float
    ends_in: float | None


def project(quota: int, per_second: float, *, elapsed: float, length: float, used: float | None = None) -> Outlook:
    """Project a rate onto a period of `length` seconds, of which `elapsed` are over. Without `used`, the rate is taken
    to have been the same since its beginning."""
    used = per_second * elapsed if used is None else used
    left = max(quota - used, 0)
    ends_in = 0.0 if not left else left / per_second if per_second > 0 else None
    if ends_in is not None and ends_in > length - elapsed:
        ends_in = None
    return Outlook(quota, used, per_second, used + per_second * (length - elapsed), ends_in)
