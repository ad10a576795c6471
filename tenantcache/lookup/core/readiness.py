"""How well an engine can do its work, from what its parts say."""

from __future__ import annotations

from tenantcache.stats import HealthState, WarmUpState

FILLING: frozenset[WarmUpState] = frozenset({"filling", "taking tokens"})


def readiness(phase: str, warm_up: WarmUpState, now: float, valid_until: float, stale_if_error: float) -> HealthState:
    """`phase` is that of the engine: "closed", "opening", "open" or "closing". Times in seconds, on one clock.

    Redis does not count: without it limits are counted in Postgres, and tenants are read there.
    """
    match phase:
        case "closed" | "opening" | "closing":
            return phase
    if now < valid_until:
        return "warming up" if warm_up in FILLING else "ready"
    return "stale" if now < valid_until + stale_if_error else "lost"
