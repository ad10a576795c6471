"""What was measured of values, as Markdown."""

from __future__ import annotations

from typing import Any

from benchmarks.pages import table

Results = dict[str, Any]


def document(results: Results) -> str:
    parts = [_measured_on(results), _alternatives(results), _hit_rates(results)]
    return "\n\n".join(parts)


def _measured_on(results: Results) -> str:
    found = results["machine"]
    return f"Measured on {found['date']}: {found['cpu']}, {found['cores']} cores, {found['system']}, {found['python']}."


def _alternatives(results: Results) -> str:
    head = (
        "",
        "CPU of a hit, µs",
        "over cachetools",
        "commands: miss",
        "hit",
        "invalidation",
        "loads by 1,000 callers at once",
        "stale reads of another process in the second after",
        "longest stale, ms",
        "bytes a value",
    )
    rows = []
    for name, one in results["contenders"].items():
        hit, commands, stale = results["hits"][name], one["commands"], one["staleness"]
        rows.append(
            (
                f"**{name}**" if name.startswith("tenantcache") else name,
                f"{hit['cpu']['median']:.2f} ({hit['cpu']['q1']:.2f} to {hit['cpu']['q3']:.2f})",
                f"{hit['over_floor']['median']:.1f}",
                *(f"{commands[key]:g}" for key in ("miss", "hit", "invalidation")),
                f"{one['stampede']:,}",
                f"{stale['stale']:,} of {stale['reads']:,}",
                f"{stale['longest'] * 1e3:.1f}",
                f"{one['bytes']:,.0f}",
            )
        )
    return "## Beside the alternatives\n\n" + table(head, rows)


def _hit_rates(results: Results) -> str:
    rates: dict[str, dict[str, float]] = results["hit_rates"]
    traces = list(next(iter(rates.values())))
    rows = [(name, *(f"{found[trace]:.1%}" for trace in traces)) for name, found in rates.items()]
    return "## Hit rates of a memory with room for 1 % of the keys\n\n" + table(("", *traces), rows)
