"""Which library sends which commands, told from the mix of commands and the libraries whose keys are there.

INFO counts commands without their keys. If just one of the libraries whose keys are there sends a command by its
nature, the calls of that command are taken to be its own. Commands that several of them send belong to none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tenantcache.budget.core.prices import FREE

LIMITERS = frozenset({"upstash-ratelimit", "limits", "fastapi-limiter"})
"""Rate limiters that ask Redis at each request."""

_SCRIPTS = frozenset({"EVAL", "EVALSHA", "SCRIPT"})

SENT_BY: Mapping[str, frozenset[str]] = {
    "tenantcache": frozenset({"BITFIELD"}),
    "upstash-ratelimit": _SCRIPTS | {"ZINCRBY"},
    "limits": _SCRIPTS | {"PTTL", "LINDEX"},
    "fastapi-limiter": _SCRIPTS,
    "cashews": _SCRIPTS,
    "celery": _SCRIPTS | {"BRPOP", "LPUSH", "LLEN", "PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE", "SETEX"},
    "kombu": frozenset({"BRPOP", "LPUSH", "LLEN"}),
    "arq": frozenset({"ZRANGEBYSCORE", "PSETEX"}),
    "rq": frozenset({"LPOP", "RPUSH", "PERSIST", "ZRANGEBYSCORE", "HINCRBYFLOAT"}),
    "bull": _SCRIPTS | {"BZPOPMIN", "BRPOPLPUSH", "RPOPLPUSH", "XADD", "XTRIM", "LPUSH", "PUBLISH", "LLEN"},
    "sidekiq": _SCRIPTS | {"BRPOP", "RPOP", "LPUSH", "SSCAN", "ZRANGEBYSCORE", "LLEN"},
    "fastapi-cache": frozenset({"TTL"}),
}
"""Commands that a library sends by its nature, those of its scripts among them, beside those that any application
sends. The recordings of the libraries in tests/owners have them."""


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
