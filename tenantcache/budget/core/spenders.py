"""Which library sends which commands, told from the mix of commands and the libraries whose keys are there.

INFO counts commands without their keys. If just one of the libraries whose keys are there sends a command by its
nature, the calls of that command are taken to be its own. Commands that several of them send belong to none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tenantcache.budget.core.prices import FREE

LIMITERS = frozenset({"upstash-ratelimit", "limits", "fastapi-limiter"})
"""Rate limiters that ask Redis at each request."""

SENT_BY: Mapping[str, frozenset[str]] = {
    "tenantcache": frozenset({"BITFIELD"}),
    "upstash-ratelimit": frozenset({"EVAL", "EVALSHA", "ZINCRBY"}),
    "limits": frozenset({"EVALSHA", "SCRIPT"}),
    "fastapi-limiter": frozenset({"EVALSHA", "SCRIPT"}),
    "celery": frozenset({"BRPOP", "LPUSH", "PUBLISH", "SETEX"}),
    "kombu": frozenset({"BRPOP", "LPUSH"}),
    "arq": frozenset({"ZRANGEBYSCORE", "PSETEX"}),
    "rq": frozenset({"BLMOVE", "LMOVE", "BLPOP", "RPUSH"}),
    "bull": frozenset({"BZPOPMIN", "EVALSHA", "XADD", "BRPOPLPUSH"}),
    "sidekiq": frozenset({"BRPOP", "LPUSH", "ZREMRANGEBYSCORE"}),
}
"""Commands that a library sends by its nature, beside those that any application sends."""


def commands_by_owner(calls: Mapping[str, int], owners: Iterable[str]) -> dict[str, float]:
    """The share of the billed commands that each of `owners` sends for certain; without those that send none."""
    present = [owner for owner in owners if owner in SENT_BY]
    billed = sum(count for name, count in calls.items() if name not in FREE)
    sent: dict[str, float] = {}
    for name, count in calls.items():
        senders = [owner for owner in present if name in SENT_BY[owner]]
        if len(senders) == 1:
            sent[senders[0]] = sent.get(senders[0], 0.0) + count / billed
    return sent
