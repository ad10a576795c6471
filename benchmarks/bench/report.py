"""What was measured, as Markdown: the tables of docs/benchmarks.md, and the short one of the README."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.bench import fleet
from benchmarks.bench.coldstart import AWAITED
from benchmarks.bench.contenders import BARE, FLOOR_WITH_BOTH, FLOOR_WITHOUT, OURS, PASSING, QUIET
from benchmarks.bench.prices import PRICES, RATES
from benchmarks.pages import table

PLOTS = "bench"
"""The directory of the plots, as seen from the document."""

Results = dict[str, Any]


def document(results: Results) -> str:
    parts = [_measured_on(results), _targets(results)]
    for name, write in SECTIONS.items():
        if name in results:
            parts.append(write(results))
    parts.append(_set_up(results))
    return "\n\n".join(part for part in parts if part)


def summary_table(results: Results) -> str:
    """The README's: all contenders that do the whole job."""
    per_second = 100
    head = (
        "",
        "added CPU a request",
        "requests/s over bare Starlette",
        "p99",
        "Redis commands a request",
        f"a month at {per_second} requests/s",
    )
    rows = []
    for name in _of_job(results, "both", "floor"):
        commands = commands_per_request(results, name)
        cost = "" if commands is None else _dollars(PRICES[0].month(commands * per_second))
        http = results["http"][name]
        rows.append(
            (
                f"**{name}**" if name.startswith(OURS) else name,
                f"{results['cost'][name]['added']['median']:.1f} µs",
                f"{http['over_bare']['median']:.2f}",
                f"{http['p99']['median'] * 1e3:.1f} ms",
                "" if commands is None else _ratio(commands),
                cost,
            )
        )
    return "\n\n".join(
        (
            _measured_on(results),
            table(head, rows),
            "Commands of tenantcache: limits of 10,000 Zipf(1.0) tenants on 4 processes, the first hour, simulated; "
            f"of the others: counted by the server. Prices: those of {PRICES[0].name}. All tables, and how they "
            "came about: [docs/benchmarks.md](docs/benchmarks.md).",
        )
    )


def faults(results: Results) -> list[str]:
    """Lines to print about answers of ours that make a run a failed one: a start that was too much shows in 503s."""
    runs = {f"(c) {name}": found for name, found in results.get("commands", {}).get(OURS, {}).items()}
    runs |= {f"(e) {name}": found for name, found in results.get("coldstart", {}).items()}
    return [
        fault for what, run in runs.items() if isinstance(run, dict) for fault in fleet.faults(what, run["statuses"])
    ]


def commands_per_request(results: Results, name: str) -> float | None:
    """None for contenders without Redis. tenantcache's: simulated, of a full hour, else as counted."""
    if "commands" not in results:
        return None
    if name.startswith(OURS):
        hours = [row for row in results["commands"].get("simulated", ()) if row["load"].startswith("zipf")]
        if not hours:
            return float(results["commands"][OURS]["zipf"]["per_request"])
        first_load = [row for row in hours if row["load"] == hours[0]["load"]]
        return float(first_load[-1]["per_request"])
    found = results["commands"]["alternatives"].get(name)
    return None if found is None else float(found["per_request"])


# Sections.


def _measured_on(results: Results) -> str:
    found, versions = results["machine"], results["machine"]["versions"]
    named = ", ".join(
        f"{name} {versions[name]}" for name in ("tenantcache", "starlette", "uvicorn", "redis", "hiredis")
    )
    return (
        f"Measured on {found['date']}: {found['cpu']}, {found['cores']} cores, {found['system']}, {found['python']}, "
        f"{named}; load by {found['load generator']}."
    )


def _targets(results: Results) -> str:
    rows = [
        (name, figure, aim, "yes" if met else "**no**")
        for name, figure, aim, met in _judged(results)
        if figure is not None
    ]
    return "## What was to be reached\n\n" + table(("", "measured", "aim", "reached"), rows) if rows else ""


