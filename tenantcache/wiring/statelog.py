"""Logs each change of a state that no event tells of: the engine's own, which time changes, and those of the stores.

The counter store, the budget's band and the log of changes have lines of their own, from what changes them.
"""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from tenantcache.runtime.statechange import state_change
from tenantcache.stats import HealthState
from tenantcache.wiring.parts import Parts
from tenantcache.wiring.statistics import state_of

logger = logging.getLogger(__name__)

ENGINE_LEVELS: Final[dict[HealthState, int]] = {
    "ready": logging.INFO,
    "stale": logging.WARNING,
    "lost": logging.ERROR,
}
"""A start and a stop have lines of their own."""

STORE_LEVELS: Final = {
    "answering": logging.INFO,
    "failing": logging.WARNING,
    "gone": logging.ERROR,
    "refusing": logging.ERROR,
    "suspended": logging.ERROR,
}

MEANINGS: Final[dict[HealthState, str]] = {
    "ready": "changes are followed, and memory is valid",
    "stale": "changes are not followed; tenants that are known are served as they were",
    "lost": "changes are not followed; each tenant is read from Postgres, if it answers",
}


class _Seen(NamedTuple):
    """`why` says more of `state`, if there is more to say."""

    state: str
    level: int
    why: str = ""


class StateLog:
    """Of one engine. `note` is called once a second while it is open."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._before: dict[str, str] = {}

    def note(self) -> None:
        """Log what has changed since the last call; the first one only looks."""
        for what, seen in self._look().items():
            before = self._before.get(what)
            self._before[what] = seen.state
            if before is not None and before != seen.state:
                why = f" ({seen.why})" if seen.why else ""
                extra = state_change(what, before, seen.state, why=seen.why)
                logger.log(seen.level, "%s: %s, before: %s%s", what, seen.state, before, why, extra=extra)

    def _look(self) -> dict[str, _Seen]:
        parts = self._parts
        found = {}
        state = state_of(parts)
        if state in ENGINE_LEVELS:
            found["the engine"] = _Seen(state, ENGINE_LEVELS[state], MEANINGS[state])
        if parts.stores.link is not None:
            breaker = parts.stores.link.breaker
            is_closed = breaker.state == "closed"
            asked, level = ("asked", logging.INFO) if is_closed else ("not asked", logging.WARNING)
            found["Redis"] = _Seen(asked, level, breaker.reason or "")
        if parts.fleet_counters is not None:
            counters = parts.fleet_counters.stats()
            redis, postgres = counters["redis"], counters["postgres"]
            if redis != "none":
                found["Redis as the counter store"] = _Seen(redis, STORE_LEVELS[redis])
            found["Postgres as the counter store"] = _Seen(postgres, STORE_LEVELS[postgres])
        return found
