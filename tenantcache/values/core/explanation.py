"""What a process knows of a value, for people who ask why they were served it."""

from __future__ import annotations

from dataclasses import dataclass

from tenantcache.values.core.acceptance import Acceptance, Entry, State


@dataclass(frozen=True, slots=True)
class Explanation:
    """`state`: "absent", or whether it may be served. `tier`: "loader", "redis" or "set". `age` in seconds since its
    load began. `watermark`: the entry of the log as of which it was loaded, and `current_as_of` the one as of which it
    was last found current. `invalidated_by`: the entry that names the value, or one of its tags, after that; None if
    none does. `seconds_left`: until it must be loaded again."""

    name: str
    state: str
    tier: str | None = None
    age: float | None = None
    watermark: int | None = None
    current_as_of: int | None = None
    tags: tuple[str, ...] = ()
    invalidated_by: int | None = None
    seconds_left: float | None = None


def explain(entry: Entry | None, acceptance: Acceptance, name: str, now: float) -> Explanation:
    """What is known of the value that the log calls `name`; `now` in seconds of the process's clock."""
    floor = int(acceptance.floors.floor((name,) if entry is None else entry.names))
    if entry is None:
        return Explanation(name, "absent", invalidated_by=floor or None)
    state = acceptance.state(entry, now)
    return Explanation(
        name,
        state.value,
        tier=entry.tier,
        age=max(0.0, now - entry.loaded_at),
        watermark=entry.seen.seq,
        current_as_of=entry.current_as_of,
        tags=entry.tags,
        invalidated_by=floor if floor > entry.current_as_of else None,
        seconds_left=0.0 if state is State.REFUSED else max(0.0, entry.end - now),
    )
