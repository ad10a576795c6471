"""`tenantcache watch`: how a Redis is doing, again and again, without a billed command."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import nullcontext
from itertools import count as numbers

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tenantcache.budget.core.traffic import share, size, traffic_of
from tenantcache.cli.fleet import FleetView
from tenantcache.cli.redistarget import open_redis
from tenantcache.cli.terminal import Terminal
from tenantcache.cli.vitals import CRIT_STYLE, LABEL_STYLE, READING, UNKNOWN, Vitals, headline, read_server, table
from tenantcache.errors import UnreachableError
from tenantcache.stores.anyredis import AnyRedis

BARS = "▁▂▃▄▅▆▇█"
HISTORY = 60
"""Readings that the curve shows."""

Reading = Vitals | UnreachableError


async def watch_redis(redis_url: str | None, interval: float, most: int | None, *, as_json: bool) -> None:
    """Show a reading every `interval` seconds, `most` of them or until it is cancelled.

    A Redis that is there at first and goes away later is told as such, and asked again. Raises ConfigurationError and
    UnreachableError: if it is not there at first, or at the end.
    """
    terminal = Terminal(as_json=as_json)
    async with open_redis(redis_url, terminal, at_most=0, max_commands=1) as redis:
        is_live = terminal.out.is_terminal and not as_json
        screen = Live(console=terminal.out, auto_refresh=False) if is_live else nullcontext()
        history: deque[float] = deque(maxlen=HISTORY)
        reading: Reading | None = None
        with screen as live:
            async for reading in readings(redis, interval, most):
                if isinstance(reading, Vitals):
                    history.append(reading.operations or 0.0)
                if live is not None:
                    live.update(picture(reading, history), refresh=True)
                else:
                    _print(terminal, reading, redis.spending.spent)
    if isinstance(reading, UnreachableError):
        raise reading


async def readings(redis: AnyRedis, interval: float, most: int | None) -> AsyncIterator[Reading]:
    clock, fleet = asyncio.get_running_loop().time, FleetView()
    before, at = await read_server(redis), clock()
    for _ in range(most) if most is not None else numbers():
        await asyncio.sleep(interval)
        try:
            after, now = await read_server(redis), clock()
        except UnreachableError as error:
            yield error
            continue
        traffic = traffic_of(after, before, seconds=now - at, own=READING * len(redis.nodes))
        yield Vitals(redis.nodes[0].address, after, traffic, await fleet.read())
        before, at = after, now


def picture(reading: Reading, history: deque[float]) -> RenderableType:
    """What a terminal shows."""
    if isinstance(reading, UnreachableError):
        return Padding(Text(str(reading), CRIT_STYLE), (1, 2))
    curve = Table.grid(padding=(0, 2))
    curve.add_row(
        Text("operations/s", LABEL_STYLE), sparkline(history), Text(f"up to {max(history):,.0f}", LABEL_STYLE)
    )
    return Padding(Group(headline(reading), "", table(reading), "", curve), (1, 2))


def sparkline(history: deque[float]) -> Text:
    """A bar for each reading, the newest at the right."""
    highest = max(history, default=0.0) or 1.0
    return Text("".join(BARS[round(value / highest * (len(BARS) - 1))] for value in history), "cyan")


def _print(terminal: Terminal, reading: Reading, spent: int) -> None:
    if isinstance(reading, UnreachableError):
        terminal.say(str(reading))
    elif terminal.as_json:
        typer.echo(json.dumps(reading.as_json(spent)))
    else:
        typer.echo(line(reading, time.strftime("%H:%M:%S")))


def line(vitals: Vitals, at: str) -> str:
    """One reading, for a file or a pipe."""

    def told(value: str | None) -> str:
        return UNKNOWN if value is None else value

    server, traffic, fleet = vitals.server, vitals.traffic, vitals.fleet
    parts = {
        "operations/s": None if vitals.operations is None else f"{vitals.operations:.1f}",
        "hits": None if traffic.hit_rate is None else share(traffic.hit_rate).replace(" ", ""),
        "keys": None if server.keys is None else str(server.keys),
        "memory": None if server.memory is None else size(server.memory).replace(" ", ""),
        "clients": None if server.clients is None else str(server.clients),
        "evicted": None if traffic.evicted is None else str(traffic.evicted),
        "band": fleet.band if fleet else None,
        "forecast": str(fleet.forecast) if fleet else None,
    }
    return f"{at}  " + "  ".join(f"{name} {told(value)}" for name, value in parts.items())
