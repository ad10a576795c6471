"""Draws docs/images/doctor.svg and docs/images/watch.svg: `python -m tests.terminals`.

They show what the commands print of a Redis like one that was reported in public: 350 kB of data, nearly all of them
counters of a rate limiter without expiry, and $84 a month. The facts are written down here, so the pictures are the
same at each run, and a test holds them to the code.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console, RenderableType
from rich.padding import Padding

from tenantcache.budget.core.diagnosis import diagnose
from tenantcache.budget.core.facts import Facts, FleetFacts, KeyFacts, PatternFacts
from tenantcache.budget.core.finding import EVERY
from tenantcache.budget.core.plans import PLANS
from tenantcache.budget.core.serverfacts import ServerFacts, read_facts
from tenantcache.budget.core.traffic import traffic_of
from tenantcache.cli.findings import render
from tenantcache.cli.vitals import Vitals, headline, table
from tenantcache.cli.watch import HISTORY, picture

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
ADDRESS = "eu1-calm-cat-31337.upstash.io:6379"
WIDTH = 104
DAYS = 30

INFO = {
    "redis_version": "8.2.0",
    "upstash_version": "1.15.2",
    "uptime_in_seconds": DAYS * 86_400,
    "connected_clients": 14,
    "used_memory": 350_000,
    "maxmemory": 0,
    "instantaneous_ops_per_sec": 118,
    "total_commands_processed": 42_000_000,
    "keyspace_hits": 5_300_000,
    "keyspace_misses": 7_900_000,
    "expired_keys": 11_000,
    "evicted_keys": 0,
    "total_net_input_bytes": 3 << 30,
    "total_net_output_bytes": 2 << 30,
    "db0": {"keys": 4_120, "expires": 310, "avg_ttl": 42_000},
    "cmdstat_evalsha": {"calls": 13_100_000},
    "cmdstat_incrby": {"calls": 13_100_000},
    "cmdstat_pexpire": {"calls": 2_700_000},
    "cmdstat_zincrby": {"calls": 9_800_000},
    "cmdstat_get": {"calls": 3_300_000},
}

KEYS = KeyFacts(
    sampled=480,
    patterns=(
        PatternFacts("@upstash/ratelimit:{ip}:{id}", 2_890, without_expiry=1.0, owner="upstash-ratelimit"),
        PatternFacts("@upstash/ratelimit:events:{id}", 620, without_expiry=1.0, owner="upstash-ratelimit"),
        PatternFacts("post_views_{id}", 300, without_expiry=1.0),
        PatternFacts("session:{uuid}", 310, longest_ttl=86_000),
    ),
    largest=(("@upstash/ratelimit:events:1764000000", 9_400),),
)


def sick_facts() -> Facts:
    server = read_facts([INFO], host=ADDRESS.partition(":")[0])
    return Facts(
        server,
        traffic_of(server),
        sample=KEYS,
        refused=("CONFIG GET", "OBJECT IDLETIME"),
        plan=PLANS["upstash-payg"],
    )


def doctor() -> Iterable[RenderableType]:
    facts = sick_facts()
    vitals = Vitals(ADDRESS, facts.server, facts.traffic)
    yield headline(vitals)
    yield ""
    yield Padding(table(vitals), (0, 0, 0, 2))
    yield ""
    yield from render(diagnose(facts, EVERY), EVERY, 552)


def watch() -> Iterable[RenderableType]:
    before = ServerFacts(1, processed=0, hits=0, misses=0, evicted=0, uptime=1)
    told = {name: value for name, value in INFO.items() if not name.startswith("cmdstat_")}
    after = read_facts([{**told, "total_commands_processed": 236, "keyspace_hits": 41, "keyspace_misses": 73}])
    fleet = FleetFacts(371_204, "commands", 500_000, "thrift", 498_310, (471_022, 525_598), None)
    traffic = traffic_of(after, before, seconds=2)
    history = deque((18.0 + 9 * (n % 5) + (90 if n > 48 else 0) + 4 * (n % 3) for n in range(HISTORY)), maxlen=HISTORY)
    yield picture(Vitals(ADDRESS, after, traffic, fleet), history)


def drawn(title: str, parts: Iterable[RenderableType]) -> str:
    """The SVG of what a terminal shows."""
    console = Console(width=WIDTH, record=True, force_terminal=True, file=io.StringIO(), color_system="truecolor")
    for part in parts:
        console.print(part)
    return console.export_svg(title=title)


PICTURES = {"doctor": doctor, "watch": watch}


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, parts in PICTURES.items():
        (IMAGES / f"{name}.svg").write_text(drawn(f"tenantcache {name}", parts()), encoding="utf-8")


if __name__ == "__main__":
    main()
