"""Which library a key belongs to, told from its shape.

A fingerprint is the shape that a library gives its keys by default, or as its documentation has people configure it.
An application may choose another prefix, and then the key has no owner here: None is better than a wrong name. Names
that applications use as well ("queues", "schedule") count only together with the type that the library gives them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The shape of a key. `kinds` are the types (as TYPE answers) that it may have; empty: any.

    `only_with_kind`: the shape alone is too common to tell.
    """

    owner: str
    shape: re.Pattern[bytes]
    kinds: frozenset[str] = frozenset()
    only_with_kind: bool = False

    def fits(self, key: bytes, kind: str) -> bool:
        if kind:
            return (not self.kinds or kind in self.kinds) and self.shape.fullmatch(key) is not None
        return not self.only_with_kind and self.shape.fullmatch(key) is not None


def owner_of(key: bytes, kind: str = "") -> str | None:
    """The library that `key` belongs to, like "celery"; None if that cannot be told.

    `kind` is Redis' TYPE of the key (string, list, hash, set, zset, stream), and "" if it is not known.
    """
    return next((one.owner for one in FINGERPRINTS if one.fits(key, kind)), None)


_UUID = rb"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
_NAME = rb"[A-Za-z_]\w*"
_FUNCTION = rb"(?:__main__|%(n)s(?:\.%(n)s)+):%(n)s(?::%(n)s:[^:]*)*" % {b"n": _NAME}
"""A function of cashews: its module (with a dot, or it could be anything), its name, and its arguments."""
_PRIORITY = rb"(?:\x06\x16\d)?"
"""How kombu's queues of a priority end."""


def _table() -> Iterator[Fingerprint]:
    def shape(owner: str, pattern: bytes, kinds: str = "", *, only_with_kind: bool = False) -> Fingerprint:
        return Fingerprint(owner, re.compile(pattern, re.DOTALL), frozenset(kinds.split()), only_with_kind)

    def common(owner: str, pattern: bytes, kinds: str) -> Fingerprint:
        return shape(owner, pattern, kinds, only_with_kind=True)

    yield shape("tenantcache", rb"tenantcache:(?:probe|tenant:.+|ratelimit:.+|value:.+)", "string")
    yield shape("upstash-ratelimit", rb"@upstash/ratelimit(?::.+)?")
    yield shape("limits", rb"LIMITS:\{?LIMITER/.+/\d+/\d+/(?:second|minute|hour|day|month|year)\}?(?:/-1)?")
    yield shape("fastapi-limiter", rb"fastapi-limiter:.+", "string")
    yield shape("fastapi-redis-sdk", rb"redis:fastapi:.+")
    yield shape("celery", rb"celery-(?:task|taskset)-meta-.+")
    yield shape("celery", rb"_kombu\.binding(?:_permanent)?\.(?:celery|celeryev|celery\.pidbox|reply\.celery\.pidbox)")
    yield shape("celery", rb"(?:%s\.reply|[^@]+@.+)\.celery\.pidbox" % _UUID + _PRIORITY, "list")
    yield shape("celery", rb"celery\x06\x16\d", "list")
    yield common("celery", rb"celery", "list")
    yield shape("kombu", rb"_kombu\.binding(?:_permanent)?\..+", "set")
    yield shape("kombu", rb"_kombu\.binding_deadlines", "zset")
    yield shape("kombu", rb".+\x06\x16\d", "list")
    yield common("kombu", rb"unacked", "hash")
    yield common("kombu", rb"unacked_index", "zset")
    yield common("kombu", rb"unacked_mutex", "string")
    yield shape("arq", rb"arq:(?:abort|queue|queue:health-check|(?:job|result|in-progress|retry):.+)")
    yield shape("rq", rb"rq:[a-z_-]+(?::.+)?")
    yield shape("bull", rb"bull:[^:]+:.+")
    yield shape("sidekiq", rb"stat:(?:processed|failed)(?::\d{4}-\d\d-\d\d)?", "string")
    yield shape("sidekiq", rb"[^:]+:\d+:[0-9a-f]{12}(?::work|:workers|-signals)", "hash list")
    yield common("sidekiq", rb"queue:(?:default|critical|high|low|mailers)", "list")
    yield common("sidekiq", rb"schedule|retry|dead", "zset")
    yield common("sidekiq", rb"queues|processes", "set")
    yield shape("fastapi-cache", rb"fastapi-cache:.*:[0-9a-f]{32}", "string")
    yield shape("django-redis", rb":\d+:.+")
    yield shape("flask-caching", rb"flask_cache_.+", "string")
    yield shape("aiocache", rb"[\w.]+\(.*\)\[.*\](?:-lock)?", "string")
    yield shape("cashews", rb"(?:early:v\d+|soft|hit|fail|locked|rate_limit):%s(?::counter)?" % _FUNCTION, "string")
    yield shape("cashews", rb"(?:srl:%s|circuit_breaker:%s:\w+)" % (_FUNCTION, _FUNCTION))
    yield common("cashews", rb"_tag:.+", "set")


FINGERPRINTS: tuple[Fingerprint, ...] = tuple(_table())
"""The first that fits counts."""
