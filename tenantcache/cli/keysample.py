"""A sample of keys for `doctor`, as `tenantcache analyze` takes it."""

from __future__ import annotations

from tenantcache.budget.core.facts import KeyFacts, PatternFacts
from tenantcache.budget.core.keyreport import NO_TTL, KeyReport, PatternReport
from tenantcache.budget.sampling import sample_keys
from tenantcache.cli.keyreading import commands_bar
from tenantcache.cli.terminal import Terminal
from tenantcache.stores.anyredis import AnyRedis

LEAST = 20
"""Billed commands below which a sample tells nothing."""


async def sample(redis: AnyRedis, most: int, terminal: Terminal) -> KeyFacts | None:
    """Look at the keys of a Redis that has some, with at most `most` billed commands.

    None if so few say nothing, or if this server names no keys to this user.

    Raises UnreachableError and OverQuotaError.
    """
    if most < LEAST:
        return None
    with commands_bar(terminal) as bar:
        task = bar.add_task("billed commands", total=most)
        report = await sample_keys(
            redis, max_commands=most, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    return key_facts(report) if report.sampled else None


def key_facts(report: KeyReport) -> KeyFacts:
    """What the rules need of a report."""
    sizes_are_told = any(pattern.bytes is not None for pattern in report.patterns) or not report.patterns
    return KeyFacts(
        sampled=report.sampled,
        patterns=tuple(_pattern_facts(pattern) for pattern in report.patterns),
        largest=tuple((key.key, key.bytes) for key in report.largest) if sizes_are_told else None,
        notes=report.notes,
    )


def _pattern_facts(pattern: PatternReport) -> PatternFacts:
    without = pattern.ttl.get(NO_TTL, 0.0) if pattern.ttl else None
    return PatternFacts(pattern.pattern, pattern.keys, without, pattern.longest_ttl, pattern.owner, pattern.secret)
