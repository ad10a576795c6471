"""The tables of docs/bill.md, and the short one of the README."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.month.bill import (
    FREE_COMMANDS,
    LEAST_FIXED_PLAN,
    PER_COMMAND,
    PRICES_OF,
    SECONDS_A_MONTH,
    WEIGHTS,
    Purpose,
    cheapest,
    free_rate,
    pay_as_you_go,
)
from benchmarks.month.fleets import Fleet
from benchmarks.month.others import COMMANDS, GUIDE
from benchmarks.month.run import Results
from benchmarks.pages import fill, table

ROOT = Path(__file__).parents[2]


def document(months: Sequence[Results]) -> str:
    return "\n\n".join(
        (
            _set_up(months),
            "## What a month costs\n\n" + _costs(months),
            "## What it is for\n\n" + _purposes(months),
            "## Fewer and more processes\n\n" + _by_processes(months),
            "## What became of the requests\n\n" + _answers(months),
        )
    )


def headline(months: Sequence[Results]) -> str:
    guide = COMMANDS[GUIDE]
    rows = []
    for results in months:
        theirs, ours = guide * results.fleet.rate * SECONDS_A_MONTH, results.month.total
        bills = (f"{_many(total)}, {_dollars(pay_as_you_go(total))}" for total in (theirs, ours))
        rows.append((_name(results.fleet), *bills, f"{results.month.per_request:.4f}", _rate(results.month.free_rate)))
    head = ("Redis commands a month", GUIDE, "tenantcache", "a request", "requests/s that a free plan carries")
    return (
        f"A free plan of metered Redis ends at {FREE_COMMANDS:,} commands a month. At the {guide:g} commands a request "
        f"of {GUIDE}, it carries {_rate(free_rate(guide))} requests/s. With tenantcache, a deployment a day, a Redis "
        "failover and a bad tenant included ([what a fleet pays](docs/bill.md)):\n\n"
        f"{table(head, rows)}\n\nPrices: Upstash's of {PRICES_OF}, pay as you go."
    )


def faults(months: Sequence[Results]) -> list[str]:
    """What must not be."""
    return [
        f"{_name(results.fleet)}, {kind}: {day.answers.over:,} requests were admitted beyond a limit"
        for results in months
        for kind, day in results.days.items()
        if day.answers.over
    ]


def write(months: Sequence[Results]) -> None:
    fill(ROOT / "docs" / "bill.md", "month", document(months))
    fill(ROOT / "README.md", "month", headline(months))


# Tables.


def _set_up(months: Sequence[Results]) -> str:
    days = ", ".join(f"{weight} as the {kind}" for kind, weight in WEIGHTS.items())
    options = months[0].options
    warm = "filled at the start" if options.warm_up else "cold at the start"
    part = "" if options.part == 1 else f" Only {options.part:.0%} of it was simulated: these are no figures."
    return f"A month is thirty days: {days}. Memory is {warm}.{part}"


def _costs(months: Sequence[Results]) -> str:
    rows = []
    for results in months:
        month, total = results.month, results.month.total
        prices = (_dollars(pay_as_you_go(total)), _dollars(cheapest(total)))
        rows.append((_name(results.fleet), f"{month.per_request:.4f}", _many(total), *prices, _rate(month.free_rate)))
    for name, commands in COMMANDS.items():
        for results in months:
            total = commands * results.fleet.rate * SECONDS_A_MONTH
            prices = (_dollars(pay_as_you_go(total)), _dollars(cheapest(total)))
            rows.append(
                (f"{name}, {results.fleet.name}", f"{commands:g}", _many(total), *prices, _rate(free_rate(commands)))
            )
    head = ("", "commands a served request", "a month", "pay as you go", "cheapest plan", "the free plan carries, /s")
    return table(head, rows) + (
        f"\n\nPay as you go: ${PER_COMMAND * 100_000:.2f} per 100,000 commands, all of them once a month has more than "
        f"{FREE_COMMANDS:,}. A plan of ${LEAST_FIXED_PLAN:g} a month does not bill commands, if its 250 MB and 50 GB "
        f"of traffic suffice. Prices: Upstash's of {PRICES_OF}."
    )


def _purposes(months: Sequence[Results]) -> str:
    rows = []
    for results in months:
        month = results.month
        parts = (*(month.commands[purpose] for purpose in Purpose), month.starts, month.stops)
        rows.append((_name(results.fleet), *(_many(part) for part in parts)))
    head = ("commands a month", *(purpose.value for purpose in Purpose), "in first minutes", "at stops")
    return table(head, rows) + (
        "\n\nThe last two columns are parts of the others. They are what processes send in the minute after their "
        "start, and when they stop."
    )


def _by_processes(months: Sequence[Results]) -> str:
    sizes = sorted({size for results in months for size in results.by_processes})
    rows = [
        (
            f"{results.fleet.tenants:,} tenants, {results.fleet.rate:,g}/s",
            *(
                f"{results.by_processes[size].per_request:.4f}" if size in results.by_processes else ""
                for size in sizes
            ),
        )
        for results in months
        if results.by_processes
    ]
    return table(("a usual day, commands a served request", *(f"{size} processes" for size in sizes)), rows)


def _answers(months: Sequence[Results]) -> str:
    rows = []
    for results in months:
        for kind, day in results.days.items():
            found = day.answers
            counts = (found.requests, found.admitted, found.below, found.unused, found.unavailable, found.over)
            rows.append((_name(results.fleet), kind, f"{day.per_request:.4f}", *(f"{count:,}" for count in counts)))
    head = ("", "day", "commands", "requests", "served", "refused below", "unused", "503", "over")
    return table(head, rows) + (
        "\n\n*Refused below*: 429 although the tenant had asked for no more than its limits. *Unused*: what of a limit "
        "was left although more was asked for. *503*: no store could be asked. *Over*: served beyond a limit."
    )


# Words.


def _name(fleet: Fleet) -> str:
    plural = "" if fleet.rate == 1 else "s"
    return f"{fleet.name}: {fleet.tenants:,} tenants, {fleet.rate:,g} request{plural}/s, {fleet.processes} processes"


def _many(count: float) -> str:
    return f"{count / 1e6:,.2f} M" if count >= 1e5 else f"{count:,.0f}"


def _rate(per_second: float) -> str:
    return f"{per_second:,.2f}" if per_second < 10 else f"{per_second:,.0f}"


def _dollars(amount: float) -> str:
    return "free" if amount == 0 else f"${amount:,.2f}" if amount < 10 else f"${amount:,.0f}"
