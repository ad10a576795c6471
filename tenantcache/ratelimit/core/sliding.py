"""How a minute ends: at its edge, or sliding over into the next one, in which it still weighs, less by the second.

Sliding: at `elapsed` seconds of a minute, `previous x (1 - elapsed / 60) + current` may not exceed the limit. Here
`previous` and `current` are the tokens of the two minutes. That takes the previous minute for evenly spent, as
Cloudflare's limiter does ("How we built rate limiting capable of scaling to millions of domains", 2017).

Rules:

1. The previous minute's counter is read with each take, in the same command. A token is granted only at a position up
   to what the weight leaves at that time. As the weight only falls, the token may be spent at any later time.
2. Nothing is reserved in advance for later minutes: what will be left of them is not known.
3. Overshoot goes back at once. The counter will be the previous minute's, and must not weigh too much.
4. A refusal is final until the weight has fallen by `slide` of the limit, or by as much as the request needs. That
   bounds what a tenant at its limit costs. It goes on into the next minute, in which this one weighs.
"""

from __future__ import annotations

from math import floor
from typing import Literal

from tenantcache.ratelimit.core.ledger import Line, reading
from tenantcache.ratelimit.core.windows import MINUTE, OUT_OF_REACH, CounterValue, Window

ROUNDING = 0.05
"""Milliseconds by which `allowance` may find a token late. Of the highest limit, 2^31 tokens, a float is exact to
2^-22 of a token. If a single token weighs in a minute, that is 0.014 ms."""


def allowance(limit: int, previous: int, elapsed: float) -> int:
    """Return the tokens of the current minute that may be out at `elapsed` seconds of it."""
    return max(0, floor(limit - previous * (1 - min(max(0.0, elapsed), MINUTE) / MINUTE)))


def free_at(limit: int, previous: int, used: int, tokens: int) -> float:
    """The seconds of the minute at which `tokens` more than the `used` ones are within the limit, which holds both.

    Up to 1.05 ms late, so as not to be early.
    """
    elapsed = MINUTE * (1 - (limit - used - tokens) / previous) if previous else 0.0
    return (floor(max(0.0, elapsed) * 1000 + ROUNDING) + 1) / 1000


class FixedEdge:
    """Minutes are fixed windows: none weighs in the next one."""

    __slots__ = ()

    slides: Literal[False] = False
    is_assumed = False

    def ceiling(self, limit: int, elapsed: float) -> int:
        """Return the highest position in the counter that is granted at `elapsed` seconds of the minute."""
        return limit

    def reads(self, number: int) -> list[Line]:
        """Return what to read with each take."""
        return []

    def see(self, value: CounterValue, limit: int | None) -> None:
        """The previous minute's counter has been read."""

    def enter(self, used: int, *, is_next: bool) -> bool:
        """Enter a later minute, after one with `used` tokens; return whether a refusal goes on in it."""
        return False

    def forget(self) -> None:
        """Nothing is known of the previous minute any more."""


class SlidingEdge:
    """Minutes slide: the previous one weighs. The methods are those of `FixedEdge`."""

    is_assumed: bool

    __slots__ = ("_previous", "is_assumed")

    slides: Literal[True] = True

    def __init__(self) -> None:
        self.forget()

    def ceiling(self, limit: int, elapsed: float) -> int:
        return allowance(limit, self._previous, elapsed)

    def free_at(self, number: int, limit: int, used: int, held: int, cost: int, step: int) -> float:
        """Return the server time at which minute `number`, which is used up, has room for `cost` again.

        `used` tokens are taken by all processes, `held` of them are here. It is looked again after `step` tokens.
        """
        start, missing = number * MINUTE, max(1, cost - held)
        tokens = max(missing, min(step, limit - used))
        if used + tokens <= limit and (elapsed := free_at(limit, self._previous, used, tokens)) < MINUTE:
            return start + elapsed
        # In the next minute this one weighs, and what is held here has ended.
        return start + MINUTE + free_at(limit, used, 0, max(cost, step))

    def reads(self, number: int) -> list[Line]:
        return [reading(Window("minute", number - 1))]

    def see(self, value: CounterValue, limit: int | None) -> None:
        self.is_assumed = value is OUT_OF_REACH
        self._previous = limit or 0 if value is OUT_OF_REACH else value

    def enter(self, used: int, *, is_next: bool) -> bool:
        self._previous, self.is_assumed = used if is_next else 0, False
        return is_next

    def forget(self) -> None:
        self._previous = 0
        """The previous minute's counter, as last seen; the limit if it is out of reach."""
        self.is_assumed = False
        """The previous minute counts as used up, because its counter is out of reach."""


Edge = FixedEdge | SlidingEdge

FIXED = FixedEdge()
"""It has nothing to remember, so all minutes share one."""
