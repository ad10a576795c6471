"""Judges the expiry of a pattern of keys by the guide's table of times to live.

The table is that of the Redis Usage Prevention Guide, "Cache TTL Guidelines". What kind of data a pattern holds is
told from its words. A sample shows the time that is left and not the time that was set. The longest that is left of
some keys comes close to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tenantcache.budget.core.finding import Severity
from tenantcache.budget.core.keyreport import NO_TTL, PatternReport


class Kind(Enum):
    """What a key holds, and the seconds after which it should expire: from, to."""

    CONFIG = "static config", 3600, 3600
    PROFILE = "user profiles", 1800, 1800
    SESSION = "session data", 300, 300
    RATE_LIMIT = "rate limits", 60, 60
    RESPONSE = "API responses", 60, 300

    def __init__(self, label: str, least: int, most: int) -> None:
        self.label = label
        self.least = least
        self.most = most


MARGIN = 4
"""Times to live within a factor of it are taken as the guide's: "based on freshness needs"."""

ENOUGH = 8
"""Keys that must have been asked before the longest time left says that a time to live is short. By chance all of 8
have less than a quarter of theirs left once in 65,536 times."""

CHURN = 10
"""Seconds. What lives no longer is set again all the time: the guide's first anti-pattern."""

_WORDS = {
    "config": Kind.CONFIG, "configs": Kind.CONFIG, "settings": Kind.CONFIG, "setting": Kind.CONFIG,
    "feature": Kind.CONFIG, "features": Kind.CONFIG, "flag": Kind.CONFIG, "flags": Kind.CONFIG,
    "tenant": Kind.CONFIG, "tenants": Kind.CONFIG, "plan": Kind.CONFIG, "plans": Kind.CONFIG,
    "profile": Kind.PROFILE, "profiles": Kind.PROFILE, "user": Kind.PROFILE, "users": Kind.PROFILE,
    "account": Kind.PROFILE, "accounts": Kind.PROFILE, "member": Kind.PROFILE, "customer": Kind.PROFILE,
    "session": Kind.SESSION, "sessions": Kind.SESSION, "sess": Kind.SESSION,
    "ratelimit": Kind.RATE_LIMIT, "ratelimits": Kind.RATE_LIMIT, "ratelimiter": Kind.RATE_LIMIT,
    "limiter": Kind.RATE_LIMIT, "limits": Kind.RATE_LIMIT, "throttle": Kind.RATE_LIMIT, "quota": Kind.RATE_LIMIT,
    "response": Kind.RESPONSE, "responses": Kind.RESPONSE, "cache": Kind.RESPONSE, "page": Kind.RESPONSE,
    "pages": Kind.RESPONSE, "api": Kind.RESPONSE, "http": Kind.RESPONSE, "query": Kind.RESPONSE,
    "queries": Kind.RESPONSE, "view": Kind.RESPONSE, "views": Kind.RESPONSE, "transactions": Kind.RESPONSE,
}  # fmt: skip
_ANYWHERE = (Kind.RATE_LIMIT, Kind.SESSION)
_PIECE = re.compile(r"[a-z]+")
_RATE_LIMIT = re.compile(r"rate[-_]?limit|throttl", re.IGNORECASE)
_WINDOWS = (
    (re.compile(r"dail|day|\{date\}(?!.*\{time\})", re.IGNORECASE), 86_400),
    (re.compile(r"hour", re.IGNORECASE), 3_600),
)
_QUEUES = frozenset({"celery", "kombu", "arq", "rq", "bull", "sidekiq"})
_COLLECTIONS = frozenset({"list", "set", "zset", "stream", "hash"})


@dataclass(frozen=True, slots=True)
class Expiry:
    """What is said of one pattern. `without` is the share of its keys that never expire; None if it is not known.

    `guide` are the seconds from and to, if the kind is told. `longest` is the longest time left of the asked keys.
    """

    pattern: str
    keys: int
    kind: Kind | None
    without: float | None
    longest: int | None
    guide: tuple[int, int] | None
    severity: Severity
    says: str

    def as_json(self) -> dict[str, Any]:
        return {
            "pattern": self.pattern,
            "keys": self.keys,
            "kind": None if self.kind is None else self.kind.label,
            "without_expiry": self.without,
            "longest_ttl": self.longest,
            "guide_ttl": None if self.guide is None else list(self.guide),
            "severity": self.severity.value,
            "says": self.says,
        }


def kind_of(pattern: str) -> Kind | None:
    """The kind of data, from the words of a pattern.

    One about limits or sessions decides wherever it stands: `ratelimit:user:{id}`. Else the last one that is known
    does: `user:{id}:settings`.
    """
    if _RATE_LIMIT.search(pattern):
        return Kind.RATE_LIMIT
    bare = re.sub(r"\{\w+\}", " ", pattern).lower()
    found = [_WORDS[word] for word in _PIECE.findall(bare) if word in _WORDS]
    return next((kind for kind in _ANYWHERE if kind in found), found[-1] if found else None)


def judge(report: PatternReport) -> Expiry:
    """What to say of a pattern, from the sample of its keys."""
    kind = kind_of(report.pattern)
    guide = None if kind is None else _guide(kind, report.pattern)
    without = report.ttl.get(NO_TTL, 0.0) if report.ttl else None
    if without is None:
        severity, says = Severity.OK, "not asked"
    elif without:
        severity, says = _judge_without(report, kind, guide, without)
    else:
        severity, says = _judge_lifetime(report, kind, guide)
    return Expiry(report.pattern, report.keys, kind, without, report.longest_ttl, guide, severity, says)


def _guide(kind: Kind, pattern: str) -> tuple[int, int]:
    """A counter lives as long as its window, and the guide has daily ones as well."""
    if kind is Kind.RATE_LIMIT:
        window = next((seconds for words, seconds in _WINDOWS if words.search(pattern)), kind.most)
        return kind.least, window
    return kind.least, kind.most


def _judge_lifetime(report: PatternReport, kind: Kind | None, guide: tuple[int, int] | None) -> tuple[Severity, str]:
    longest = report.longest_ttl or 0
    enough = report.asked >= ENOUGH and kind is not Kind.RATE_LIMIT
    if enough and longest <= CHURN:
        return Severity.WARN, f"lives {longest} s at most: it is written again all the time"
    if guide is None:
        return Severity.OK, ""
    if enough and longest < guide[0] / MARGIN:
        return Severity.WARN, f"lives about {longest:,} s; the guide has {guide[0]:,} s, which saves writes"
    if longest > guide[1] * MARGIN:
        return Severity.WARN, f"lives {longest:,} s or more; the guide has {guide[1]:,} s"
    return Severity.OK, ""


def _judge_without(
    report: PatternReport, kind: Kind | None, guide: tuple[int, int] | None, without: float
) -> tuple[Severity, str]:
    types = set(report.types or ())
    collections = bool(types) and types <= _COLLECTIONS
    if report.owner in _QUEUES and collections:
        return Severity.OK, f"a queue of {report.owner}: it lives as long as its work"
    if report.keys == 1:
        return Severity.OK, "one key that never expires"
    share = "all" if without == 1 else f"{without:.0%}"
    if kind is None or guide is None:
        return Severity.WARN, f"{share} never expire"
    severity = Severity.WARN if kind in (Kind.CONFIG, Kind.PROFILE) else Severity.CRIT
    return severity, f"{share} never expire; the guide has {guide[1]:,} s for {kind.label}"
