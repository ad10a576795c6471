"""Patterns beside the guide's table of times to live."""

from __future__ import annotations

import pytest

from tenantcache.budget.core.expiry import Kind, judge, kind_of
from tenantcache.budget.core.finding import Severity
from tenantcache.budget.core.keyreport import PatternReport, ttl_step


@pytest.mark.parametrize(
    ("pattern", "kind"),
    [
        ("config:features", Kind.CONFIG),
        ("tenant:{id}:settings", Kind.CONFIG),
        ("tenant:{id}:profile", Kind.PROFILE),
        ("user:{id}", Kind.PROFILE),
        ("user:{id}:session", Kind.SESSION),
        ("session:user:{id}", Kind.SESSION),
        ("ratelimit:{id}:{date}:{time}", Kind.RATE_LIMIT),
        ("@upstash/ratelimit:{ip}:{id}", Kind.RATE_LIMIT),
        ("LIMITS:LIMITER/{ip}/hello/{id}/{id}/minute", Kind.RATE_LIMIT),
        ("rate_limit:user:{id}", Kind.RATE_LIMIT),
        ("cache:{hash}", Kind.RESPONSE),
        ("transactions:page:{id}", Kind.RESPONSE),
        ("lock:{uuid}", None),
        ("{user}:x", None),
    ],
)
def test_the_kind_is_told_from_words(pattern: str, kind: Kind | None) -> None:
    assert kind_of(pattern) is kind


def pattern_of(
    pattern: str,
    *,
    never: float = 0.0,
    longest: int | None = None,
    kind: str = "string",
    owner: str | None = None,
    keys: int = 1_000,
    asked: int = 20,
) -> PatternReport:
    ttl = {"none": never} if never else {}
    return PatternReport(
        pattern,
        keys,
        (keys, keys),
        ttl={**ttl, "<=1h": 1 - never},
        types={kind: 1.0},
        owner=owner,
        asked=asked,
        longest_ttl=longest,
    )


@pytest.mark.parametrize(
    ("report", "severity", "says"),
    [
        # without expiry
        (pattern_of("ratelimit:{id}:daily", never=1.0), Severity.CRIT, "all never expire; the guide has 86,400 s"),
        (pattern_of("ratelimit:{id}:{date}:{time}", never=1.0), Severity.CRIT, "all never expire; the guide has 60 s"),
        (pattern_of("ratelimit:{id}", never=0.25), Severity.CRIT, "25% never expire; the guide has 60 s"),
        (pattern_of("user:{id}:session", never=1.0), Severity.CRIT, "the guide has 300 s for session data"),
        (pattern_of("tenant:{id}:settings", never=1.0), Severity.WARN, "the guide has 3,600 s"),
        (pattern_of("temp:{uuid}", never=1.0), Severity.WARN, "all never expire"),
        (pattern_of("config:features", never=1.0, keys=1), Severity.OK, "one key"),
        (pattern_of("bull:mail:{id}", never=1.0, kind="hash", owner="bull"), Severity.OK, "a queue of bull"),
        (pattern_of("celery-task-meta-{uuid}", never=1.0, owner="celery"), Severity.WARN, "all never expire"),
        # as the guide has it, and within a factor of four
        (pattern_of("config:{id}", longest=3_590), Severity.OK, ""),
        (pattern_of("user:{id}", longest=1_790), Severity.OK, ""),
        (pattern_of("user:{id}:session", longest=1_199), Severity.OK, ""),
        (pattern_of("ratelimit:{id}:{date}:{time}", longest=60), Severity.OK, ""),
        (pattern_of("ratelimit:{id}:{date}", longest=86_000), Severity.OK, ""),
        (pattern_of("ratelimit:{id}", longest=1), Severity.OK, ""),  # windows may be short
        # far from it
        (pattern_of("user:{id}", longest=1), Severity.WARN, "lives 1 s at most: it is written again all the time"),
        (pattern_of("lock:{uuid}", longest=5), Severity.WARN, "written again all the time"),
        (pattern_of("config:{id}", longest=600), Severity.WARN, "lives about 600 s; the guide has 3,600 s"),
        (pattern_of("config:{id}", longest=600, asked=3), Severity.OK, ""),
        (pattern_of("user:{id}:session", longest=86_400), Severity.WARN, "lives 86,400 s or more; the guide has 300 s"),
        (pattern_of("lock:{uuid}", longest=86_400), Severity.OK, ""),
    ],
)
def test_what_is_said(report: PatternReport, severity: Severity, says: str) -> None:
    found = judge(report)
    assert found.severity is severity
    assert says in found.says
    assert bool(says) == bool(found.says)


def test_what_was_not_asked_is_not_judged() -> None:
    found = judge(PatternReport("ratelimit:{id}", 10, (10, 10)))
    assert (found.severity, found.without, found.says) == (Severity.OK, None, "not asked")


def test_steps_of_times_to_live() -> None:
    assert [ttl_step(seconds) for seconds in (-1, 0, 10, 11, 60, 3_600, 604_800, 604_801)] == [
        "none",
        "<=10s",
        "<=10s",
        "<=1m",
        "<=1m",
        "<=1h",
        "<=7d",
        ">7d",
    ]