def _judged(results: Results) -> Iterable[tuple[str, str, str, bool]]:
    if "cost" in results:
        cost = results["cost"]
        over = cost[OURS]["over_floor"]
        yield "(a) added CPU, both headers, over the floor's", f"{over:.2f}", "at most 2.0", over <= 2.0
        cheapest = min(cost[name]["added"]["median"] for name in _on_redis(results))
        times = cheapest / cost[OURS]["added"]["median"]
        yield "(a) the cheapest alternative with Redis costs", f"{times:.0f} times that", "at least 30", times >= 30
    if "http" in results:
        http = results["http"]
        for name, aim in ((OURS, 0.90), (QUIET, 0.97)):
            ratio = http[name]["over_bare"]["median"]
            yield f"(b) requests/s over bare Starlette, {name}", f"{ratio:.3f}", f"at least {aim:.2f}", ratio >= aim
        times = http[OURS]["requests_per_second"]["median"] / _best_rate(results)
        yield "(b) requests/s over the best alternative", f"{times:.1f}", "at least 4", times >= 4
    if "commands" in results:
        yield from _judged_commands(results["commands"])
    if "scale" in results:
        scale = results["scale"]
        sizes = sorted(scale, key=int)
        growth = scale[sizes[-1]]["busy"]["median"] / scale[sizes[0]]["busy"]["median"]
        yield (
            f"(d) cost at {int(sizes[-1]):,} tenants over that at {int(sizes[0]):,}",
            f"{growth:.2f}",
            "at most 1.3",
            growth <= 1.3,
        )
        weight = scale[sizes[-1]]["bytes"]
        yield "(d) bytes a cached tenant", f"{weight:,.0f}", "at most 1,229 (1.2 KB)", weight <= 1229
    if "coldstart" in results:
        cold = results["coldstart"]
        queries = cold["with Redis"]["queries_per_tenant"]
        yield "(e) queries a tenant, four workers with Redis", f"{queries:.2f}", "at most 1.2", queries <= 1.2
        found = cold[AWAITED]
        most = 3 * found["workers"]  # the stream, and what the index of known hosts reads
        name = "(e) queries of all workers, warmed up before traffic"
        yield name, f"{found['queries']}", f"at most {most}", found["queries"] <= most
    if "staleness" in results:
        p99 = results["staleness"]["p99"]
        yield "(f) p99 from commit to the last stale answer", f"{p99 * 1e3:.1f} ms", "under 10 ms", p99 < 0.010


def _judged_commands(commands: Results) -> Iterable[tuple[str, str, str, bool]]:
    for row in commands.get("simulated", ()):
        aim = 0.01 if row["load"].startswith("busy") else 0.004
        figure = f"{row['per_request']:.4f}"
        yield f"(c) {row['load']}, hour {row['hour']}, simulated", figure, f"at most {aim}", row["per_request"] <= aim
    denied = commands[OURS]["per_denied"]
    yield "(c) commands for a denied request", f"{denied:g}", "0", denied == 0


def _cost(results: Results) -> str:
    rows = [
        (
            name,
            _spread(found["cpu"], ".2f"),
            _spread(found["added"], ".2f"),
            f"{found['over_floor']:.2f}" if name != BARE else "",
            f"{found['wall']['median']:.1f}",
        )
        for name, found in results["cost"].items()
    ]
    head = ("", "CPU, µs", "added, µs", "over the floor's", "wall clock, µs")
    return f"## (a) Cost per request, in process\n\n![Added cost per request]({PLOTS}/cost.svg)\n\n" + table(head, rows)


