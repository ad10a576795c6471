"""What clients are told of their limits: draft-ietf-httpapi-ratelimit-headers, `Retry-After` and problem bodies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from math import ceil

from starlette.types import Message, Send

from tenantcache.core.decision import Decision, Quota
from tenantcache.core.reservation import Reservation
from tenantcache.core.windows import DAY, MINUTE
from tenantcache.web.problems import QUOTA_EXCEEDED, Problem

Header = tuple[bytes, bytes]

_SECONDS = {"minute": MINUTE, "day": DAY}


@lru_cache(maxsize=1024)
def policy_value(limits: tuple[tuple[str, int], ...]) -> bytes:
    """`"minute";q=600;w=60, "day";q=100000;w=86400` of (name, limit) pairs; a named limit's end in those two words."""
    seconds = [_SECONDS[name.rpartition("-")[2]] for name, _ in limits]
    parts = zip(limits, seconds, strict=True)
    return ", ".join(f'"{name}";q={limit};w={window}' for (name, limit), window in parts).encode()


def ratelimit_headers(quotas: Sequence[Quota]) -> list[Header]:
    """`RateLimit-Policy` and `RateLimit`; nothing where nothing is limited."""
    if not quotas:
        return []
    state = ", ".join(f'"{quota.name}";r={quota.remaining};t={ceil(quota.reset)}' for quota in quotas)
    return [
        (b"ratelimit-policy", policy_value(tuple((quota.name, quota.limit) for quota in quotas))),
        (b"ratelimit", state.encode()),
    ]


class HotHeaders:
    """The two headers of a tenant's hot requests: between two looks at the counters, only tokens and time change.

    Made of a reservation at server time `now`, in seconds; holds until that one sets its `shown` to None. Making the
    headers of fresh quotas for each request costs 3.5 times as much as all else that a hot request does.
    """

    __slots__ = ("_day_later", "_day_more", "_minute_more", "_policy", "_seconds", "_state")

    def __init__(self, meter: Reservation, now: float) -> None:
        quotas = meter.quotas(now)
        more = {quota.name: quota.remaining for quota in quotas}
        self._policy = (b"ratelimit-policy", policy_value(tuple((quota.name, quota.limit) for quota in quotas)))
        self._minute_more = more["minute"] - meter.minute if "minute" in more else None
        self._day_more = more["day"] - meter.day if "day" in more else None
        # Minutes and days end on whole seconds.
        self._day_later = round(now + quotas[-1].reset - meter.until) if quotas else 0
        self._seconds = -1
        self._state = b""

    def add_to(self, send: Send, meter: Reservation, now: float) -> Send:
        """`send`, with the headers of a request that `meter` has just admitted at server time `now`."""
        seconds = ceil(meter.until - now)
        if seconds != self._seconds:
            self._seconds, self._state = seconds, self._template(seconds)
        if self._day_more is None:
            if self._minute_more is None:
                return send
            state = self._state % (meter.minute + self._minute_more)
        elif self._minute_more is None:
            state = self._state % (meter.day + self._day_more)
        else:
            state = self._state % (meter.minute + self._minute_more, meter.day + self._day_more)
        return adding((self._policy, (b"ratelimit", state)), send)

    def _template(self, seconds: int) -> bytes:
        """A format for the tokens that are left, the same for a second: half of what it takes to write all numbers."""
        minute = [b'"minute";r=%%d;t=%d' % seconds] if self._minute_more is not None else []
        day = [b'"day";r=%%d;t=%d' % (seconds + self._day_later)] if self._day_more is not None else []
        return b", ".join(minute + day)


class FreshHeaders:
    """In the place of `HotHeaders`, for headers that are made anew by `make` for each request."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[Sequence[Quota]], list[Header]]) -> None:
        self._make = make

    def add_to(self, send: Send, meter: Reservation, now: float) -> Send:
        return adding(self._make(meter.quotas(now)), send)


def adding(headers: Sequence[Header], send: Send) -> Send:
    """`send`, with `headers` on the response's start. Not a coroutine: that saves one for every message."""

    def send_with_headers(message: Message) -> Awaitable[None]:
        kind = message["type"]
        if kind in ("http.response.start", "websocket.accept"):
            # A new message with a new list: the application may keep the old ones and send them again.
            message = {**message}
            message["headers"] = [*message.get("headers", ()), *headers]
        return send(message)

    return send_with_headers


def x_ratelimit_headers(quotas: Sequence[Quota]) -> list[Header]:
    """The older `X-RateLimit-*`, which have room for one policy: the one with the least left. Reset is in seconds."""
    if not quotas:
        return []
    tightest = min(quotas, key=lambda quota: quota.remaining)
    return [
        (b"x-ratelimit-limit", b"%d" % tightest.limit),
        (b"x-ratelimit-remaining", b"%d" % tightest.remaining),
        (b"x-ratelimit-reset", b"%d" % ceil(tightest.reset)),
    ]


def quota_exceeded(decision: Decision, headers: list[Header]) -> Problem:
    """429 for a refusal. Without `Retry-After` where the request costs more than a limit and can never succeed."""
    never = decision.retry_after is None
    return Problem(
        429,
        "Too Many Requests",
        "This request costs more than a limit allows." if never else "The tenant has used up its quota.",
        type=QUOTA_EXCEEDED,
        retry_after=None if decision.retry_after is None else max(1, ceil(decision.retry_after)),
        members={"violated-policies": list(decision.violated)},
        headers=tuple(headers),
    )
