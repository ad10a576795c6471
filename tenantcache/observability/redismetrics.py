"""The metrics of Redis and of its bill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import get_args

from tenantcache.budget.core.budget import Budget
from tenantcache.observability.metric import Found, Merge, Metric, Reading, Section, counter, gauge, one_of
from tenantcache.runtime.breaker import BreakerState
from tenantcache.stats import BandName

MOST, LEAST = Merge.MOST, Merge.LEAST


def _commands(reading: Reading) -> Found:
    return {
        (command, purpose): float(billed)
        for purpose, commands in reading.stats["redis"]["billed_by_command"].items()
        for command, billed in commands.items()
    }


def _breaker(reading: Reading) -> Found:
    redis = reading.stats["redis"]
    return one_of(get_args(BreakerState), redis["breaker"]) if redis["configured"] else None


def _of_budget(
    name: str,
    help: str,
    find: Callable[[Budget], float | Mapping[str, float] | None],
    *labels: str,
    merge: Merge = MOST,
) -> Metric:
    """What each process knows of the whole fleet: the largest figure is the newest."""
    return gauge(
        name, help, lambda reading: None if reading.budget is None else find(reading.budget), *labels, merge=merge
    )


REDIS = Section(
    "Redis",
    (
        counter(
            "tenantcache_redis_billed_commands",
            "Commands that a provider bills, by command and by what they were for; ECPUs if that is what it counts.",
            _commands,
            "command",
            "purpose",
        ),
        gauge("tenantcache_redis_breaker", "Processes by the state of the breaker before Redis.", _breaker, "state"),
        counter(
            "tenantcache_redis_breaker_openings",
            "How often the breaker before Redis has opened.",
            lambda reading: reading.stats["redis"]["breaker_openings"],
        ),
    ),
)

BUDGET = Section(
    "Budget",
    (
        _of_budget(
            "tenantcache_budget_used",
            "Billed units that the whole fleet has used in this period.",
            lambda budget: budget.used,
        ),
        _of_budget(
            "tenantcache_budget_used_by_purpose",
            "The same by purpose, as the fleet itself has counted it.",
            lambda budget: {use.purpose: float(use.billed) for use in budget.by_purpose},
            "purpose",
        ),
        _of_budget(
            "tenantcache_budget_limit",
            "The budget of this period, in billed units.",
            lambda budget: budget.limit,
        ),
        _of_budget(
            "tenantcache_budget_used_ratio",
            "The part of the budget that is used: 1 for all of it.",
            lambda budget: budget.share,
        ),
        _of_budget(
            "tenantcache_budget_forecast",
            "Billed units at the end of this period, as expected, and the bounds of 95 %.",
            lambda budget: {
                "low": budget.forecast.low,
                "expected": budget.forecast.expected,
                "high": budget.forecast.high,
            },
            "bound",
        ),
        _of_budget(
            "tenantcache_budget_cost_dollars",
            "What the commands of this period have cost.",
            lambda budget: budget.cost,
        ),
        _of_budget(
            "tenantcache_budget_forecast_cost_dollars",
            "What they are expected to have cost at its end.",
            lambda budget: budget.forecast_cost,
        ),
        _of_budget(
            "tenantcache_budget_exhausted_timestamp_seconds",
            "When the budget is expected to be used up; absent if that is not in this period.",
            lambda budget: budget.forecast.exhausted_at,
            merge=LEAST,
        ),
        _of_budget(
            "tenantcache_budget_period_start_timestamp_seconds",
            "When this period began.",
            lambda budget: budget.period_start,
        ),
        _of_budget(
            "tenantcache_budget_period_end_timestamp_seconds",
            "When this period ends.",
            lambda budget: budget.period_end,
        ),
        _of_budget(
            "tenantcache_budget_read_timestamp_seconds",
            "When each process last read what the others use, at the earliest.",
            lambda budget: budget.read_at,
            merge=LEAST,
        ),
        _of_budget(
            "tenantcache_budget_unreported",
            "Billed units that the other processes do not know of yet.",
            lambda budget: budget.unreported,
            merge=Merge.SUM,
        ),
        gauge(
            "tenantcache_budget_band",
            "Processes by the band of the budget.",
            lambda reading: one_of(get_args(BandName), reading.stats["redis"]["band"]),
            "band",
        ),
        counter(
            "tenantcache_budget_band_changes",
            "Changes of the band, each counted by every process that has seen it.",
            lambda reading: reading.stats["redis"]["band_changes"],
        ),
        counter(
            "tenantcache_budget_webhooks",
            "Messages of the budget's webhook, by what became of them.",
            lambda reading: {
                "sent": reading.stats["redis"]["webhooks"]["sent"],
                "failed": reading.stats["redis"]["webhooks"]["failed"],
            },
            "result",
        ),
    ),
)