def _http(results: Results) -> str:
    rows = [
        (
            name,
            _spread(found["requests_per_second"], ",.0f"),
            _spread(found["over_bare"], ".3f"),
            *(f"{found[key]['median'] * 1e3:.2f}" for key in ("p50", "p90", "p99")),
        )
        for name, found in results["http"].items()
    ]
    head = ("", "requests/s", "over bare", "p50, ms", "p90, ms", "p99, ms")
    plot = f"## (b) Over HTTP\n\n![Requests per second]({PLOTS}/http.svg)"
    return "\n\n".join((plot, table(head, rows), _bounds(results)))


def _bounds(results: Results) -> str:
    """What the aims of (b) can be held against: Python's own cost in this place, and that of the headers."""
    http = results["http"]
    if PASSING not in http:
        return ""
    kept = {name: f"{found['over_bare']['median']:.3f}" for name, found in http.items()}
    return (
        f"A middleware in Python that does nothing at all keeps {kept[PASSING]} of bare Starlette. Without a header "
        f"the floor keeps {kept[FLOOR_WITHOUT]}, and tenantcache {kept[QUIET]}. With the two headers that tenantcache "
        f"sends, the floor keeps {kept[FLOOR_WITH_BOTH]}, and tenantcache {kept[OURS]}. The server checks each header "
        "by regular expressions and writes it, whichever middleware has set it. The floor with both headers serves "
        f"{http[FLOOR_WITH_BOTH]['requests_per_second']['median'] / _best_rate(results):.1f} times as many requests "
        "as the best alternative."
    )


def _best_rate(results: Results) -> float:
    """Requests a second of the best alternative that asks Redis."""
    rates: list[float] = [results["http"][name]["requests_per_second"]["median"] for name in _on_redis(results)]
    return max(rates)


def _commands(results: Results) -> str:
    commands = results["commands"]
    parts = [
        f"## (c) Billed Redis commands\n\n![Commands per request]({PLOTS}/commands.svg)",
        _of_alternatives(commands["alternatives"]),
        f"tenantcache on four processes, counted over {commands[OURS]['busy']['seconds']:.0f} s from a cold start, "
        "with all tenants new, and at the orderly stop, which gives unused tokens back. Each denied request: "
        f"{commands[OURS]['per_denied']:g}.",
        _counted_of_ours(commands[OURS]),
        *_simulated(commands),
    ]
    return "\n\n".join([*parts, _prices(results)])


def _of_alternatives(found_by_name: Results) -> str:
    rows = [
        (
            name,
            f"{found['per_request']:g}",
            f"{found['per_denied']:g}",
            _by_name(found["statuses"]),
            _by_name(found["by_command"]),
        )
        for name, found in found_by_name.items()
    ]
    return table(("", "a request", "a denied request", "answers", "counted in 500 requests"), rows)


def _counted_of_ours(ours: Results) -> str:
    rows = [
        (
            f"{name}: {found['tenants']:,} tenants",
            _by_name(found["statuses"]),
            f"{found['commands']:,}",
            f"{found['at_stop']:,}",
            f"{found['per_request']:.4f}",
            f"{found['per_request_for_limits']:.4f}",
            f"{found['own_meter']:,}",
            _by_name(found["by_command"]),
        )
        for name, found in ours.items()
        if isinstance(found, dict)
    ]
    head = ("", "answers", "commands", "at the stop", "a request before", "for limits", "its own meter", "of which")
    return table(head, rows)


def _simulated(commands: Results) -> Iterator[str]:
    if minute := commands.get("simulated_minute"):
        told = "; ".join(f"{row['load']}: {row['per_request']:.4f}" for row in minute)
        yield f"The first minute in virtual time, for limits, a request: {told}."
    if simulated := commands.get("simulated"):
        rows = [
            (row["load"], str(row["hour"]), f"{row['requests']:,}", f"{row['commands']:,}", f"{row['per_request']:.4f}")
            for row in simulated
        ]
        yield "Whole hours, in virtual time (`make limits`), for limits alone:"
        yield table(("load", "hour", "requests", "commands", "a request"), rows)


