"""What commands cost: list prices as they were published, and nothing that was asked of a provider.

Upstash: "Pricing & Billing", upstash.com/docs/redis/overall/billing, and the copy of upstash.com/pricing/redis of
2026-09-20 in api-evangelist/upstash (plans/upstash-plans-pricing.yml): pay as you go $0.20 per 100,000 commands; the
free plan ends at 500,000 commands a month.
Amazon ElastiCache Serverless, Redis OSS, US East: $0.0034 a million ECPUs and $0.125 a GB-hour, at least 1 GB, as in
the AWS Database Blog, "Unlock on-demand, cost-optimized performance with Amazon ElastiCache Serverless", and on
gomomento.com of 2024-02-21. A command of up to 1 KB is 1 ECPU.
"""

from __future__ import annotations

from dataclasses import dataclass

SECONDS_A_MONTH = 30 * 86_400
RATES = (1, 100, 1_000)
"""Requests a second for which a month is priced."""


@dataclass(frozen=True)
class Price:
    """Dollars: `per_command`, and `base` a month whatever is sent; `free` commands a month cost nothing at all."""

    name: str
    per_command: float
    base: float = 0.0
    free: int = 0

    def month(self, commands_per_second: float) -> float:
        commands = commands_per_second * SECONDS_A_MONTH
        return 0.0 if commands <= self.free else self.base + commands * self.per_command


PRICES = (
    Price("Upstash", 0.20 / 100_000, free=500_000),
    Price("ElastiCache Serverless", 0.0034 / 1_000_000, base=0.125 * 24 * 30),
)
