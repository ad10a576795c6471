"""Runs scenarios, one after the other."""

from __future__ import annotations

import argparse
import asyncio

from benchmarks import simulate_limits
from benchmarks.simulate_limits.scenarios import DEFAULT, SCENARIOS


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulate_limits",
        description=simulate_limits.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ", ".join(SCENARIOS)
    parser.add_argument("scenarios", nargs="*", metavar="scenario", help=f"{names}; default: {', '.join(DEFAULT)}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tenants", type=int, help="in place of the scenario's, except in use")
    parser.add_argument("--rate", type=float, help="requests a second in all, likewise")
    parser.add_argument("--processes", type=int, help="likewise")
    parser.add_argument("--hours", type=float, help="virtual hours, likewise")
    parser.add_argument("--per-minute", type=int, default=600, help="limit of each tenant, except in busy and use")
    parser.add_argument("--per-day", type=int, default=100_000, help="likewise")
    parser.add_argument("--minutes", type=int, default=200, help="virtual minutes of use; a tenth of it for 60,000")
    parser.add_argument(
        "--start-minute", type=int, default=7, help="minutes after a full hour (and midnight) to start at"
    )
    parser.add_argument("--cold", action="store_true", help="processes start without first tokens of all tenants")
    parser.add_argument("--sliding", action="store_true", help="minutes slide")
    options = parser.parse_args()
    for name in options.scenarios or DEFAULT:
        if name not in SCENARIOS:
            parser.error(f"unknown scenario {name!r}: choose from {names}")
    for name in options.scenarios or DEFAULT:
        asyncio.run(_run(name, options))


async def _run(name: str, options: argparse.Namespace) -> None:
    await SCENARIOS[name](options)


if __name__ == "__main__":
    main()
