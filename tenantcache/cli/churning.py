"""Runs `churn`: chooses how to watch, says what that costs and cannot see, and shows what was seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from redis.exceptions import ResponseError
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tenantcache.budget.churning import (
    NEEDED_EVENTS,
    Method,
    Watched,
    has_events,
    watch_events,
    watch_monitor,
    watch_samples,
)
from tenantcache.budget.core.churn import Churn
from tenantcache.budget.core.finding import Severity
from tenantcache.cli.keyreading import refuses_scan
from tenantcache.cli.keytables import STYLES, percent, short
from tenantcache.cli.redistarget import open_redis
from tenantcache.cli.terminal import Terminal
from tenantcache.errors import UnreachableError
from tenantcache.stores.anyredis import AnyRedis

TOP = 30


async def run_churn(
    redis_url: str | None, terminal: Terminal, seconds: float, *, monitors: bool, max_commands: int
) -> Severity:
    """Watch, print, and return the worst finding.

    Raises ConfigurationError, `UnreachableError` and `OverQuotaError`.
    """
    async with open_redis(redis_url, terminal, at_most=max_commands, max_commands=max_commands) as redis:
        method = await _choose(redis, monitors)
        terminal.say(_announce(method, seconds, len(redis.nodes)))
        try:
            watched = await _watch(redis, method, seconds)
        except ResponseError as error:
            if method is Method.MONITOR:
                raise UnreachableError(f"{redis.nodes[0].address} refuses MONITOR: {error}") from None
            terminal.say(f"keyspace events are refused ({error})")
            method = Method.SAMPLES
            terminal.say(_announce(method, seconds, len(redis.nodes)))
            watched = await _watch(redis, method, seconds)
        spent = redis.spending.spent
        if watched.scan_refused:
            raise refuses_scan(redis)
    for note in watched.notes:
        terminal.say(note)
    result = {
        "method": method.value,
        "seconds": seconds,
        "patterns": [one.as_json() for one in watched.churn],
        "billed_commands": spent,
    }
    terminal.show(result, *_render(watched.churn, method, seconds, spent))
    return max((one.severity for one in watched.churn), key=lambda severity: severity.rank, default=Severity.OK)


async def _choose(redis: AnyRedis, monitors: bool) -> Method:
    if monitors:
        return Method.MONITOR
    has_all = all([await has_events(node) for node in redis.nodes])
    return Method.EVENTS if has_all else Method.SAMPLES


def _announce(method: Method, seconds: float, nodes: int) -> str:
    if method is Method.MONITOR:
        return (
            f"MONITOR for {seconds:g} s: {nodes} billed commands; meanwhile the server may serve half of its usual load"
        )
    if method is Method.EVENTS:
        return f"keyspace events for {seconds:g} s: {nodes} billed commands; they tell of writes, but not of reads"
    return (
        f"keyspace events are off, or not for this user: some keys are looked at, and again {seconds:g} s later. "
        f"To hear of every write, set notify-keyspace-events {NEEDED_EVENTS}; --monitor sees reads as well"
    )


async def _watch(redis: AnyRedis, method: Method, seconds: float) -> Watched:
    if method is Method.MONITOR:
        return await watch_monitor(redis.nodes, seconds, redis.nodes[0].database)
    if method is Method.EVENTS:
        return await watch_events(redis.nodes, seconds, redis.nodes[0].database)
    return await watch_samples(redis.nodes, seconds, max_commands=redis.spending.remaining, random=Random())


def _render(found: Sequence[Churn], method: Method, seconds: float, spent: int) -> Iterator[RenderableType]:
    what = "keys written again" if method is Method.SAMPLES else "writes"
    written = sum(one.writes for one in found)
    yield Text(f"{written:,} {what} seen in {seconds:g} s; {spent:,} billed commands", "bold")
    if not found:
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("pattern", overflow="fold", min_width=20)
    for name in (what, "replaced a value", "before a read", "reads"):
        table.add_column(name, justify="right")
    for one in found[:TOP]:
        share = one.wasted_share
        wasted = (
            "?" if one.wasted is None else f"{one.wasted:,}" if share is None else f"{one.wasted:,} ({percent(share)})"
        )
        table.add_row(
            Text(one.severity.value, STYLES[one.severity]),
            Text(short(one.pattern)),
            f"{one.writes:,}",
            f"{one.rewrites:,}",
            wasted,
            "?" if one.reads is None else f"{one.reads:,}",
        )
    yield table
