"""`tenantcache status`: how a Redis is doing, once, without a billed command."""

from __future__ import annotations

from tenantcache.cli.fleet import read_fleet
from tenantcache.cli.redistarget import open_redis
from tenantcache.cli.terminal import Terminal
from tenantcache.cli.vitals import Vitals, headline, read_traffic, table


async def show_status(redis_url: str | None, seconds: float, *, as_json: bool) -> None:
    """Raises ConfigurationError, UnreachableError and OverQuotaError."""
    terminal = Terminal(as_json=as_json)
    async with open_redis(redis_url, terminal, at_most=0, max_commands=1) as redis:
        server, traffic = await read_traffic(redis, seconds)
        address, spent = redis.nodes[0].address, redis.spending.spent
    vitals = Vitals(address, server, traffic, await read_fleet())
    terminal.show(vitals.as_json(spent), headline(vitals), table(vitals))
