"""For how long a value is served: fresh at first, then stale while it is loaded again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

EARLIEST, LATEST = 0.8, 0.95
"""Shares of the fresh time between which a value that is asked for is loaded again, in the background. Values that were
loaded together are spread over them."""

MAX_TTL: Final = 30 * 86_400.0

MIN_TTL: Final = 10.0
"""Seconds. What is kept for less is written into Redis more often than it is read. As `tenantcache churn` judges."""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Seconds: `fresh`, then `stale` more in which a copy is served while it is loaded again; `negative`: that there
    is no value is remembered for so long."""

    fresh: float
    stale: float = 0.0
    negative: float = 60.0

    @classmethod
    def of(
        cls, ttl: float | None, fresh: float | None, stale: float | None, negative: float, *, short: bool = False
    ) -> Lifetime:
        """Of what a caller gives: `ttl`, or `fresh` with or without `stale`; under `MIN_TTL` only if it is meant to be
        `short`. Raises ValueError."""
        if (ttl is None) == (fresh is None):
            raise ValueError(
                "give either ttl= or fresh=, in seconds, or kind=: how long a value may be kept without a change"
            )
        if ttl is not None and stale is not None:
            raise ValueError("stale= goes with fresh=: the seconds after it in which the old value is still served")
        seconds = _seconds("ttl", ttl) if fresh is None else _seconds("fresh", fresh)
        found = cls(seconds, stale or 0.0, negative)
        if found.is_short and not short:
            raise ValueError(
                f"{'ttl' if fresh is None else 'fresh'}={seconds:g} is under {MIN_TTL:g} seconds, and changes are seen"
                " at once anyway: give how long the value may be kept without one, like 300 for a session and 1800 for"
                " a profile; or give short_ttl=True, and it is kept in the process alone"
            )
        if found.stale < 0 or found.negative < 0:
            raise ValueError("stale= and negative_ttl= are seconds, 0 or more")
        return found

    @property
    def is_short(self) -> bool:
        """Whether it ends too soon for Redis."""
        return self.fresh < MIN_TTL

    @property
    def whole(self) -> float:
        """Seconds from the load to the end."""
        return self.fresh + self.stale

    def within(self, own: Lifetime) -> Lifetime:
        """That of a copy which another process has made, for a caller who wants `own`: the shorter one counts."""
        return Lifetime(min(self.fresh, own.fresh), min(self.stale, own.stale), own.negative)

    def reload_after(self, share: float) -> float:
        """Seconds after the load from which it is loaded again early; `share`, from 0 to 1, is drawn by the caller."""
        return self.fresh * (EARLIEST + (LATEST - EARLIEST) * share)


def _seconds(name: str, given: float | None) -> float:
    if given is None or not 0 < given <= MAX_TTL:
        raise ValueError(f"{name}={given!r} is not possible; seconds over 0, at most {MAX_TTL:.0f}")
    return float(given)