def _prices(results: Results) -> str:
    head = ["", *(f"{price.name}, {rate:,}/s" for price in PRICES for rate in RATES)]
    rows = []
    for name in _of_job(results, "both"):
        commands = commands_per_request(results, name)
        if commands is not None and name != QUIET:
            rows.append((name, *(_dollars(price.month(commands * rate)) for price in PRICES for rate in RATES)))
    return "What that is in US dollars a month of 30 days, by list prices:\n\n" + table(head, rows)


def _scale(results: Results) -> str:
    rows = [
        (
            f"{int(size):,}",
            _spread(found["busy"], ".2f"),
            _spread(found["all"], ".2f"),
            f"{found['bytes']:,.0f}",
            f"{found['fill_seconds']:.2f}",
            f"{found['longest_block'] * 1e3:.0f}",
        )
        for size, found in results["scale"].items()
    ]
    head = (
        "tenants cached",
        "100 busy ones, µs",
        "all of them, µs",
        "bytes a tenant",
        "filled in, s",
        "longest block, ms",
    )
    note = "With a hundred tenants the process's own memory is a large part of the bytes. Read the last rows."
    return (
        f"## (d) Scale\n\n![Cost and memory by number of tenants]({PLOTS}/scale.svg)\n\n{table(head, rows)}\n\n{note}"
    )


def _coldstart(results: Results) -> str:
    rows = []
    for name, found in results["coldstart"].items():
        reached = found["seconds_to_hit_rate"]
        rows.append(
            (
                name,
                f"{found['touched']:,}",
                f"{found['queries']:,}",
                f"{found['queries_per_tenant']:.3f}",
                f"{found['commands']:,}",
                f"{found['seconds_to_open']:.2f}",
                "not reached" if reached is None else f"{reached:.2f}",
                _by_name(found["statuses"]),
            )
        )
    head = (
        "",
        "asked for",
        "queries",
        "a tenant",
        "Redis commands",
        "ready, s",
        "99 % hits after, s",
        "answers",
    )
    return "## (e) Cold start\n\n" + table(head, rows)


def _staleness(results: Results) -> str:
    found = results["staleness"]
    row = [f"{found[key] * 1e3:.1f}" for key in ("p50", "p90", "p99", "longest")]
    written = table(("p50, ms", "p90, ms", "p99, ms", "longest, ms", "commits", "answers"), [
        (*row, f"{found['commits']:,}", f"{found['answers']:,}")
    ])  # fmt: skip
    return f"## (f) An update under load\n\n{written}"


SECTIONS = {
    "cost": _cost,
    "http": _http,
    "commands": _commands,
    "scale": _scale,
    "coldstart": _coldstart,
    "staleness": _staleness,
}


def _set_up(results: Results) -> str:
    versions = results["machine"]["versions"]
    rows = []
    for name, found in results["contenders"].items():
        version = versions.get(name.partition(",")[0], "")
        rows.append((name, version, found["set_up"]))
    lines = [f"- **{name}**: {reason}." for name, reason in results["left_out"].items()]
    return (
        "## Who took part\n\n"
        + table(("", "version", "set up"), rows)
        + "\n\nLeft out, and why:\n\n"
        + "\n".join(lines)
    )


# Texts.


def _of_job(results: Results, *jobs: str) -> list[str]:
    return [name for name, found in results["contenders"].items() if found["job"] in jobs]


def _on_redis(results: Results) -> list[str]:
    return [name for name, found in results["contenders"].items() if found["on_redis"]]


def _spread(found: Results, style: str) -> str:
    """Median, and the quartiles around it."""
    return f"{found['median']:{style}} ({found['q1']:{style}} to {found['q3']:{style}})"


def _ratio(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:g}"


def _dollars(amount: float) -> str:
    return "$0" if amount == 0 else f"${amount:,.2f}" if amount < 100 else f"${amount:,.0f}"


def _by_name(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))
