"""The simulation of limits bills as a real Redis is billed: the same commands, sent to a server."""

from __future__ import annotations

from random import Random

from benchmarks.simulate_limits.fleet import EPOCH, Fleet
from benchmarks.simulate_limits.patterns import spread
from tenantcache.stores.redis import RedisLink
from tenantcache.stores.rediscounters import RedisCounters
from tenantcache.tenant import Limits
from tests.servers.billing import BilledCommands

BEFORE_MIDNIGHT = EPOCH - 120.0
RATES = (20.0, 5.0, 1.0, 0.2, 0.05, 0.02)
"""Requests a second of six tenants, who have 600 a minute: the first is at its limit all the time."""


async def test_what_it_bills_a_server_bills(redis_url: str, billed_commands: BilledCommands) -> None:
    fleet = Fleet([Limits(600, 1_000)] * len(RATES), 3, BEFORE_MIDNIGHT, remembers=True)
    await fleet.warm()
    await fleet.serve(spread(RATES, 3, BEFORE_MIDNIGHT, BEFORE_MIDNIGHT + 300, Random(1)))
    await fleet.restart(0)
    assert len(fleet.counters.batches) > 20, "or nothing is shown"

    link = RedisLink(redis_url, timeout=5.0)
    counters = RedisCounters(link, prefix="test")
    for batch, values in fleet.counters.batches:
        assert await counters.debit(batch) == values
    await counters.close()
    assert billed_commands.total() == link.billed == fleet.counters.commands.total()
    assert billed_commands.by_command()["expire"] == 4, "two quarters of an hour and two dates"
    await link.close()
