"""The simulation of limits bills as a real Redis is billed: the same takes, replayed on a server."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from benchmarks import simulate_limits
from tenantcache.ratelimit.core.windows import Debit
from tenantcache.stores.redis import RedisLink
from tenantcache.stores.rediscounters import RedisCounters
from tenantcache.tenant import Limits
from tests.servers.billing import BilledCommands

BEFORE_MIDNIGHT = simulate_limits.EPOCH - 120.0
RATES = (20.0, 5.0, 1.0, 0.2, 0.05, 0.02)
"""Requests a second of six tenants, who have 600 a minute: the first is at its limit all the time."""


async def test_what_it_bills_a_server_bills(
    redis_url: str, billed_commands: BilledCommands, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, Sequence[Debit], list[int]]] = []
    tenant, bill = "", simulate_limits.Counters.debit

    def debit(counters: simulate_limits.Counters, debits: Sequence[Debit], now: float) -> list[int]:
        values = bill(counters, debits, now)
        sent.append((tenant, debits, values))
        return values

    monkeypatch.setattr(simulate_limits.Counters, "debit", debit)
    billed = 0
    for number, rate in enumerate(RATES):
        tenant = f"t{number}"
        arrivals = simulate_limits.even(rate, 3, BEFORE_MIDNIGHT, BEFORE_MIDNIGHT + 300, Random(number))
        outcome = simulate_limits.simulate(Limits(600, 1_000), arrivals, 3, BEFORE_MIDNIGHT)
        billed += sum(outcome.counters.commands.values())
    assert len(sent) > 100, "or nothing is shown"

    link = RedisLink(redis_url, timeout=5.0)
    counters = RedisCounters(link, prefix="test")
    for owner, debits, values in sent:
        assert await counters.debit(owner, debits) == values
    await counters.close()
    assert billed_commands.total() == link.billed == billed
    assert billed_commands.by_command()["expire"] == 2 * len(RATES), "a key a tenant and date"
    await link.close()
