"""Runs `clean`: refuses what must not be removed, shows what would be, and says where to go on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from rich.text import Text

from tenantcache.budget.cleaning import Cleaner, Order, Outcome, Place
from tenantcache.budget.core.globs import compile_glob, names_something
from tenantcache.budget.core.keytext import show_key
from tenantcache.budget.core.livekeys import LiveKeys
from tenantcache.cli.keyreading import commands_bar
from tenantcache.cli.redistarget import open_redis
from tenantcache.cli.terminal import Exit, Terminal
from tenantcache.errors import ConfigurationError
from tenantcache.stores.anyredis import AnyRedis

PREVIEW_SCANS = 10
"""Looks at the first keys, to show examples and about how many there are before any is removed."""

_EARLIEST, _LATEST = timedelta(hours=-12), timedelta(hours=14)
"""The offsets of the first and the last place on Earth from UTC."""


@dataclass(frozen=True, slots=True)
class Request:
    """The options of the command."""

    pattern: str
    removes: bool
    rate: float | None
    cursor: str | None
    count: int
    key_prefix: str
    max_commands: int


async def run_clean(request: Request, redis_url: str | None, terminal: Terminal) -> Exit:
    """Count or remove, print, and return the exit status.

    Raises ConfigurationError if the pattern is refused, `UnreachableError` and `OverQuotaError`.
    """
    order = make_order(request, datetime.now(UTC))
    most = request.max_commands
    async with open_redis(redis_url, terminal, at_most=most, max_commands=most) as redis:
        start = read_place(request.cursor, [node.address for node in redis.nodes])
        order = replace(order, by_slot=redis.info.get("cluster_enabled") == 1)
        keys = await _count_keys(redis)
        if order.removes:
            await _preview(redis, order, start, keys, terminal)
        with commands_bar(terminal) as bar:
            task = bar.add_task("billed commands", total=most)
            cleaner = Cleaner(redis.nodes, order, told=lambda _: bar.update(task, completed=redis.spending.spent))
            try:
                outcome = await cleaner.run(start)
            finally:
                if cleaner.outcome.place is not None:
                    terminal.say(_how_to_go_on(cleaner.outcome, len(redis.nodes), request.pattern))
    return _report(outcome, order, redis, keys, terminal)


def make_order(request: Request, now: datetime) -> Order:
    """What to do. Raises ConfigurationError if the pattern must not be removed by."""
    pattern = request.pattern.encode("utf-8", "surrogateescape")
    if not names_something(pattern):
        raise ConfigurationError(
            f"{show_key(pattern)!r} matches nearly every key; name what they begin with, like 'temp:*', "
            "or use FLUSHDB if all are to go"
        )
    live = LiveKeys(request.key_prefix, _dates(now))
    if hit := live.first_hit(compile_glob(pattern)):
        raise ConfigurationError(
            f"{show_key(pattern)!r} matches live keys of tenantcache, like {hit}: limits would start anew, "
            "and lookups go to Postgres; old counters expire by themselves"
        )
    return Order(pattern, live, request.removes, request.rate, request.count)


def _dates(now: datetime) -> frozenset[str]:
    return frozenset((now + offset).strftime("%Y%m%d") for offset in (_EARLIEST, timedelta(0), _LATEST))


def read_place(cursor: str | None, addresses: list[str]) -> Place | None:
    """A cursor that was printed: a number, and in a cluster ADDRESS/NUMBER. Raises ConfigurationError."""
    if cursor is None:
        return None
    address, slash, number = cursor.rpartition("/")
    if not slash and len(addresses) == 1:
        address = addresses[0]
    if address not in addresses or not number.isascii() or not number.isdigit():
        raise ConfigurationError(
            f"--cursor {cursor!r} is not one of this Redis; give what the command printed, like "
            + ("1234" if len(addresses) == 1 else f"{addresses[0]}/1234")
        )
    return Place(address, int(number))


async def _count_keys(redis: AnyRedis) -> int | None:
    """One command for each server; None if it is refused."""
    count = 0
    for node in redis.nodes:
        if not redis.spending.remaining:
            return None
        [reply] = await node.send_many([("DBSIZE",)])
        if not isinstance(reply, int):
            return None
        count += reply
    return count


async def _preview(redis: AnyRedis, order: Order, start: Place | None, keys: int | None, terminal: Terminal) -> None:
    scans = min(PREVIEW_SCANS, redis.spending.remaining // 4)
    looking = replace(order, removes=False, scans=scans, rate=None)
    found = await Cleaner(redis.nodes, looking).run(start)
    if not found.scans:
        return  # refused, or too few commands are left: the report says which
    seen = min(found.scans * order.count, keys or found.scans * order.count)
    of_all = f" of {keys:,}" if keys is not None else ""
    if found.place is None:
        terminal.say(f"{found.matched:,}{of_all} keys match, and are removed now")
    else:
        about = f", so about {round(found.matched * keys / seen):,} in all" if keys and seen else ""
        terminal.say(f"{found.matched:,} of the first {seen:,}{of_all} keys match{about}; they are removed now")
    _say_examples(found, terminal)


def _say_examples(outcome: Outcome, terminal: Terminal) -> None:
    for key in outcome.examples:
        terminal.say(f"  {show_key(key)}")


def _how_to_go_on(outcome: Outcome, nodes: int, pattern: str) -> str:
    place = outcome.place
    cursor = "" if place is None else f"{place.address}/{place.cursor}" if nodes > 1 else str(place.cursor)
    done = f"{outcome.matched:,} keys matched so far, {outcome.removed:,} were removed"
    return f"{done}; go on with --cursor {cursor}"


def _report(outcome: Outcome, order: Order, redis: AnyRedis, keys: int | None, terminal: Terminal) -> Exit:
    spent = redis.spending.spent
    shown = show_key(order.pattern)
    place = outcome.place
    result = {
        "pattern": shown,
        "matched": outcome.matched,
        "removed": outcome.removed,
        "dry_run": not order.removes,
        "billed_commands": spent,
        "cursor": None if place is None else f"{place.address}/{place.cursor}",
    }
    if outcome.kept:
        terminal.say(f"{outcome.kept:,} more match and were left alone: they are live keys of tenantcache")
    of_all = f" of {keys:,}" if keys is not None else ""
    if order.removes:
        text = f"{outcome.removed:,} keys removed that match {shown}; {spent:,} billed commands"
    else:
        text = f"{outcome.matched:,}{of_all} keys match {shown}; {spent:,} billed commands, nothing removed"
        _say_examples(outcome, terminal)
        if outcome.matched:
            terminal.say("run it again with --yes to remove them")
    terminal.show(result, Text(text))
    if outcome.refusal is not None:
        terminal.say(outcome.refusal)
        return Exit.UNREACHABLE
    return Exit.FINE if place is None else Exit.FINDINGS
