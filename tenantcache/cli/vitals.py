"""How a Redis is doing: the figures that `status`, `watch` and `doctor` show, from INFO alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError
from rich.table import Table
from rich.text import Text

from tenantcache.budget.core.bands import Band
from tenantcache.budget.core.facts import FleetFacts
from tenantcache.budget.core.serverfacts import ServerFacts, read_facts
from tenantcache.budget.core.serverrules import (
    ANY_HIT_RATE,
    FULL,
    GOOD_HIT_RATE,
    LARGE_MEMORY,
    MANY_KEYS,
    MIN_LOOKUPS,
    NEARLY_FULL,
    OPERATIONS_CRIT,
    OPERATIONS_WARN,
)
from tenantcache.budget.core.traffic import Traffic, duration, share, size, traffic_of
from tenantcache.stores.anyredis import AnyRedis, RedisNode

UNKNOWN = "not known"
WARN_STYLE, CRIT_STYLE, LABEL_STYLE = "yellow", "red", "dim"


async def read_server(redis: AnyRedis) -> ServerFacts:
    """Ask all nodes for INFO at once. Free. Raises UnreachableError and OverQuotaError."""
    infos = await asyncio.gather(*(_read_node(node) for node in redis.nodes))
    return read_facts(infos, host=redis.nodes[0].address.rpartition(":")[0])


_READ = (("INFO",), ("INFO", "commandstats"))
READING = len(_READ)
"""Commands that one reading sends to each node."""


async def _read_node(node: RedisNode) -> dict[str, Any]:
    # Redis 6 takes one section at a time.
    replies = await node.send_many(_READ)
    told: dict[str, Any] = {}
    for reply in replies:
        if isinstance(reply, dict) and not isinstance(reply, ResponseError):
            told.update(reply)
    return told


async def read_traffic(redis: AnyRedis, seconds: float) -> tuple[ServerFacts, Traffic]:
    """Read INFO, and once more after `seconds` if they are not 0."""
    first = await read_server(redis)
    if not seconds:
        return first, traffic_of(first)
    clock = asyncio.get_running_loop().time
    began = clock()
    await asyncio.sleep(seconds)
    last = await read_server(redis)
    return last, traffic_of(last, first, seconds=clock() - began, own=READING * len(redis.nodes))


@dataclass(frozen=True, slots=True)
class Vitals:
    """One state of a Redis at `address`."""

    address: str
    server: ServerFacts
    traffic: Traffic
    fleet: FleetFacts | None = None

    @property
    def operations(self) -> float | None:
        """A second: of the span that was measured, or just now."""
        if self.traffic.since_start and self.server.now_per_second is not None:
            return self.server.now_per_second
        return self.traffic.per_second(self.traffic.processed)

    def as_json(self, billed_commands: int) -> dict[str, Any]:
        server, traffic, fleet = self.server, self.traffic, self.fleet
        return {
            "address": self.address,
            "version": server.version,
            "provider": server.provider,
            "nodes": server.nodes,
            "uptime": server.uptime,
            "since_start": traffic.since_start,
            "seconds": round(traffic.seconds, 3),
            "operations_per_second": _rounded(self.operations),
            "billed_per_second": _rounded(traffic.per_second(traffic.billed)),
            "hit_rate": _rounded(traffic.hit_rate, 4),
            "keys": server.keys,
            "keys_with_ttl": server.expiring,
            "memory": server.memory,
            "memory_limit": server.memory_limit,
            "clients": server.clients,
            "evicted": traffic.evicted,
            "band": fleet.band if fleet else None,
            "used": fleet.used if fleet else None,
            "budget": fleet.budget if fleet else None,
            "forecast": fleet.forecast if fleet else None,
            "billed_commands": billed_commands,
        }


def _rounded(value: float | None, digits: int = 2) -> float | None:
    return None if value is None else round(value, digits)


def headline(vitals: Vitals) -> Text:
    server = vitals.server
    facts = [
        *([server.version] if server.version else []),
        *([server.provider] if server.provider else []),
        *([f"{server.nodes} servers"] if server.nodes > 1 else []),
        *([f"up {duration(server.uptime)}"] if server.uptime is not None else []),
    ]
    return Text.assemble((vitals.address, "bold"), "  ", (" · ".join(facts) or "INFO is refused", LABEL_STYLE))


def figures(vitals: Vitals) -> Sequence[tuple[str, Text, str]]:
    """Label, value, and what belongs to it, for each figure."""
    server, traffic = vitals.server, vitals.traffic
    span = traffic.span if traffic.seconds else ""
    average, billed = traffic.per_second(traffic.processed), traffic.per_second(traffic.billed)
    told = f"{average:,.1f} on average {span}" if traffic.since_start and average is not None else span
    if billed is not None and billed != average:
        told += f", {billed:,.1f} billed"
    rate = traffic.hit_rate
    return (
        ("operations/s", _figure(vitals.operations, _operations), told),
        ("hit rate", _figure(rate, _hit_rate(traffic)), f"of {traffic.lookups:,} lookups {span}" if rate else ""),
        ("keys", _figure(server.keys, _keys), _expiring(server)),
        ("memory", _figure(server.memory, _memory(server)), _limit(server)),
        ("clients", _figure(server.clients, lambda n: (f"{n:,}", "")), _blocked(server)),
        ("evictions", _figure(traffic.evicted, lambda n: (f"{n:,}", WARN_STYLE if n else "")), span),
        *_fleet_figures(vitals.fleet),
    )


def table(vitals: Vitals) -> Table:
    """The figures, for a person."""
    grid = Table.grid(padding=(0, 2))
    for label, value, remark in figures(vitals):
        grid.add_row(Text(label, LABEL_STYLE), value, Text(remark, LABEL_STYLE))
    return grid


def _figure(value: float | None, told: Any) -> Text:
    return Text(UNKNOWN, LABEL_STYLE) if value is None else Text(*told(value))


def _operations(rate: float) -> tuple[str, str]:
    style = CRIT_STYLE if rate > OPERATIONS_CRIT else WARN_STYLE if rate > OPERATIONS_WARN else ""
    return f"{rate:,.1f}" if rate < 100 else f"{rate:,.0f}", style


def _hit_rate(traffic: Traffic) -> Any:
    def told(rate: float) -> tuple[str, str]:
        if traffic.lookups < MIN_LOOKUPS:
            return share(rate), ""
        return share(rate), CRIT_STYLE if rate < ANY_HIT_RATE else WARN_STYLE if rate < GOOD_HIT_RATE else ""

    return told


def _keys(count: float) -> tuple[str, str]:
    return f"{count:,}", WARN_STYLE if count > MANY_KEYS else ""


def _memory(server: ServerFacts) -> Any:
    def told(used: float) -> tuple[str, str]:
        part = used / server.memory_limit if server.memory_limit else 0
        if part > FULL:
            return size(used), CRIT_STYLE
        return size(used), WARN_STYLE if part > NEARLY_FULL or used > LARGE_MEMORY else ""

    return told


def _expiring(server: ServerFacts) -> str:
    return f"{share(server.expiring / server.keys)} expire" if server.keys and server.expiring is not None else ""


def _limit(server: ServerFacts) -> str:
    return f"of {size(server.memory_limit)}" if server.memory_limit else ""


def _blocked(server: ServerFacts) -> str:
    return f"of {server.client_limit:,}" if server.client_limit else ""


def _fleet_figures(fleet: FleetFacts | None) -> Sequence[tuple[str, Text, str]]:
    if fleet is None:
        return (("band", Text(UNKNOWN, LABEL_STYLE), ""), ("forecast", Text(UNKNOWN, LABEL_STYLE), ""))
    within = f"{fleet.used:,} of {fleet.budget:,} used" if fleet.budget else f"{fleet.used:,} used, no budget"
    band = fleet.band or UNKNOWN
    low, high = fleet.bounds
    return (
        ("band", Text(band, "" if band == Band.NORMAL.value else WARN_STYLE), within),
        ("forecast", Text(f"{fleet.forecast:,}"), f"{low:,} to {high:,} {fleet.unit} by the period's end"),
    )
